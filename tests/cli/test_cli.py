"""The command line as a person or a script meets it: text, JSON, exit codes."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import misread
from misread.cli.main import app, main
from samples import Result, blocks, write_idx_folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(data, run): a data folder and a run on it that tests may look at but not change."""
    root = tmp_path_factory.mktemp("shared")
    data = write_idx_folder(root / "blocks", blocks(320), blocks(80, seed=1))
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes", activation="softmax"}]']
    run = misread.train(data, "tutorial-mlp", epochs=2, settings=settings, out=root / "runs", progress=False)
    return data, run.folder


SMALL = (
    "--set",
    'layers=[{type="Flatten"}, {type="Dense", units="classes"}]',
    "--epochs",
    2,
    "--recipe",
    "tutorial-mlp",
)


def test_train_prints_summary_epochs_result_and_pictures(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    done = cli("train", shared[0], *SMALL)
    assert done.code == 0
    assert "dense    Dense    (None, 4)" in done.out
    assert "260 parameters" in done.out
    assert "epoch 1/2" in done.out
    assert "val_accuracy" in done.out
    assert "of 80 misread" in done.out
    assert "\x1b[" not in done.out  # not a terminal: plain lines
    folder = Path(done.out.split("Run: ")[1].splitlines()[0])
    assert (folder / "run.json").is_file()
    assert f"Picture: {folder}/figures/misreads.png" in done.out


def test_train_json_is_the_record_and_nothing_else(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    done = cli("train", shared[0], *SMALL, "--json", "--seed", 7, "--threads", 1)
    record = json.loads(done.out)
    assert (record["seed"], record["epochs_trained"], record["environment"]["threads"]) == (7, 2, 1)
    assert record == {"folder": record["folder"], **json.loads((Path(record["folder"]) / "run.json").read_text())}
    assert "epoch 1/2" in done.err


def test_train_target_is_the_recipes_setting(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    quick = ("--set", "optimizer.learning_rate=0.05", "--set", "validation.name=carve")
    done = cli("train", shared[0], *SMALL, "--target", 0.01, *quick)
    assert "Reached the target of 1.00% on validation in epoch 1." in done.out
    refused = cli("train", shared[0], *SMALL, "--target", 0.99)
    assert refused.code == 2
    assert "target_accuracy: it would choose on the test split" in refused.err


def test_train_seeds_prints_a_table_and_a_line(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    done = cli("train", shared[0], *SMALL, "--seeds", 2, "--seed", 7)
    assert done.code == 0
    table = done.out.split("\n\n")[-2].splitlines()
    assert table[0].split() == ["seed", "test", "accuracy", "misread", "fit", "seconds", "status", "run"]
    assert [line.split()[0] for line in table[1:]] == ["7", "8"]
    assert all(Path(line.split()[-1]).is_dir() for line in table[1:])
    assert "2 seeds: test accuracy" in done.out.splitlines()[-1]
    assert cli("train", shared[0], "--seeds", 1).code == 2


def test_train_seeds_json_and_quiet_name_the_folders(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    told = json.loads(cli("train", shared[0], *SMALL, "--seeds", 2, "--json").out)
    assert (told["n_test"], told["summary"]["accuracy"]["count"]) == (80, 2)
    for run in told["runs"]:
        record = json.loads((Path(run["folder"]) / "run.json").read_text())
        assert (run["seed"], run["accuracy"]) == (record["seed"], record["metrics"]["test"]["accuracy"])
    quiet = cli("train", shared[0], *SMALL, "--seeds", 2, "--quiet")
    assert all(Path(line).is_dir() for line in quiet.out.splitlines())
    assert len(quiet.out.splitlines()) == 2


def test_train_quiet_prints_the_folder_only(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    done = cli("train", shared[0], *SMALL, "--quiet")
    assert Path(done.out.strip()).is_dir()
    assert done.err == ""


def test_evaluate_gives_interval_and_counts(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    data, run = shared
    done = cli("evaluate", run)
    record = json.loads((run / "run.json").read_text())["metrics"]["test"]
    assert f"{record['misread']} of 80" in done.out
    assert f"{record['accuracy']:.2%}  (95% interval {record['accuracy_low']:.2%}" in done.out
    scored = json.loads(cli("evaluate", run, data, "--json").out)
    assert scored["misread"] == record["misread"]
    assert scored["loss"] == pytest.approx(record["loss"])


def test_evaluate_on_other_data_says_so(cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_idx_folder(tmp_path / "other", blocks(40, seed=5), blocks(24, seed=6))
    done = cli("evaluate", shared[1], other)
    assert done.code == 0
    assert "Note: this is not the data of the run (blocks" in done.out
    assert "of 24" in done.out


def test_evaluate_says_how_certain_and_what_is_confused(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    found = misread.open_run(shared[1]).predictions()
    ece = found.calibration().ece
    first = found.confusion().pairs.iloc[0]
    out = cli("evaluate", shared[1]).out
    assert f"{found.confidence.mean():.2%} on average; calibration error (ECE) {ece:.2%}" in out
    assert f"Confused    {first['label']} as {first['prediction']} ({first['n']})" in out


def test_evaluate_per_class_and_calibration_are_printed_on_demand(
    cli: Callable[..., Result], shared: tuple[Path, Path]
) -> None:
    found = misread.open_run(shared[1]).predictions()
    assert "Recall" not in cli("evaluate", shared[1]).out
    out = cli("evaluate", shared[1], "--per-class").out
    for line in found.per_class().table.itertuples():
        assert f"{line.recall:.2%}  {line.recall_low:.2%} to {line.recall_high:.2%}" in out
    pairs = len(found.confusion().pairs)
    assert f"Most confused ({min(10, pairs)} of {pairs} pairs)" in out
    out = cli("evaluate", shared[1], "--calibration", "--error-level", 0.2).out
    assert "Fitted on 40 images (one half of test), measured on 40 (the other half of test)" in out
    scaling = found.calibration().scaling
    assert scaling is not None
    assert f"Temperature      {scaling.temperature:.3f}" in out
    assert "Prediction sets  error level 0.2\n" in out
    out = cli("evaluate", shared[1], "--calibration").out
    assert "error level 0.01 (needs 99 images to fit on; with fewer, every set holds all classes)" in out
    assert "it must lie between 0 and 1" in cli("evaluate", shared[1], "--calibration", "--error-level", 2).err


def test_evaluate_json_holds_everything_and_figures_are_written(
    cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path
) -> None:
    done = cli("evaluate", shared[1], "--json", "--figures", tmp_path / "new" / "figures")
    read = json.loads(done.out)
    assert np.sum(read["confusion"]["counts"]) == 80
    assert len(read["per_class"]["classes"]) == 4
    assert read["calibration"]["scaling"]["fitted_on"] == "one half of test"
    assert read["risk_coverage"]["table"][0]["misread"] == read["misread"]
    assert read["conformal"]["error_level"] == 0.01
    for name in ("confusion", "per-class", "reliability", "risk-coverage"):
        with Image.open(tmp_path / "new" / "figures" / f"{name}.png") as picture:
            assert picture.width > 300
        assert f"Picture: {tmp_path / 'new' / 'figures' / name}.png" in done.err
    (tmp_path / "file").write_text("")
    assert "cannot be written" in cli("evaluate", shared[1], "--figures", tmp_path / "file").err


@pytest.fixture(scope="session")
def better(shared: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the same data that misreads less."""
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes"}]']
    return misread.train(
        shared[0], "tutorial-mlp", epochs=20, settings=settings, out=tmp_path_factory.mktemp("better"), progress=False
    ).folder


def test_compare_prints_what_changed_and_writes_the_lists(
    cli: Callable[..., Result], shared: tuple[Path, Path], better: Path, tmp_path: Path
) -> None:
    found = misread.compare(shared[1], better)
    assert found.p_value < 0.05 < found.difference
    done = cli("compare", shared[1], better, "--csv", tmp_path / "all.csv", "--png", tmp_path / "both.png")
    assert done.code == 0
    assert f"Fixed            {found.n_fixed}" in done.out
    assert f"{found.difference:+.2%}  (95% interval {found.interval[0]:+.2%}" in done.out
    assert f"Fixed (10 of {found.n_fixed}; --csv and --json have all)" in done.out
    assert "Misread by A" not in done.out
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert lines[0] == "change,index,file,label,prediction_a,prediction_b,confidence_a,confidence_b"
    assert len(lines) == 1 + len(found.changes)
    with Image.open(tmp_path / "both.png") as picture:
        assert picture.width > 300
    assert "Misread by A" in cli("compare", shared[1], better, "--per-class").out
    read = json.loads(cli("compare", shared[1], better, "--json").out)
    assert (read["fixed"], read["failures"]) == (found.n_fixed, [])
    assert cli("compare", shared[1], better, "--png", tmp_path / "x.doc").code == 2


def test_compare_fails_for_scripts_when_asked_to(
    cli: Callable[..., Result], shared: tuple[Path, Path], better: Path
) -> None:
    worse = shared[1]
    assert cli("compare", better, worse).code == 0
    assert cli("compare", worse, better, "--fail-if-worse", "--alpha", 1).code == 0
    done = cli("compare", better, worse, "--fail-if-worse")
    assert done.code == 1
    assert "Newly broken" in done.out
    assert "Worse: B reads " in done.err
    assert "is at most 0.05." in done.err
    assert cli("compare", better, worse, "--fail-if-worse", "--alpha", 0).code == 0
    broken = misread.compare(better, worse).broken
    label = broken["label"].iloc[0]
    done = cli("compare", better, worse, "--no-new-misreads-of", label, "--json")
    assert done.code == 1
    assert json.loads(done.out)["failures"] == [done.err.strip()]
    assert f"Newly misread: {(broken['label'] == label).sum()} images of class {label} (index " in done.err
    assert cli("compare", worse, worse, "--no-new-misreads-of", label).code == 0
    assert "There is no class '9'." in cli("compare", worse, better, "--no-new-misreads-of", 9).err


def test_compare_refuses_different_images_and_notes_other_training_data(
    cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path
) -> None:
    fewer = write_idx_folder(tmp_path / "fewer", blocks(320), blocks(40, seed=1))
    other = json.loads(cli("train", fewer, *SMALL, "--json").out)["folder"]
    done = cli("compare", shared[1], other)
    assert (done.code, done.out) == (2, "")
    assert "A has 80 images, but B has 40." in done.err
    images, labels = blocks(320)
    retrained = write_idx_folder(tmp_path / "retrained", (images[:200], labels[:200]), blocks(80, seed=1))
    other = json.loads(cli("train", retrained, *SMALL, "--json").out)["folder"]
    done = cli("compare", shared[1], other)
    assert done.out.startswith("Note: A and B were trained on different data; their test images are the same.\n")


def test_misreads_prints_every_one_with_its_cause_and_writes_what_is_asked(
    cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path
) -> None:
    run = shared[1]
    total = json.loads((run / "run.json").read_text())["metrics"]["test"]["misread"]
    assert total > 5
    done = cli("misreads", run, "--grid", 5, "--png", tmp_path / "gallery.png", "--csv", tmp_path / "all.csv")
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "index",
        "label",
        "prediction",
        "confidence",
        "rank",
        "cause",
        "cause_probability",
        "evidence",
    ]
    confidences = [float(line.split()[3]) for line in lines[1 : total + 1]]
    assert len(confidences) == total
    assert confidences == sorted(confidences, reverse=True)
    assert f"5 of {total} misread" in done.out
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.width > 300
    rows = json.loads(cli("misreads", run, "--json").out)
    assert [row["index"] for row in rows] == [int(line.split()[0]) for line in lines[1 : total + 1]]
    table = misread.open_run(run).misreads.explain().table
    assert list(rows[0]) == [*table.columns, "neighbours"]
    assert [row["cause"] for row in rows] == table["cause"].tolist()
    assert [near["place"] for near in rows[0]["neighbours"]] == [1, 2, 3, 4, 5]
    assert (tmp_path / "all.csv").read_text() == table.to_csv(index=False)
    counted = [line.split(maxsplit=1) for line in lines[total + 3 :] if line.startswith(" ")]
    assert {name: int(count) for count, name in counted} == table["cause"].value_counts().to_dict()


def test_misreads_of_one_cause_and_their_neighbours(
    cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = json.loads(cli("misreads", shared[1], "--json").out)
    cause = rows[0]["cause"]
    wanted = [row for row in rows if row["cause"] == cause]
    options = ("--cause", cause.replace(" ", "-"), "--neighbours", "--most-confident", "--grid", 2)
    done = cli("misreads", shared[1], *options, "--png", tmp_path / "near.png", "--json")
    assert json.loads(done.out) == wanted
    assert f"2 of {len(rows)} misread, {cause}" in done.err
    with Image.open(tmp_path / "near.png") as picture:
        assert picture.width > 900
    other = cli("misreads", shared[1], "--other", shared[1], "--json")
    assert "other runs" in other.out
    for arguments, message in (
        (("--cause", "labl-doubtful"), "There is no cause 'labl-doubtful'. Did you mean 'label doubtful'?"),
        (("--neighbours",), "name its file with --png"),
        (("--no-causes", "--cause", "ambiguous"), "--no-causes leaves nothing for --cause"),
    ):
        refused = cli("misreads", shared[1], *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert message in refused.err


def test_misreads_need_no_data_but_for_their_causes(
    cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path
) -> None:
    data = write_idx_folder(tmp_path / "gone", blocks(320), blocks(80, seed=1))
    run = misread.train(data, "tutorial-mlp", epochs=1, settings=[SMALL[1]], out=tmp_path, progress=False).folder
    (data / "train-images-idx3-ubyte").unlink()
    done = cli("misreads", run)
    assert done.code == 0
    assert done.out.split("\n")[0].split() == ["index", "label", "prediction", "confidence", "rank"]
    assert done.err.startswith("Without causes: ")
    plain = cli("misreads", run, "--no-causes", "--csv", tmp_path / "all.csv")
    assert (plain.code, plain.err) == (0, "")
    assert (tmp_path / "all.csv").read_text() == (run / "misreads-test.csv").read_text()
    assert cli("misreads", run, "--cause", "ambiguous").code == 2


def test_misreads_writes_only_pictures_as_pictures(
    cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path
) -> None:
    done = cli("misreads", shared[1], "--png", tmp_path / "gallery.doc")
    assert (done.code, done.err) == (
        2,
        f"Error: {tmp_path / 'gallery.doc'} is not the name of a picture. Use the suffix .png or .svg.\n",
    )
    done = cli("misreads", shared[1], "--png", tmp_path / "no" / "gallery.png")
    assert done.code == 2
    assert "cannot be written: No such file or directory" in done.err


def test_predict_reads_pictures_and_reports_bad_ones_without_stopping(
    cli: Callable[..., Result], shared: tuple[Path, Path], tmp_path: Path
) -> None:
    images, _labels = blocks(8, seed=1)
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_text("not a picture")
    files = [tmp_path / "0.png", tmp_path / "bad.png", tmp_path / "nowhere.png", tmp_path / "1.png"]
    done = cli("predict", shared[1], *files, "--json")
    assert done.code == 1
    results = json.loads(done.out)
    assert [Path(r["file"]).name for r in results] == ["0.png", "bad.png", "nowhere.png", "1.png"]
    probs = misread.open_run(shared[1]).predict(images)
    for r, i in ((results[0], 0), (results[3], 1)):
        assert r["label"] == str(probs[i].argmax())
        assert [t["probability"] for t in r["top"]] == pytest.approx(sorted(probs[i], reverse=True)[:3], abs=1e-5)
    assert "is not a readable image" in results[1]["error"]
    assert "does not exist" in results[2]["error"]
    text = cli("predict", shared[1], *files)
    assert text.code == 1
    assert len(text.out.splitlines()) == 3  # a header and two results
    assert text.err.count("Error: ") == 2
    assert cli("predict", shared[1], files[0]).code == 0


def test_runs_are_listed_and_last_is_the_newest(
    cli: Callable[..., Result], shared: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No runs in runs yet" in cli("runs").out
    assert "There is no run in runs/ yet" in cli("evaluate", "last").err
    monkeypatch.chdir(shared[1].parent.parent)
    listed = cli("runs").out.splitlines()
    assert listed[0].split() == ["Run", "Data", "Seed", "Status", "Accuracy", "Misread", "Fit", "s"]
    assert listed[1].startswith(f"runs/{shared[1].name}")
    assert json.loads(cli("runs", "--json").out)[0]["recipe"] == "tutorial-mlp"
    assert cli("evaluate", "last").out == cli("evaluate", shared[1]).out == cli("evaluate", shared[1].name).out
    assert cli("runs", "--out", "nowhere").code == 2


def test_summary_and_recipes(cli: Callable[..., Result], tmp_path: Path) -> None:
    assert "795,010 parameters" in cli("summary", "tutorial-mlp").out
    assert json.loads(cli("summary", "tutorial-cnn", "--json").out)["parameters"] == 3_156_098
    assert "198,005 parameters" in cli("summary", "tutorial-mlp", "--shape", "8x8x3", "--classes", 5).out
    listed = cli("recipes").out
    assert "tutorial-mlp" in listed
    assert "tutorial-cnn" in listed
    own = tmp_path / "own.toml"
    own.write_text(cli("recipes", "tutorial-cnn").out)
    assert cli("summary", own).out == cli("summary", "tutorial-cnn").out
    assert "not of the form 28x28x1" in cli("summary", "tutorial-mlp", "--shape", "28").err


def test_data_list_info_get_and_check(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    listed = cli("data", "list").out
    for name in ("mnist", "fashion-mnist", "kmnist", "digits"):
        assert name in listed
    info = cli("data", "info", shared[0]).out
    assert "8x8, grey" in info
    assert info.splitlines()[-1].split() == ["all", "320", "80"]
    assert json.loads(cli("data", "info", "digits", "--json").out)["splits"] == {"train": 1438, "test": 359}
    got = cli("data", "get", "digits")
    assert (got.code, "Verified" in got.out) == (0, True)
    assert "Did you mean 'kmnist'" in cli("data", "get", "kminst").err
    checked = cli("data", "check", shared[0])
    assert (checked.code, checked.out.splitlines()[-1]) == (0, "No problems found.")


def test_data_check_finds_what_is_wrong(cli: Callable[..., Result], tmp_path: Path) -> None:
    data = tmp_path / "set"
    for label, name in enumerate("ab"):
        (data / name).mkdir(parents=True)
        for i, image in enumerate(blocks(8, seed=label)[0]):
            Image.fromarray(image[..., 0]).save(data / name / f"{i}.png")
    (data / "a" / "broken.png").write_text("")
    (data / "b" / "copy.png").write_bytes((data / "a" / "0.png").read_bytes())
    options = ("--csv", tmp_path / "pairs.csv", "--png", tmp_path / "pairs.png")
    done = cli("data", "check", data, *options)
    assert done.code == 1
    assert "a/broken.png is not a readable image" in done.out
    assert "Problem: Pairs of exact copies with different labels: 1." in done.out
    line = next(line for line in done.out.splitlines() if line.startswith("exact "))
    assert line.split(maxsplit=2)[:2] == ["exact", "1.0000"]
    assert {"a/0.png, labelled a", "b/copy.png, labelled b"} <= {p.strip()[6:].strip() for p in line[20:].split("  ")}
    with Image.open(tmp_path / "pairs.png") as picture:
        assert picture.width > 300
    as_json = cli("data", "check", data, *options, "--json")
    assert as_json.code == 1
    [pair] = json.loads(as_json.out)["duplicates"]
    assert {pair["first_file"], pair["second_file"]} == {"a/0.png", "b/copy.png"}
    assert (tmp_path / "pairs.csv").read_text().splitlines()[0] == ",".join(pair)
    assert "Picture: " in as_json.err
    assert cli("data", "check", data, "--strict").code == 2
    assert (
        "is not the name of a picture. Use the suffix .png or .svg"
        in cli("data", "check", data, "--png", "pairs.doc").err
    )


def test_demo_without_mnist_trains_on_digits_and_says_why(
    cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # as after `make demo`: the shell would not find misread
    monkeypatch.setattr("sys.argv", [".venv/bin/misread", "demo"])
    monkeypatch.setattr("misread.data.download.TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(
        "requests.Session.send", lambda *a, **k: (_ for _ in ()).throw(__import__("requests").ConnectionError())
    )
    done = cli("demo")
    assert done.code == 0
    assert "mnist could not be downloaded" in done.err
    assert "Training on the embedded digits" in done.out
    assert "of 359 misread" in done.out
    for name in ("history.png", "misreads.png"):
        path = next(line.strip() for line in done.out.splitlines() if line.endswith(name))
        assert Path(path).is_file()
    assert re.search(r"^  \.venv/bin/misread studio runs/\S+-tutorial-mlp$", done.out, re.M)


# errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "mnits"], "There is no data set or path 'mnits'. Did you mean 'mnist'?"),
        (["train", "digits", "--recipe", "tutorial-mpl"], "Did you mean 'tutorial-mlp'?"),
        (["train", "digits", "--set", "epoch=3"], "epoch: there is no such setting. Did you mean 'epochs'?"),
        (["train", "digits", "--device", "cud"], "Did you mean 'cuda'?"),
        (["train", "digits", "--size", "big"], "is invalid. Use the form 28 or 28x32"),
        (
            ["train", "digits", "--size", "20"],
            "has images of 28x28, not 20x20; only pictures in folders and shards can be resized",
        ),
        (["train", "digits", "--device", "gpu"], "Did you mean 'cuda'?"),
        (["report", "nowhere", "--lang", "fr"], "There is no language 'fr'. Use one of en, ko."),
        (["compare", "nowhere", "nowhere", "--lang", "fr"], "There is no language 'fr'."),
        (["evaluate", "nowhere"], "There is no run folder nowhere."),
        (["evaluate", "lst"], "There is no run folder lst. Did you mean 'last'?"),
        (["misreads", "nowhere"], "There is no run folder nowhere."),
        (["predict", "nowhere", "x.png"], "There is no run folder nowhere."),
    ],
)
def test_what_the_user_can_mend_is_one_message_and_exit_2(
    cli: Callable[..., Result], arguments: list[str], message: str
) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("Error: ") == 1
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_diverged_training_is_a_failure_exit_1(cli: Callable[..., Result], shared: tuple[Path, Path]) -> None:
    deep = (
        'layers=[{type="Flatten"}, {type="Dense", units=9}, {type="Dense", units=9}, {type="Dense", units="classes"}]'
    )
    done = cli(
        "train",
        shared[0],
        "-r",
        "tutorial-mlp",
        "--set",
        deep,
        "--set",
        "optimizer.name=sgd",
        "--set",
        "optimizer.learning_rate=1e6",
        "-q",
    )
    assert done.code == 1
    assert "no longer finite" in done.err


def test_debug_adds_the_traceback_wherever_it_stands(cli: Callable[..., Result]) -> None:
    for arguments in (["--debug", "evaluate", "nowhere"], ["evaluate", "nowhere", "--debug"]):
        with pytest.raises(misread.RunError):
            cli(*arguments)


def test_unknown_verbs_and_options_are_exit_2(cli: Callable[..., Result]) -> None:
    assert cli("trian").code == 2
    assert cli("train", "digits", "--epoch", "3").code == 2
    assert cli("--version").out.startswith("misread ")


def test_every_verb_has_help_and_a_line_that_is_not_cut_off(cli: Callable[..., Result]) -> None:
    _, _, listed = cli("--help").out.partition("Commands:")
    assert "..." not in listed
    for verb in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert re.search(rf"^  {verb} +[A-Z].*\.$", listed, re.M), verb
        assert cli(verb, "--help").code == 0


def test_ctrl_c_on_the_command_line_leaves_a_run_and_exit_1(shared: tuple[Path, Path], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-u",
        "-m",
        "misread",
        "train",
        str(shared[0]),
        "--recipe",
        "tutorial-mlp",
        "--epochs",
        "100000",
        "--out",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "Interrupted after" in out
    folder = next(tmp_path.iterdir())
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"


def test_a_reader_that_leaves_early_is_no_error(shared: tuple[Path, Path]) -> None:
    command = f"'{sys.executable}' -m misread misreads '{shared[1]}' | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("index")
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("unbuffered", [False, True])  # the output fails at the end, or at the first line
def test_output_that_cannot_be_written_is_one_message(
    unbuffered: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "wb", buffering=0 if unbuffered else -1) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=unbuffered))
        with pytest.raises(SystemExit) as left:
            main(["recipes"])
    assert left.value.code == 1
    assert capsys.readouterr().err == "Error: The output cannot be written: No space left on device. Free some space.\n"


def test_a_reader_that_left_before_a_short_output_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        with pytest.raises(SystemExit):
            main(["recipes"])
    assert capsys.readouterr().err == ""
