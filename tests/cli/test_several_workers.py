"""`--workers` of `misread train` and `misread labels`; what `misread sweep` says is tested with the sweeps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samples import Result

pytestmark = pytest.mark.usefixtures("without_pictures")

FEW = ["--set", 'layers=[{type="Flatten"}, {type="Dense", units="classes"}]', "--set", "epochs=2", "--threads", 1]


def test_doubtful_labels_are_the_same_with_two_workers(cli: Callable[..., Result]) -> None:
    command = ["labels", "digits", "--recipe", "tutorial-mlp", *FEW, "--folds", 3, "--seeds", 1, "--json"]
    one = cli(*command, "--out", "one")
    two = cli(*command, "--out", "two", "--workers", 2)
    assert one.code == two.code == 0, two.err
    assert two.out == one.out
    assert two.err.count("held-out images") == 6 + 1  # a line for each network, and that of the result


def test_seeds_with_two_workers_print_what_one_prints(cli: Callable[..., Result], idx_folder: Path) -> None:
    command = ["train", idx_folder, "--recipe", "tutorial-mlp", *FEW, "--seeds", 2, "--json"]
    one, two = (cli(*command, "--out", f"out{n}", "--workers", n) for n in (1, 2))
    assert one.code == two.code == 0, two.err

    def without_times(result: Result) -> dict[str, Any]:
        found = json.loads(result.out)
        del found["summary"]["fit_seconds"]
        for run in found["runs"]:
            assert Path(run.pop("folder")).is_dir()
            del run["fit_seconds"]
        return found

    assert without_times(two) == without_times(one)


def test_members_with_two_workers_give_the_run_of_one(cli: Callable[..., Result], idx_folder: Path) -> None:
    command = ["train", idx_folder, "--recipe", "tutorial-mlp", *FEW, "--set", "members=2"]
    one, two = (cli(*command, "--out", f"out{n}", "--workers", n) for n in (1, 2))
    assert one.code == two.code == 0, two.err
    (of_one,), (of_two,) = (list(Path(f"out{n}").iterdir()) for n in (1, 2))
    for name in ("model.safetensors", "predictions-test.npz"):
        assert (of_one / name).read_bytes() == (of_two / name).read_bytes()
    lines = [line for line in two.out.splitlines() if line.startswith("member ")]
    assert sorted(line.partition("  ")[0] for line in lines) == ["member 1/2", "member 2/2"]
    assert all("epoch 2/2" in line for line in lines)


def test_pictures_are_resized_for_sweeps_and_learning_rates_too(cli: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text('recipe = "fast"\n[search]\nbatch_size = {low = 8, high = 9}')
    for command in (["sweep", "digits", tmp_path / "space.toml"], ["lr", "digits"]):
        refused = cli(*command, "--size", "12x10")
        assert refused.code == 2
        assert (
            "digits has images of 28x28, not 12x10; only pictures in folders and shards can be resized" in refused.err
        )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "digits", "--workers", 2], "trains a single network, which 2 workers cannot share. Use 1 worker."),
        (["train", "digits", "--seeds", 2, "--workers", 0], "0 workers train nothing. Use 1 or more."),
        (["train", "digits", "--workers", 0], "0 workers train nothing. Use 1 or more."),
        (["labels", "digits", "--workers", -1], "-1 workers train nothing. Use 1 or more."),
    ],
)
def test_workers_that_cannot_be_are_refused(cli: Callable[..., Result], command: list[Any], message: str) -> None:
    refused = cli(*command)
    assert refused.code == 2
    assert message in refused.err
