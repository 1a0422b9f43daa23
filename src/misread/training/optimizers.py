"""Optimizers with Keras's names and defaults, and learning-rate schedules.

They use torch's fused and multi-tensor kernels directly. `torch.optim` imports torch's compiler on first use, which
takes longer than the training of a small network. The update rules are torch's. They differ from Keras's in one place:
epsilon is added to the bias-corrected root, as in the papers.
"""

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from misread.training import recipe as r


class Stepper(Protocol):
    """Updates weights from their gradients."""

    @property
    def capturable(self) -> bool:
        """Whether `step` also takes tensors () on the parameters' device, so that a CUDA graph can record it."""
        ...

    def step(self, learning_rate: float | Tensor, number: int | Tensor) -> None:
        """Take the step of this number, counted from 1."""
        ...

    def zero_grad(self) -> None: ...

    def moments(self) -> dict[str, Tensor]:
        """The state between two steps, by name. The tensors are not copies: writing into them changes the state."""
        ...


NEWTON_SCHULZ_STEPS = 3
MOMENTS = ("means", "squares", "velocities")  # attributes with one tensor per parameter; a rule has some of them


class _Weights:
    capturable = False

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.weights = [p.detach() for p in self.parameters]  # the same memory as the parameters, without autograd

    def grads(self) -> list[Tensor]:
        return [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def moments(self) -> dict[str, Tensor]:
        lists = {name: value for name, value in vars(self).items() if name in MOMENTS}
        return {f"{name}.{i}": tensor for name, tensors in lists.items() for i, tensor in enumerate(tensors)}

    def zeros(self) -> list[Tensor]:
        return [torch.zeros_like(w) for w in self.weights]


class AdamStepper(_Weights):
    """Adam, Kingma and Ba 2015 (arXiv 1412.6980); AdamW, Loshchilov and Hutter 2019 (arXiv 1711.05101)."""

    def __init__(self, parameters: Iterable[nn.Parameter], spec: r.Adam | r.AdamW) -> None:
        super().__init__(parameters)
        self.spec = spec
        self.decay = spec.weight_decay if isinstance(spec, r.AdamW) else 0.0
        self.means, self.squares = self.zeros(), self.zeros()
        self.fused = all(w.device.type in ("cpu", "cuda") for w in self.weights)
        self.numbers = [
            torch.zeros((), device=w.device) for w in self.weights
        ]  # the fused kernels take a tensor per parameter
        self.capturable = self.fused

    def step(self, learning_rate: float | Tensor, number: int | Tensor) -> None:
        spec, grads = self.spec, self.grads()
        if self.fused:
            if isinstance(number, Tensor):
                torch._foreach_copy_(self.numbers, [number] * len(self.numbers))
            else:
                torch._foreach_zero_(self.numbers)
                torch._foreach_add_(self.numbers, number)
            kernel = torch._fused_adamw_ if self.decay else torch._fused_adam_
            kernel(
                self.weights, grads, self.means, self.squares, [], self.numbers, lr=learning_rate, beta1=spec.beta_1,
                beta2=spec.beta_2, weight_decay=self.decay, eps=spec.epsilon, amsgrad=False, maximize=False,
            )  # fmt: skip
            return
        assert isinstance(learning_rate, float)
        assert isinstance(number, int)
        torch._foreach_mul_(self.weights, 1 - learning_rate * self.decay)
        torch._foreach_lerp_(self.means, grads, 1 - spec.beta_1)
        torch._foreach_mul_(self.squares, spec.beta_2)
        torch._foreach_addcmul_(self.squares, grads, grads, 1 - spec.beta_2)
        roots = torch._foreach_sqrt(self.squares)
        torch._foreach_div_(roots, math.sqrt(1 - spec.beta_2**number))
        torch._foreach_add_(roots, spec.epsilon)
        torch._foreach_addcdiv_(self.weights, self.means, roots, -learning_rate / (1 - spec.beta_1**number))


class SGDStepper(_Weights):
    """Gradient descent, with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013)."""

    capturable = True

    def __init__(self, parameters: Iterable[nn.Parameter], spec: r.SGD) -> None:
        super().__init__(parameters)
        self.spec = spec
        self.velocities = self.zeros() if spec.momentum else []

    def step(self, learning_rate: float | Tensor, number: int | Tensor) -> None:
        grads, momentum = self.grads(), self.spec.momentum
        if momentum:
            torch._foreach_mul_(self.velocities, momentum)
            torch._foreach_add_(self.velocities, grads)
            ahead = torch._foreach_add(grads, self.velocities, alpha=momentum)
            grads = list(ahead) if self.spec.nesterov else self.velocities
        if isinstance(learning_rate, Tensor):
            torch._foreach_sub_(self.weights, torch._foreach_mul(grads, learning_rate))
        else:
            torch._foreach_add_(self.weights, grads, alpha=-learning_rate)


class RMSpropStepper(_Weights):
    """RMSprop, Tieleman and Hinton 2012 (lecture 6.5); centred, Graves 2013 (arXiv 1308.0850)."""

    def __init__(self, parameters: Iterable[nn.Parameter], spec: r.RMSprop) -> None:
        super().__init__(parameters)
        self.spec = spec
        self.squares = self.zeros()
        self.means = self.zeros() if spec.centered else []
        self.velocities = self.zeros() if spec.momentum else []

    def step(self, learning_rate: float | Tensor, number: int | Tensor) -> None:
        assert isinstance(learning_rate, float)
        spec, grads = self.spec, self.grads()
        torch._foreach_mul_(self.squares, spec.rho)
        torch._foreach_addcmul_(self.squares, grads, grads, 1 - spec.rho)
        spreads: list[Tensor] = self.squares
        if spec.centered:
            torch._foreach_lerp_(self.means, grads, 1 - spec.rho)
            spreads = list(torch._foreach_addcmul(self.squares, self.means, self.means, -1))
        roots = torch._foreach_sqrt(spreads)
        torch._foreach_add_(roots, spec.epsilon)
        if not spec.momentum:
            torch._foreach_addcdiv_(self.weights, grads, roots, -learning_rate)
            return
        torch._foreach_mul_(self.velocities, spec.momentum)
        torch._foreach_addcdiv_(self.velocities, grads, roots)
        torch._foreach_add_(self.weights, self.velocities, alpha=-learning_rate)


class MuonStepper(_Weights):
    """Muon for the matrices of hidden layers, Adam for all other weights.

    A matrix has a row for each filter or unit. Its norm stays that of rows of length 1. The layer's output is then
    normalised, so only the direction of the weights matters, and the learning rate is the angle of a step.
    Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the constant norm of the same author's
    cifar10-airbench.
    """

    capturable = True

    def __init__(self, parameters: Iterable[nn.Parameter], spec: r.Muon, bf16: bool) -> None:
        trained = [p for p in parameters if p.requires_grad]
        matrices = [p for p in trained if p.ndim >= 2][:-1]  # the last one gives the logits
        super().__init__(matrices)
        hidden = set(matrices)
        self.spec, self.bf16 = spec, bf16
        self.velocities = self.zeros()
        self.others = AdamStepper(
            [p for p in trained if p not in hidden],
            r.Adam(beta_1=spec.beta_1, beta_2=spec.beta_2, epsilon=spec.epsilon),
        )

    def step(self, learning_rate: float | Tensor, number: int | Tensor) -> None:
        momentum, grads = self.spec.momentum, self.grads()
        torch._foreach_mul_(self.velocities, momentum)
        torch._foreach_add_(self.velocities, grads)
        torch._foreach_add_(grads, self.velocities, alpha=momentum)  # Nesterov's momentum
        for weight, grad in zip(self.weights, grads, strict=True):
            rows, columns = weight.shape[0], weight[0].numel()
            direction = orthogonalised(grad.reshape(rows, columns), self.bf16).reshape(weight.shape)
            weight.mul_(math.sqrt(rows) / weight.norm())
            weight.sub_(direction * (learning_rate * math.sqrt(rows / min(rows, columns))))
        self.others.step(learning_rate * self.spec.adam_learning_rate / self.spec.learning_rate, number)

    def zero_grad(self) -> None:
        super().zero_grad()
        self.others.zero_grad()

    def moments(self) -> dict[str, Tensor]:
        return {**super().moments(), **{f"others.{name}": tensor for name, tensor in self.others.moments().items()}}


def orthogonalised(matrix: Tensor, bf16: bool) -> Tensor:
    """(R, C) -> (R, C) with about the same singular vectors and singular values near 1, float32.

    Three Newton-Schulz iterations with coefficients chosen for a steep slope at 0: singular values end between 0.5 and
    1.5 or so, and very small ones below. That is exact enough for a step, and bf16 is too.
    Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon).
    The iterations need only the products between rows, an (R, R) matrix, so the matrix itself is multiplied just twice:
    before them and after them.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    if bf16:
        x = x.bfloat16()
    gram = x @ x.T
    product = _newton_schulz_factor(gram)
    factor = product
    for _ in range(NEWTON_SCHULZ_STEPS - 1):
        gram = factor @ gram @ factor
        factor = _newton_schulz_factor(gram)
        product = factor @ product
    x = (product @ x).float()
    return x if wide is matrix else x.T


def _newton_schulz_factor(gram: Tensor) -> Tensor:
    """(R, R) -> (R, R): one iteration multiplies the matrix X of this gram matrix X X^T by it, from the left."""
    a, b, c = 3.4445, -4.7750, 2.0315
    factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal().add_(a)
    return factor


def make_stepper(spec: r.Optimizer, parameters: Iterable[nn.Parameter], bf16: bool = False) -> Stepper:
    """The optimizer of a recipe for these parameters. bf16: whether matrix products may be computed in bf16."""
    match spec:
        case r.Muon():
            return MuonStepper(parameters, spec, bf16)
        case r.Adam() | r.AdamW():
            return AdamStepper(parameters, spec)
        case r.SGD():
            return SGDStepper(parameters, spec)
        case r.RMSprop():
            return RMSpropStepper(parameters, spec)


def learning_rate_factor(schedule: r.Schedule, step: int, steps: int) -> float:
    """The factor of the recipe's learning rate at `step` (0-based) of `steps`.

    Source: cosine, Loshchilov and Hutter 2017 (arXiv 1608.03983); one cycle, Smith and Topin 2018 (arXiv 1708.07120).
    """
    done = step / max(steps - 1, 1)
    match schedule:
        case r.Constant():
            return 1.0
        case r.Cosine():
            if done < schedule.warmup:
                return (step + 1) / (schedule.warmup * max(steps - 1, 1) + 1)
            along = (done - schedule.warmup) / (1 - schedule.warmup)
            return schedule.final_fraction + (1 - schedule.final_fraction) * (1 + math.cos(math.pi * along)) / 2
        case r.OneCycle():
            if done < schedule.peak:
                return schedule.start_fraction + (1 - schedule.start_fraction) * done / schedule.peak
            return 1 - (1 - schedule.final_fraction) * (done - schedule.peak) / (1 - schedule.peak)
