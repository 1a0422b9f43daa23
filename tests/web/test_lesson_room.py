"""The lesson in a real browser: every page in both languages, its numbers against torch, scipy and scikit-learn."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lesson_site import serve, write_run
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

import misread
from misread import Run, load_recipe
from misread.models.layer_specs import Dense, Flatten
from misread.models.network import build_network
from misread.web.modules import bundle
from pages import watch

Open = Callable[..., Any]
IDS = [
    "normalising", "sequential", "layers", "activations", "softmax", "flatten", "dense", "loss", "labels", "optimizers",
    "adam", "metrics", "batches", "history", "evaluate", "argmax", "convolution", "padding", "stride", "pooling",
    "dropout", "overfitting", "features", "misread",
]  # fmt: skip
SMALLER: dict[str, dict[str, Any]] = {
    "mlp": {"layers.1.units": 48},
    "cnn": {"layers.0.filters": 4, "layers.2.filters": 4, "layers.6.units": 24},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The lesson's two networks with fewer units, trained on digits for a short time, so that they misread some."""
    out = tmp_path_factory.mktemp("runs")
    return {
        name: misread.train("digits", f"tutorial-{name}", epochs=3, settings=smaller, out=out, progress=False)
        for name, smaller in SMALLER.items()
    }


@pytest.fixture(scope="module")
def site(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    for name, run in runs.items():
        write_run(folder / name, run, load_recipe(f"tutorial-{name}", {**SMALLER[name], "epochs": 3}))
    (folder / "api").mkdir(exist_ok=True)
    with serve(folder) as address:
        yield address


@pytest.fixture
def lesson(browser: Any, site: str) -> Iterator[Open]:
    """Opens a page of the lesson. No test ends well whose page said something to the console or asked another host."""
    contexts, faults = [], []

    def open_page(page_id: str, *, lang: str = "en", run: str = "mlp", width: int = 1280, server: bool = False) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        watch(page, faults, (site, "data:"))
        page.goto(f"{site}?lang={lang}&run={run}{'&server=1' if server else ''}#room=lesson&page={page_id}")
        page.wait_for_selector(".stage > :not([role=status])")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def result(page: Any, key: str) -> str:
    text: str = page.inner_text(f'[data-result="{key}"]')
    return text


def number(page: Any, key: str) -> float:
    return float(result(page, key).rstrip("%"))


def slide(page: Any, nth: int, value: float) -> None:
    """Moves the nth slider of the page."""
    script = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })) }"
    page.locator(".stage input[type=range]").nth(nth).evaluate(script, value)


def logits_of(run: Run, n: int) -> torch.Tensor:
    with torch.no_grad():
        images = torch.tensor(run.data.test.images[:n]).permute(0, 3, 1, 2).float() / 255
        return run.network.cpu().eval()(images).double()


@pytest.mark.parametrize(
    ("run", "lang"),
    [
        ("mlp", "en"),
        ("cnn", "ko"),
        pytest.param("mlp", "ko", marks=pytest.mark.slow),
        pytest.param("cnn", "en", marks=pytest.mark.slow),
    ],
)
def test_every_page_shows_its_words_and_something_to_touch(lesson: Open, lang: str, run: str) -> None:
    texts = json.loads((Path(misread.__file__).parent / "messages" / lang / "lesson.json").read_text())
    page = lesson(IDS[0], lang=lang, run=run, width=1280 if lang == "en" else 390)
    for place, page_id in enumerate(IDS):
        page.wait_for_function(
            "title => document.querySelector('h1')?.textContent === title", arg=texts[f"lesson.{page_id}.title"]
        )
        page.wait_for_selector(".stage .results, .stage .wall")
        assert texts[f"lesson.{page_id}.try"] in page.inner_text("article")
        assert page.locator(".stage").locator("input, button, canvas").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page_id
        if place + 1 < len(IDS):
            page.keyboard.press("n")
    page.go_back()
    page.wait_for_function("id => location.hash.includes(id)", arg=IDS[-2])
    assert page.inner_text("h1") == texts[f"lesson.{IDS[-2]}.title"]


