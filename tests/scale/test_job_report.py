"""The report of predicted shards: its numbers are those of all images at once, and what it keeps is bounded."""

import io
import json
import pickle
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

import misread
from misread.analysis.label_issues import flagged_issues, label_issues
from misread.errors import RunError
from misread.scale.arrow import prediction_schema, prediction_writer
from misread.scale.job_report import LISTED, write_job_report
from misread.scale.job_stats import JobStats, StatsTask, shard_stats
from samples import Result
from shard_jobs import do_job, in_process, rows_of, start_no_process, write_tar

TOP = 12
TAR = 200  # of the test images; the others are in an array


@pytest.fixture(scope="module")
def digits() -> Any:
    return misread.load("digits").test


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """A job over digits: some as PNG in two tar files, with two odd ones each, the others as rows of an array."""
    folder = tmp_path_factory.mktemp("digits job")
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes", activation="softmax"}]']
    run = misread.train("digits", "tutorial-mlp", epochs=2, settings=settings, out=folder, progress=False)
    for number in range(2):
        files: list[tuple[str, bytes]] = []
        for i in range(number * TAR // 2, (number + 1) * TAR // 2):
            png = io.BytesIO()
            Image.fromarray(digits.images[i, ..., 0]).save(png, "png")
            files += [(f"{i:04}.png", png.getvalue()), (f"{i:04}.cls", str(digits.labels[i]).encode())]
        odd = [(f"odd{number}.png", b"no picture"), (f"other{number}.png", files[0][1]), (f"other{number}.cls", b"x")]
        write_tar(folder / f"{number}.tar", files + odd)
    np.save(folder / "images.npy", digits.images[TAR:, ..., 0])
    np.save(folder / "labels.npy", digits.labels[TAR:])
    given = f"{folder}/{{0..1}}.tar", str(folder / "images.npy")
    state, out = do_job(run.folder, folder / "preds", *given, size=90, probabilities=True)
    assert state.complete
    return out


@pytest.fixture(scope="module")
def alone(job: Path, digits: Any) -> misread.Predictions:
    """All labelled images predicted at once, by the run itself."""
    (record,) = job.parent.glob("*/run.json")
    return misread.Predictions(digits.labels, misread.open_run(record.parent).predict(digits.images), name="digits")


def data_of(page: Path) -> dict[str, Any]:
    """What a page's script reads."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def places(data: dict[str, Any], which: list[int]) -> list[tuple[str, int]]:
    return [(data["items"]["shard"][p], data["items"]["row"][p]) for p in which]


def place_of(i: int) -> tuple[str, int]:
    """Where image i of the test split is in the job."""
    if i < TAR:
        return f"0000{i // 100}-{i // 100}", i % 100
    return f"0000{2 + (i - TAR) // 90}-images", (i - TAR) % 90


@pytest.fixture(scope="module")
def made(job: Path) -> Any:
    return write_job_report(job, in_process, job.parent / "page.html", top=TOP)


def test_counts_are_those_of_all_images_at_once(made: Any, alone: misread.Predictions) -> None:
    stats, n = made.stats, len(alone)
    assert (stats.images, stats.unread, stats.unlabelled, stats.other_labels) == (n + 4, 2, 2, 2)
    assert np.array_equal(stats.confusion, confusion_matrix(alone.labels, alone.predicted, labels=range(10)))
    table = alone.calibration().table
    assert stats.labelled_bins.counts.tolist() == table["n"].tolist()
    some = table["n"] > 0
    right = np.where(some, stats.right / np.maximum(table["n"], 1), np.nan)
    assert np.array_equal(right, table["accuracy"], equal_nan=True)
    means = stats.labelled_bins.rounded()[some] / table["n"][some]
    assert means.to_numpy() == pytest.approx(table["confidence"][some].to_numpy(), abs=1e-7)
    assert stats.by_prediction.counts.sum() == stats.bins.counts.sum() == n + 2


def test_the_page_says_the_numbers_of_all_images(made: Any, alone: misread.Predictions) -> None:
    text = made.path.read_text()
    calibration = alone.calibration()
    assert f'<strong id="accuracy">{alone.metrics()["accuracy"]:.2%}</strong>' in text
    assert f'<strong id="ece">{calibration.ece:.2%}</strong>' in text
    balanced = balanced_accuracy_score(alone.labels, alone.predicted)
    assert f"balanced accuracy {balanced:.2%}" in text
    low, high = (alone.metrics()[f"accuracy_{end}"] for end in ("low", "high"))
    assert f"95% interval {low:.2%} to {high:.2%}" in text
    assert f"Confident learning calls {flagged_issues(alone.labels, alone.probs).sum()} label" in text
    assert "2 images have a label that is no class of the network." in text
    assert "odd0.png is not a readable image." in text
    assert "are here without a picture" not in text


def test_lists_are_the_beginnings_of_those_of_all_images(made: Any, alone: misread.Predictions) -> None:
    data = data_of(made.path)
    assert places(data, data["misreads"]) == [place_of(i) for i in alone.misread_positions[:TOP]]
    assert len(alone.misread_positions) > TOP
    order = [i for i in label_issues(alone.labels, alone.probs)[:TOP] if alone.predicted[i] != alone.labels[i]]
    assert places(data, data["lists"]["doubts"]["items"]) == [place_of(i) for i in order]
    ordered = np.sort(alone.probs, axis=1)
    least = [place_of(i) for i in np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable")]
    shown = [place for place in places(data, data["lists"]["unsure"]["items"]) if place[1] < 100]
    assert shown == least[: len(shown)]
    assert len(shown) >= TOP - 2  # the two without a class may be among them


def test_pictures_are_those_of_the_images(made: Any, digits: Any, alone: misread.Predictions) -> None:
    data = data_of(made.path)
    pictures = data["pictures"]["items"]
    where = {place_of(i): i for i in range(len(digits.labels))}
    shards = set()
    for place, (shard, row) in enumerate(zip(data["items"]["shard"], data["items"]["row"], strict=True)):
        i = where.get((shard, row), 0 if shard == "00000-0" else 100)
        decoded = np.asarray(Image.open(io.BytesIO(b64decode(pictures["bodies"][place]))))
        assert np.array_equal(decoded[..., 0], digits.images[i, ..., 0])
        top = np.argsort(-alone.probs[i], kind="stable")[:3]
        assert data["items"]["top"][3 * place : 3 * place + 3] == top.tolist()
        assert data["items"]["shares"][3 * place] == pytest.approx(alone.probs[i, top[0]], abs=1e-5)
        shards.add(shard)
    assert {"00000-0", "00001-1", "00002-images"} <= shards


def test_a_shard_that_is_gone_or_changed_gives_no_pictures(job: Path, tmp_path: Path) -> None:
    gone, changed = job.parent / "0.tar", job.parent / "images.npy"
    kept = {path: path.read_bytes() for path in (gone, changed)}
    try:
        gone.unlink()
        changed.write_bytes(kept[changed][:-1] + b"\xff")  # of the last shard alone
        text = write_job_report(job, in_process, tmp_path / "page.html", top=10**6).path.read_text()
    finally:
        for path, contents in kept.items():
            path.write_bytes(contents)
    data = data_of(tmp_path / "page.html")
    with_pictures = data["items"]["shard"][: len(data["pictures"]["items"]["bodies"])]
    without = data["items"]["shard"][len(with_pictures) :]
    assert set(without) == {"00000-0", "00003-images"}
    assert not set(with_pictures) & set(without)
    assert (
        f"{len(without)} images are here without a picture, from 2 shards. The first, 00000-0: {gone} does not" in text
    )


def test_shards_that_failed_and_those_not_done_are_left_out(job: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(job, part)
    (part / "_SUCCESS").unlink()
    first = sorted(part.glob("*.parquet"))[0]
    first.unlink()
    line = {"shard": first.stem, "path": "0.tar", "error": "0.tar is damaged: it ends inside 0001.png"}
    (part / "_failed.jsonl").write_text(json.dumps(line) + "\n")
    sorted(part.glob("*.parquet"))[-1].unlink()
    made = write_job_report(part, in_process)
    assert made.path == part / "report.html"
    assert ([one.shard for one in made.failed], made.missing) == ([first.stem], 1)
    assert made.stats.images == len(rows_of(part))
    text = made.path.read_text()
    assert "0.tar is damaged: it ends inside 0001.png" in text
    assert "1 shard failed: see the end of this page." in text
    assert "1 shard is not predicted yet." in text


def test_damaged_predictions_are_refused(job: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(job, part)
    file = sorted(part.glob("*.parquet"))[1]
    contents = bytearray(file.read_bytes())
    contents[len(contents) // 3] ^= 0xFF
    file.write_bytes(contents)
    with pytest.raises(RunError, match=f"{file.name} is damaged"):
        write_job_report(part, in_process)
    (part / "_SUCCESS").unlink()  # now no hash is known, but the pages of the file have sums
    with pytest.raises(RunError, match=f"{file.name} is damaged"):
        write_job_report(part, in_process)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "job.json cannot be read: No such file"),
        ("{", "job.json is damaged"),
        ('{"shards": []}', "has the format"),
    ],
)
def test_a_folder_without_a_job_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    with pytest.raises(RunError, match=said):
        write_job_report(tmp_path, in_process)


def predictions(path: Path, n: int, classes: int = 5) -> StatsTask:
    """A file of predictions of n images, of which one in ten could not be read."""
    pa = pytest.importorskip("pyarrow")
    rng, names = np.random.default_rng(n), [f"class {k}" for k in range(classes)]
    schema = prediction_schema(False)
    confidence, margin = (rng.random(n, np.float32) for _ in range(2))
    bad = np.arange(n) % 10 == 0
    columns = {
        "key": [f"{i:08}" for i in range(n)], "shard": ["s"] * n, "row": np.arange(n),
        "label": rng.choice(names, n), "prediction": pa.array(rng.choice(names, n), mask=bad),
        "confidence": pa.array(confidence, mask=bad), "margin": pa.array(margin, mask=bad),
        "error": pa.array(["it is broken"] * n, mask=~bad),
    }  # fmt: skip
    with prediction_writer(path, schema, {"job": "j", "shard": "s", "class_names": names}) as writer:
        writer.write_table(pa.Table.from_pydict(columns, schema=schema))
        writer.add_key_value_metadata({"errors": str(int(bad.sum()))})
    return StatsTask(path, 0, TOP)


def test_what_is_kept_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    sizes = []
    for n in (2_000, 40_000):
        stats = shard_stats(predictions(tmp_path / f"{n}.parquet", n), lambda images: None)
        assert [len(stats.mistakes), len(stats.unsure), len(stats.errors)] == [TOP] * 3
        assert stats.images == n
        sizes.append(len(pickle.dumps(stats)))
        merged = JobStats.empty(5, TOP)
        for _ in range(10):
            merged.merge(stats)
        assert (merged.images, len(merged.mistakes), len(merged.errors)) == (10 * n, TOP, TOP)
    assert sizes[1] < 1.1 * sizes[0]


def test_the_command_writes_the_page_of_a_job(
    cli: Callable[..., Result], job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_no_process(monkeypatch)
    out = tmp_path / "page.html"
    done = cli("report", job, "--out", out, "--lang", "ko", "--json", "--quiet")
    assert done.code == 0, done.err
    printed, rows = json.loads(done.out), rows_of(job)
    assert (printed["path"], printed["size_bytes"]) == (str(out), out.stat().st_size)
    assert (printed["images"], printed["errors"], printed["n"]) == (len(rows), 2, len(rows) - 4)
    assert printed["misread"] == sum(r["label"] != r["prediction"] for r in rows if r["error"] is None) - 2
    assert '<html lang="ko">' in out.read_text()
    assert len(data_of(out)["lists"]["unsure"]["items"]) == LISTED
    refused = cli("report", job, "--playground")
    assert refused.code == 2
    assert "has predicted shards: only --out, --lang, --quiet and --json go with them" in refused.err
