"""Each optimizer against torch.optim on the same gradients; the schedules against their published ends."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from misread.training import recipe as r
from misread.training.optimizers import AdamStepper, learning_rate_factor, make_stepper, orthogonalised

CASES = [
    (r.Adam(), lambda p: torch.optim.Adam(p, 0.001, eps=1e-7)),
    (r.Adam(learning_rate=0.01, beta_1=0.7, beta_2=0.9), lambda p: torch.optim.Adam(p, 0.01, (0.7, 0.9), 1e-7)),
    (r.AdamW(), lambda p: torch.optim.AdamW(p, 0.001, eps=1e-7, weight_decay=0.004)),
    (r.SGD(), lambda p: torch.optim.SGD(p, 0.01)),
    (r.SGD(momentum=0.9), lambda p: torch.optim.SGD(p, 0.01, 0.9)),
    (r.SGD(momentum=0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.01, 0.9, nesterov=True)),
    (r.SGD(nesterov=True), lambda p: torch.optim.SGD(p, 0.01)),
    (r.RMSprop(), lambda p: torch.optim.RMSprop(p, 0.001, 0.9, 1e-7)),
    (r.RMSprop(momentum=0.5), lambda p: torch.optim.RMSprop(p, 0.001, 0.9, 1e-7, momentum=0.5)),
    (r.RMSprop(centered=True), lambda p: torch.optim.RMSprop(p, 0.001, 0.9, 1e-7, centered=True)),
]


def step_both(ours: nn.Module, theirs: nn.Module, stepper: object, optimizer: torch.optim.Optimizer) -> None:
    generator = torch.Generator().manual_seed(1)
    for number in range(1, 21):
        x, y = torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)
        for network in (ours, theirs):
            network.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
        stepper.step(optimizer.param_groups[0]["lr"], number)  # type: ignore[attr-defined]
        optimizer.step()


@pytest.mark.parametrize(("spec", "peer"), CASES)
def test_steps_equal_torch_optim(spec: r.Optimizer, peer: object) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    theirs = copy.deepcopy(ours)
    step_both(ours, theirs, make_stepper(spec, ours.parameters()), peer(theirs.parameters()))  # type: ignore[operator]
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("spec", [r.Adam(), r.AdamW(weight_decay=0.1)])
def test_adam_without_the_fused_kernel_is_the_same(spec: r.Adam | r.AdamW) -> None:
    torch.manual_seed(0)
    ours = nn.Linear(6, 3)
    theirs = copy.deepcopy(ours)
    stepper = AdamStepper(ours.parameters(), spec)
    stepper.fused = False
    fused = AdamStepper(theirs.parameters(), spec)
    generator = torch.Generator().manual_seed(1)
    for number in range(1, 11):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        stepper.step(0.01, number)
        fused.step(0.01, number)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_adam_equals_the_algorithm_of_the_paper() -> None:
    """Kingma and Ba 2015, Algorithm 1, in plain numpy."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    stepper = make_stepper(r.Adam(learning_rate=0.1), [weight])
    expected, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for t, gradient in enumerate(([0.5, -1.0], [0.1, 3.0], [-0.7, 0.2]), start=1):
        weight.grad = torch.tensor(gradient)
        stepper.step(0.1, t)
        g = np.array(gradient)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected = expected - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
    np.testing.assert_allclose(weight.detach(), expected, rtol=1e-5)


def test_defaults_are_those_of_keras() -> None:
    assert r.Adam().model_dump() == {
        "name": "adam", "learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
    }  # fmt: skip
    assert r.AdamW().weight_decay == 0.004
    assert r.SGD().model_dump() == {"name": "sgd", "learning_rate": 0.01, "momentum": 0.0, "nesterov": False}
    assert r.RMSprop().model_dump() == {
        "name": "rmsprop", "learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False,
    }  # fmt: skip


def test_frozen_parameters_do_not_change() -> None:
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    before = net.bias.clone()
    stepper = make_stepper(r.Adam(), net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    stepper.step(0.1, 1)
    assert torch.equal(net.bias, before)


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        (r.Constant(), {0: 1.0, 50: 1.0, 100: 1.0}),
        (r.Cosine(), {0: 1.0, 50: 0.5, 100: 0.0}),
        (r.Cosine(final_fraction=0.1), {0: 1.0, 50: 0.55, 100: 0.1}),
        (r.OneCycle(peak=0.2, start_fraction=0.1), {0: 0.1, 10: 0.55, 20: 1.0, 60: 0.5, 100: 0.0}),
    ],
)
def test_schedules_pass_through_their_published_points(schedule: r.Schedule, at: dict[int, float]) -> None:
    for step, factor in at.items():
        assert learning_rate_factor(schedule, step, 101) == pytest.approx(factor, abs=1e-9)


def test_warmup_rises_to_one_then_falls() -> None:
    factors = [learning_rate_factor(r.Cosine(warmup=0.1), s, 101) for s in range(101)]
    assert 0 < factors[0] < 0.2
    assert max(factors) == pytest.approx(1.0)
    top = factors.index(max(factors))
    assert top == 10
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_a_training_of_one_step_has_a_learning_rate() -> None:
    for schedule in (r.Constant(), r.Cosine(), r.Cosine(warmup=0.5), r.OneCycle()):
        assert 0 < learning_rate_factor(schedule, 0, 1) <= 1


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonalising_keeps_the_singular_vectors_and_makes_the_singular_values_alike(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 3
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    within = u.T @ orthogonalised(matrix, bf16=False) @ v.T
    assert (within - torch.diag(within.diagonal())).abs().max() < 1e-4
    clear = s > 0.1 * s.max()
    assert ((within.diagonal()[clear] > 0.4) & (within.diagonal()[clear] < 1.4)).all()
    assert (orthogonalised(matrix, bf16=True) - orthogonalised(matrix, bf16=False)).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (40, 90)])
def test_orthogonalising_is_three_newton_schulz_iterations_on_the_whole_matrix(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).double()
    x = matrix / matrix.norm()
    for _ in range(3):
        x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
    torch.testing.assert_close(orthogonalised(matrix.float(), bf16=False), x.float(), atol=1e-5, rtol=1e-4)
    assert (orthogonalised(matrix.float(), bf16=True) - x).norm() < 0.03 * x.norm()


def test_muon_turns_hidden_matrices_at_a_constant_norm_and_leaves_the_rest_to_adam() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))
    theirs = copy.deepcopy(ours)
    spec = r.Muon(learning_rate=0.1, adam_learning_rate=0.02, beta_1=0.8, beta_2=0.9)
    stepper = make_stepper(spec, ours.parameters())
    matrices = {"0.weight", "2.weight"}
    others = [p for name, p in theirs.named_parameters() if name not in matrices]
    adam = torch.optim.Adam(others, 0.02, (0.8, 0.9), 1e-7)
    generator = torch.Generator().manual_seed(1)
    for number in range(1, 6):
        before = {name: p.detach().clone() for name, p in ours.named_parameters()}
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        stepper.step(0.1, number)
        adam.step()
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            if name not in matrices:
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
                continue
            unit = before[name] * math.sqrt(len(a)) / before[name].norm()
            assert 0.5 < (a - unit).norm() / (0.1 * unit.norm()) < 1.3  # the learning rate is the share of the norm
    assert sorted({name.partition(".")[0] for name in stepper.moments()}) == ["others", "velocities"]