@pytest.mark.parametrize("page_id", [i for i in IDS if i not in ("sequential", "misread")])
def test_touching_changes_the_numbers(lesson: Open, page_id: str) -> None:
    page = lesson(page_id)
    page.wait_for_selector(".stage .results")
    page.wait_for_timeout(100)
    shown = page.inner_text(".stage .results")
    slider = page.locator(".stage input[type=range]")
    if slider.count():
        script = """input => {
            const [value, min, max] = [input.value, input.min, input.max].map(Number);
            input.value = value > (min + max) / 2 ? min : max;
            input.dispatchEvent(new Event("input", { bubbles: true }));
        }"""
        slider.first.evaluate(script)
    else:
        page.locator(".stage .choice button").last.click()
    page.wait_for_function("before => document.querySelector('.stage .results').innerText !== before", arg=shown)
    assert page.locator(".contents .done").count() == 1
    page.reload()
    page.wait_for_selector(".contents .done", state="attached")
    assert re.search(r"1 of 24", page.inner_text(".contents summary"))


def test_without_a_run_the_page_says_how_to_make_one(lesson: Open) -> None:
    assert "misread demo" in lesson("softmax", run="").inner_text(".stage")
    assert number(lesson("sequential", run=""), "parameters") == 7850


def test_the_lesson_can_be_one_script() -> None:
    assert "module_rooms_lesson" in bundle("rooms/lesson.js")


