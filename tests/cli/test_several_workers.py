"""`--workers` and `--ray` of the commands that train; what else `misread sweep` says is tested with the sweeps."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clusters import Elsewhere, bits
from misread.ray_cluster import RayCluster
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


SPACE = """
name = "small"
epochs = 1
layers = [{type = "Flatten"}, {type = "Dense", units = "classes"}]
[search]
batch_size = {low = 8, high = 64}
"""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """What --ray comes to, with or without Ray."""
    made = Elsewhere()
    monkeypatch.setitem(sys.modules, "ray", object())
    monkeypatch.setattr(RayCluster, "__call__", lambda self, *how: made(*how))
    return made


def test_ray_does_what_one_process_does(
    cli: Callable[..., Result], elsewhere: Elsewhere, idx_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    commands: list[tuple[list[Any], int]] = [
        (["train", idx_folder, "--recipe", "tutorial-mlp", *FEW, "--seeds", 2, "--quiet"], 2),
        (["train", idx_folder, "--recipe", "tutorial-mlp", *FEW, "--set", "members=2", "--quiet"], 2),
        (["labels", "digits", "--recipe", "tutorial-mlp", *FEW, "--folds", 3, "--seeds", 1, "--json"], 6),
        (["sweep", idx_folder, tmp_path / "space.toml", "--trials", 2, "--threads", 1, "--json"], 2),
    ]
    for number, (command, tasks) in enumerate(commands):
        elsewhere.tasks = 0
        one = cli(*command, "--out", f"one{number}")
        assert elsewhere.tasks == 0
        two = cli(*command, "--out", f"two{number}", "--ray", "auto")
        assert one.code == two.code == 0, two.err
        assert elsewhere.tasks == tasks
        assert elsewhere.needs[-1].cores == 1
        if command[0] == "train":
            assert [bits(Path(f)) for f in two.out.splitlines()] == [bits(Path(f)) for f in one.out.splitlines()]
        elif command[0] == "labels":
            assert two.out == one.out
        else:
            assert json.loads(two.out)["test"] == json.loads(one.out)["test"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "digits", "--seeds", 2, "--workers", 2], "as the cluster has room for. Leave out --workers."),
        (["labels", "digits", "--workers", 2], "as the cluster has room for. Leave out --workers."),
        (["sweep", "digits", "space.toml", "--workers", 2], "as the cluster has room for. Leave out --workers."),
        (["train", "digits"], "trains a single network, which a cluster cannot share. Train it without."),
    ],
)
def test_what_ray_cannot_do_is_refused(
    cli: Callable[..., Result], elsewhere: Elsewhere, command: list[Any], message: str
) -> None:
    Path("space.toml").write_text(SPACE)
    refused = cli(*command, "--ray", "auto")
    assert refused.code == 2
    assert message in refused.err
    assert elsewhere.tasks == 0


def test_ray_is_refused_for_a_run(cli: Callable[..., Result], elsewhere: Elsewhere, idx_folder: Path) -> None:
    run = cli("train", idx_folder, "--recipe", "tutorial-mlp", *FEW, "--quiet").out.strip()
    refused = cli("labels", run, "--ray", "auto")
    assert refused.code == 2
    assert "is a run, which is not trained again. Leave out --ray" in refused.err


@pytest.mark.parametrize(
    "command",
    [
        ["train", "digits", "--seeds", 2],
        ["labels", "digits"],
        ["sweep", "digits", "space.toml"],
        ["predict", "last", "shards", "--out", "preds"],
    ],
)
def test_without_ray_the_commands_say_how_to_install_it(
    cli: Callable[..., Result], command: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = cli(*command, "--ray", "auto")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "Error: A Ray cluster needs ray. Install it: pip install 'misread[ray]'\n"


def test_an_interrupted_ensemble_goes_on_by_ray(
    cli: Callable[..., Result], elsewhere: Elsewhere, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", idx_folder, "--recipe", "tutorial-mlp", *FEW, "--set", "members=3", "--quiet"]
    whole = cli(*command, "--out", "whole")

    def ends(cluster: RayCluster, function: Any, tasks: Any, need: Any) -> Any:
        yield from elsewhere(function, tasks[:1], need)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RayCluster, "__call__", ends)
        interrupted = cli(*command, "--out", "out", "--ray", "auto")
    assert interrupted.code == 130
    assert "misread train --resume RUN goes on" in interrupted.err
    (partial,) = Path("out").iterdir()
    resumed = cli("train", "--resume", partial, "--ray", "auto", "--quiet")
    assert resumed.code == 0, resumed.err
    assert elsewhere.tasks == 1 + 2
    assert bits(Path(resumed.out.strip())) == bits(Path(whole.out.strip()))