def test_normalising_divides_pixels_and_sums(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("normalising")
    slide(page, 0, 51)
    x = runs["mlp"].data.test.images[0].ravel() / 51
    assert number(page, "largest") == pytest.approx(x.max(), abs=6e-4)
    assert number(page, "mean") == pytest.approx(x.mean(), abs=6e-4)
    torch.manual_seed(0)
    sums = [(torch.nn.init.xavier_uniform_(torch.empty(1000, 784)).double() @ torch.tensor(x)) for _ in range(40)]
    assert number(page, "sum") == pytest.approx(float(torch.stack(sums).pow(2).mean().sqrt()), rel=0.02)


def test_sequential_counts_parameters_and_refuses_what_does_not_fit(lesson: Open) -> None:
    page = lesson("sequential")
    page.get_by_text("+ Residual", exact=False).click()
    assert "784" in page.inner_text(".stage .wrong")
    for name in ("+ Dense 32", "+ ReLU", "+ Residual(Dense 32)"):
        page.get_by_role("button", name=name, exact=True).click()
    assert page.inner_text(".stage .wrong") == ""
    built = build_network([Flatten(), Dense(units=32), Dense(units=32), Dense(units=10)], (28, 28, 1), 10)
    assert number(page, "parameters") == sum(p.numel() for p in built.parameters())
    assert "branch" in result(page, "ends")


def test_layers_shows_what_hooks_see(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("layers", run="cnn")
    seen: list[torch.Tensor] = []
    network = runs["cnn"].network.cpu().eval()
    hooks = [module.register_forward_hook(lambda _m, _i, out: seen.append(out)) for module in network.children()]
    logits_of(runs["cnn"], 1)
    for hook in hooks:
        hook.remove()
    page.locator(".stage .choice button").nth(1).click()
    pooled = next(out for out in seen if out.shape[-2:] == (14, 14))
    assert result(page, "shape") == "14 × 14 × 4"
    assert number(page, "active") == int((pooled > 0).sum())


def test_activations_find_the_dead_unit(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("activations")
    network = runs["mlp"].network.cpu()
    images = torch.tensor(runs["mlp"].data.test.images[:60]).flatten(1).double() / 255
    z = (images @ network.dense.weight.double().T + network.dense.bias.double()).detach()
    unit = int(z.var(dim=0).argmax())
    assert number(page, "taught") == int((z[:, unit] > 0).sum())
    page.get_by_role("button", name="tanh").click()
    assert number(page, "slope") == pytest.approx(float((1 - z[:, unit].tanh() ** 2).mean()), abs=1e-4)
    page.get_by_role("button", name="leaky ReLU").click()
    expected = torch.where(z[:, unit] > 0, 1.0, 0.2).mean()
    assert number(page, "slope") == pytest.approx(float(expected), abs=1e-4)
    page.get_by_role("button", name="ReLU", exact=True).click()
    low = page.locator(".stage input[type=range]").first.get_attribute("min")
    slide(page, 0, float(low))
    assert number(page, "taught") == 0
    assert "dead" in result(page, "state")


def test_softmax_of_the_runs_logits(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("softmax")
    slide(page, 0, 2)
    slide(page, 1, 100)
    expected = (2 * logits_of(runs["mlp"], 1)[0] + 100).softmax(dim=0)
    shown = [float(text) for text in page.locator(".bars").nth(1).locator("td.n").all_inner_texts()]
    assert shown == pytest.approx(expected.tolist(), abs=1e-4)
    assert number(page, "sum") == 1


def test_flatten_finds_the_pixel(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("flatten")
    slide(page, 0, 12)
    slide(page, 1, 10)
    image = runs["mlp"].data.test.images[0]
    place = int(result(page, "place"))
    assert place == np.ravel_multi_index((12, 10, 0), image.shape)
    assert number(page, "value") == image.ravel()[place] == image[12, 10, 0]
    assert int(result(page, "below")) == np.ravel_multi_index((13, 10, 0), image.shape)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_dense_sums_products(lesson: Open, runs: dict[str, Run], name: str) -> None:
    page = lesson("dense", run=name)
    slide(page, 0, 7)
    network = runs[name].network.cpu().eval()
    inputs: list[torch.Tensor] = []
    dense = next(module for module in network.children() if isinstance(module, torch.nn.Linear))
    hook = dense.register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    logits_of(runs[name], 1)
    hook.remove()
    with torch.no_grad():
        z = F.linear(inputs[0], dense.weight, dense.bias)[0, 6]
    assert number(page, "sum") == pytest.approx(float(z), abs=2e-4)
    terms = number(page, "up") + number(page, "down") + number(page, "bias")
    assert terms == pytest.approx(float(z), abs=3e-4)
    assert number(page, "bias") == pytest.approx(dense.bias[6].item(), abs=1e-4)


def test_loss_for_every_label(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("loss")
    logits = logits_of(runs["mlp"], 1).requires_grad_()
    for k in (0, 5, 9):
        page.locator(".stage .choice button").nth(k).click()
        loss = F.cross_entropy(logits, torch.tensor([k]))
        (slope,) = torch.autograd.grad(loss, logits)
        assert number(page, "loss") == pytest.approx(loss.item(), abs=1e-4)
        assert number(page, "slope") == pytest.approx(slope[0, k].item(), abs=1e-4)
    assert number(page, "guess") == pytest.approx(np.log(10), abs=1e-4)


def test_sparse_and_one_hot_are_one_loss(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("labels")
    logits, label = logits_of(runs["mlp"], 1), torch.tensor(runs["mlp"].data.test.labels[:1])
    assert result(page, "sparse") == result(page, "one-hot")
    assert number(page, "sparse") == pytest.approx(F.cross_entropy(logits, label).item(), abs=1e-4)
    slide(page, 0, 0.3)
    expected = F.cross_entropy(logits, label, label_smoothing=0.3).item()
    assert number(page, "one-hot") == pytest.approx(expected, abs=1e-4)


def descended(run: Run, make: Callable[..., torch.optim.Optimizer], steps: int) -> tuple[float, float, Any]:
    """Weight, loss and optimizer after steps on the bias of class 0, by torch."""
    logits, labels = logits_of(run, 60), torch.tensor(run.data.test.labels[:60])
    b = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)

    def loss() -> torch.Tensor:
        return F.cross_entropy(logits + b * F.one_hot(torch.tensor(0), 10), labels)

    optimizer = make([b])
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return b.item(), loss().item(), optimizer


def test_gradient_descent_is_torchs(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("optimizers")
    slide(page, 0, 0.5)
    slide(page, 1, 12)
    weight, loss, _ = descended(runs["mlp"], lambda b: torch.optim.SGD(b, lr=10**0.5), 12)
    assert number(page, "weight") == pytest.approx(weight, abs=2e-4)
    assert number(page, "loss") == pytest.approx(loss, abs=2e-4)


def test_adam_and_momentum_are_torchs(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("adam")
    for nth, value in enumerate((17, -0.5, 0.8, 0.95, -3)):  # step, rate, both betas, epsilon
        slide(page, nth, value)
    rate = 10**-0.5
    weight, loss, adam = descended(runs["mlp"], lambda b: torch.optim.Adam(b, lr=rate, betas=(0.8, 0.95), eps=1e-3), 17)
    ((_, state),) = adam.state.items()
    assert number(page, "w") == pytest.approx(weight, rel=1e-4)
    assert number(page, "m") == pytest.approx(state["exp_avg"].item(), rel=1e-4)
    assert number(page, "v") == pytest.approx(state["exp_avg_sq"].item(), rel=1e-4)
    assert number(page, "mHat") == pytest.approx(state["exp_avg"].item() / (1 - 0.8**17), rel=1e-4)
    assert number(page, "vHat") == pytest.approx(state["exp_avg_sq"].item() / (1 - 0.95**17), rel=1e-4)
    rows = page.locator(".figures-table tbody tr").all_inner_texts()
    assert [float(x) for x in rows[0].split()[-2:]] == pytest.approx([weight, loss], abs=2e-4)
    beside = [
        descended(runs["mlp"], lambda b, keep=keep: torch.optim.SGD(b, lr=rate, momentum=keep), 17)[:2]
        for keep in (0.9, 0.0)
    ]
    for row, expected in zip(rows[1:], beside, strict=True):
        assert [float(x) for x in row.split()[-2:]] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("server", [False, True])
def test_metrics_are_scikit_learns(lesson: Open, runs: dict[str, Run], server: bool) -> None:
    page = lesson("metrics", server=server)
    page.wait_for_selector(".stage .results")
    found = runs["mlp"].predictions()
    precision, recall, f1, support = precision_recall_fscore_support(found.labels, found.predicted, zero_division=0)
    for k in (1, 8):
        page.locator(".stage .choice button").nth(k).click()
        for key, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            assert number(page, key) == pytest.approx(100 * values[k], abs=6e-3)
        assert number(page, "labelled") == support[k]
    assert number(page, "accuracy") == pytest.approx(100 * np.mean(found.labels == found.predicted), abs=6e-3)


def test_batches_train_as_torch_does(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("batches")
    slide(page, 0, 50)
    slide(page, 1, 3)
    page.wait_for_function("document.querySelector('[data-result=steps]').textContent === '9'")
    images = torch.tensor(runs["mlp"].data.test.images[:120]).flatten(1).double() / 255
    labels = torch.tensor(runs["mlp"].data.test.labels[:120])
    layer = torch.nn.Linear(784, 10).double()
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        for rows in torch.arange(120).split(50):
            optimizer.zero_grad()
            loss = F.cross_entropy(layer(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert number(page, "last") == 20
    assert number(page, "first-loss") == pytest.approx(losses[0], abs=1e-4)
    assert number(page, "last-loss") == pytest.approx(losses[-1], abs=1e-4)
    steps = -(-len(runs["mlp"].data.train) // 50)
    assert number(page, "run-steps") == 3 * steps


def test_history_is_the_runs(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("history")
    slide(page, 0, 2)
    row = runs["mlp"].history.iloc[1]
    assert number(page, "loss") == pytest.approx(row["loss"], abs=1e-4)
    assert number(page, "val_loss") == pytest.approx(row["val_loss"], abs=1e-4)
    assert number(page, "val_accuracy") == pytest.approx(100 * row["val_accuracy"], abs=6e-3)
    history = runs["mlp"].history
    assert number(page, "best") == history.loc[history["val_loss"].idxmin(), "epoch"]
    assert page.locator(".chart text[text-anchor=middle]").all_text_contents() == ["1", "2", "3", "Epoch"]


@pytest.mark.parametrize("page_id", ["history", "loss", "adam"])
def test_no_text_of_a_chart_covers_another_on_a_phone(lesson: Open, page_id: str) -> None:
    boxes = lesson(page_id, width=390).evaluate("""() => [...document.querySelectorAll(".chart")].map((chart) =>
        [...chart.querySelectorAll("text")].map((text) => {
            const { left, top, right, bottom } = text.getBoundingClientRect();
            return [text.textContent, left, top, right, bottom];
        }))""")
    assert boxes
    for chart in boxes:
        for (a, left, top, right, bottom), (b, *other) in itertools.combinations(chart, 2):
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart, (a, b)


def test_evaluation_has_wilsons_interval(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("evaluate")
    page.wait_for_selector(".stage .results")
    slide(page, 0, 100)
    found = runs["mlp"].predictions()
    right = int(np.sum(found.labels[:100] == found.predicted[:100]))
    assert result(page, "right") == f"{right} / 100"
    interval = binomtest(right, 100).proportion_ci(method="wilson")
    shown = [float(end) for end in result(page, "interval").replace("%", "").split(" – ")]
    assert shown == pytest.approx([100 * interval.low, 100 * interval.high], abs=6e-3)


def test_argmax_flips_when_a_logit_is_raised(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("argmax")
    logits = logits_of(runs["mlp"], 1)[0]
    assert number(page, "position") == int(logits.argmax())
    other = int(logits.argmin())
    page.locator(".stage .choice button").nth(other).click()
    slide(page, 0, 40)
    logits[other] += 40
    assert number(page, "position") == other
    assert number(page, "confidence") == pytest.approx(float(logits.softmax(dim=0).max()), abs=1e-4)


def grey(run: Run) -> torch.Tensor:
    return torch.tensor(run.data.test.images[0]).double().mean(dim=2)[None, None] / 255


EDGES = torch.tensor([[1.0, 1, 1], [0, 0, 0], [-1, -1, -1]]).double()[None, None]


def test_convolution_is_torchs(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("convolution")
    page.locator(".kernel input").nth(4).fill("0.5")
    slide(page, 0, 7)
    slide(page, 1, 11)
    kernel = EDGES.clone()
    kernel[0, 0, 1, 1] = 0.5
    assert number(page, "sum") == pytest.approx(F.conv2d(grey(runs["mlp"]), kernel)[0, 0, 7, 11].item(), abs=1e-4)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_padding_leaves_the_size_that_keras_has(lesson: Open, k: int) -> None:
    page = lesson("padding")
    slide(page, 0, k)
    before, after = (k - 1) // 2, k - 1 - (k - 1) // 2
    padded = F.pad(torch.ones(1, 1, 28, 28), (before, after, before, after))
    real = F.conv2d(padded, torch.ones(1, 1, k, k))
    assert result(page, "size") == f"28 × 28 → {real.shape[2]} × {real.shape[3]}"
    assert [number(page, "before"), number(page, "after")] == [before, after]
    assert result(page, "corner") == f"{int(real[0, 0, 0, 0])} / {k * k}"
    page.get_by_role("button", name="valid").click()
    assert result(page, "size") == f"28 × 28 → {28 - k + 1} × {28 - k + 1}"


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_stride_is_torchs(lesson: Open, runs: dict[str, Run], stride: int) -> None:
    page = lesson("stride")
    slide(page, 0, stride)
    out = F.conv2d(grey(runs["mlp"]), EDGES, stride=stride)[0, 0]
    assert result(page, "size") == f"28 × 28 → {out.shape[0]} × {out.shape[1]}"
    assert number(page, "first") == pytest.approx(out[out.shape[0] // 2, out.shape[1] // 2].item(), abs=1e-4)
    page.get_by_role("button", name="same").click()
    size = -(-28 // stride)
    assert result(page, "size") == f"28 × 28 → {size} × {size}"


@pytest.mark.parametrize("window", [2, 3])
def test_pooling_is_torchs(lesson: Open, runs: dict[str, Run], window: int) -> None:
    page = lesson("pooling")
    slide(page, 0, window)
    slide(page, 1, 2)
    before = grey(runs["mlp"])
    after = F.pad(before, (2, 0))[..., :28]
    pooled, moved = F.max_pool2d(before, window), F.max_pool2d(after, window)
    assert number(page, "sum") == pytest.approx(pooled.mean().item(), abs=1e-4)
    assert number(page, "pixels") == pytest.approx(100 * ((before - after).abs().sum() / before.sum()).item(), abs=0.06)
    assert number(page, "pooled") == pytest.approx(100 * ((pooled - moved).abs().sum() / pooled.sum()).item(), abs=0.06)


def test_dropout_masks_and_scales(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("dropout")
    slide(page, 0, 0.5)
    page.get_by_role("button", name="Draw another mask").click()
    mask = torch.tensor([int(kept) for kept in page.locator("canvas[data-mask]").get_attribute("data-mask")])
    network = runs["mlp"].network.cpu()
    image = torch.tensor(runs["mlp"].data.test.images[:1]).flatten(1).float() / 255
    with torch.no_grad():
        hidden = network.dense(image).relu()[0]
        dropped = hidden * mask / 0.5
        probs = F.linear(dropped, network.dense_1.weight, network.dense_1.bias).softmax(dim=0)
    assert result(page, "dropped") == f"{int((mask == 0).sum())} / {len(mask)}"
    assert 0.2 < (mask == 0).double().mean() < 0.8
    assert number(page, "before") == pytest.approx(hidden.mean().item(), abs=1e-4)
    assert number(page, "after") == pytest.approx(dropped.mean().item(), abs=1e-4)
    assert result(page, "answer") == f"{int(probs.argmax())} ({probs.max().item():.4f})"


def test_the_training_in_the_page_is_torchs(lesson: Open) -> None:
    """Both layers of the tiny network, step by step, with the factors of dropout given."""
    rng = np.random.default_rng(0)
    x, labels = rng.random((6, 5)), rng.integers(0, 3, 6)
    kernels, biases = [rng.normal(size=(5, 4)), rng.normal(size=(4, 3))], [rng.normal(size=4), rng.normal(size=3)]
    factors = rng.integers(0, 2, (6, 4)) * 2.0
    script = """async ({ x, labels, kernels, biases, factors }) => {
        const { trainStep } = await import("/web/lesson/tiny_network.js");
        const layers = kernels.map((kernel, n) => ({
            inputs: kernel.length,
            units: kernel[0].length,
            kernel: Float64Array.from(kernel.flat()),
            bias: Float64Array.from(biases[n]),
        }));
        const losses = [];
        for (let step = 0; step < 3; step++) {
            let at = 0;
            const flat = factors.flat();
            losses.push(trainStep(layers, x.map((row, i) => ({ x: row, label: labels[i] })), 0.4, () => flat[at++]));
        }
        return { losses, kernels: layers.map((layer) => [...layer.kernel]) };
    }"""
    values = {"x": x, "labels": labels, "kernels": kernels, "biases": biases, "factors": factors}
    plain = {k: [a.tolist() for a in v] if isinstance(v, list) else v.tolist() for k, v in values.items()}
    found = lesson("softmax").evaluate(script, plain)
    w = [torch.tensor(k, requires_grad=True) for k in kernels]
    b = [torch.tensor(v, requires_grad=True) for v in biases]
    optimizer = torch.optim.SGD([*w, *b], lr=0.4)
    for step in range(3):
        optimizer.zero_grad()
        hidden = (torch.tensor(x) @ w[0] + b[0]).relu() * torch.tensor(factors)
        loss = F.cross_entropy(hidden @ w[1] + b[1], torch.tensor(labels))
        assert found["losses"][step] == pytest.approx(loss.item(), rel=1e-9)
        loss.backward()
        optimizer.step()
    for shown, expected in zip(found["kernels"], w, strict=True):
        assert shown == pytest.approx(expected.detach().ravel().tolist(), rel=1e-9)


def test_a_few_images_overfit_and_more_mend_it(lesson: Open) -> None:
    page = lesson("overfitting")
    done = "document.querySelector('.stage [role=status]').textContent.includes('60 epochs')"
    page.wait_for_function(done)
    few = {key: number(page, key) for key in ("loss", "val_loss", "accuracy", "best")}
    assert few["accuracy"] == 100
    assert few["val_loss"] > 5 * few["loss"]
    assert few["best"] < 60
    slide(page, 0, 60)
    page.wait_for_function(f"!({done})")
    page.wait_for_function(done)
    assert number(page, "val_loss") < few["val_loss"] / 1.5


def test_features_are_of_the_image_that_excites_the_unit_most(lesson: Open, runs: dict[str, Run]) -> None:
    page = lesson("features")
    slide(page, 0, 4)
    network = runs["mlp"].network.cpu()
    images = torch.tensor(runs["mlp"].data.test.images[:100]).flatten(1).float() / 255
    with torch.no_grad():
        hidden = network.dense(images).relu()
    assert number(page, "largest") == pytest.approx(hidden[:, 3].max().item(), abs=1e-3)
    assert number(page, "active") == int((hidden[:, 3] > 0).sum())
    assert result(page, "dead") == f"{int((hidden.max(dim=0).values <= 0).sum())} / {hidden.shape[1]}"
    first = page.locator(".stage .pictures canvas").first.get_attribute("aria-label")
    assert first.startswith(f"Image {int(hidden[:, 3].argmax())},")


@pytest.mark.parametrize("server", [False, True])
def test_the_wall_has_every_misread_image(lesson: Open, runs: dict[str, Run], server: bool) -> None:
    page = lesson("misread", server=server)
    page.wait_for_selector(".wall")
    found = runs["mlp"].predictions()
    wrong = np.flatnonzero(found.misread)
    assert result(page, "misread") == f"{len(wrong)} / {len(found.labels)}"
    order = wrong[np.argsort(-found.confidence[wrong], kind="stable")][:48]
    shown = page.eval_on_selector_all(".wall button", "all => all.map(button => Number(button.dataset.row))")
    assert sorted(shown) == sorted(order.tolist())
    page.locator(".wall button").first.click()
    label = int(found.labels[shown[0]])
    page.locator(".stage .choice").first.locator("button").nth(label).click()
    assert f"Label {label}; the network read {found.predicted[shown[0]]}" in page.inner_text(".stage")
    assert result(page, "agreed") == "1 / 1"
    page.get_by_role("button", name="Draw one yourself").click()
    assert page.evaluate("window.went") == [["draw", {}]]
