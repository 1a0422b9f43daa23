"""Doubtful labels over shards: exactly what one machine finds in all images at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread.analysis.label_issues import METHODS, confident_joint, flagged_issues, label_issues, margins
from misread.errors import RunError
from misread.scale.label_stats import LabelStats, label_stats
from samples import Result
from shard_jobs import in_process, rows_of, start_no_process

LARGE = 10**6


def one_machine(out: Path) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """The labelled rows of all shards, in order, their labels and probs."""
    rows = [row for row in rows_of(out) if row["error"] is None and row["label"] in set("0123")]
    return rows, np.array([int(r["label"]) for r in rows]), np.array([r["probabilities"] for r in rows], np.float32)


@pytest.fixture
def noisy(predict: Callable[..., Any], tmp_path: Path) -> Path:
    """Predictions of 500 images in shards of 70, of which a fifth has a wrong label; some equal images."""
    from samples import blocks

    images, labels = blocks(500, seed=5)
    rng = np.random.default_rng(0)
    images = np.where(rng.random(images.shape) < 0.5, images, rng.integers(0, 255, images.shape)).astype(np.uint8)
    images[300:] = images[:200]
    labels[:200] = labels[300:] = np.where(rng.random(200) < 0.2, rng.integers(0, 4, 200), labels[:200])
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    _, out = predict(str(tmp_path / "images.npy"), size=70, probabilities=True)
    return out


@pytest.mark.parametrize("method", METHODS)
def test_merged_lists_are_label_issues_of_all_images_at_once(noisy: Path, method: str) -> None:
    rows, labels, probs = one_machine(noisy)
    found = label_stats(noisy, method, LARGE, in_process)
    order = label_issues(labels, probs, method)
    flagged, by_margin = flagged_issues(labels, probs), margins(labels, probs.astype(np.float64))
    assert [(image.shard, image.row) for image in found.doubtful] == [(rows[i]["shard"], rows[i]["row"]) for i in order]
    assert [image.flagged for image in found.doubtful] == flagged[order].tolist()
    assert np.array([image.margin for image in found.doubtful]).tobytes() == by_margin[order].tobytes()
    assert np.array_equal(found.joint, confident_joint(labels, probs.astype(np.float64)))
    assert 0 < flagged.sum() < len(rows) == found.images == 500


@pytest.mark.parametrize("top", [1, 30])
def test_short_lists_are_the_beginnings_of_the_long_ones(noisy: Path, top: int) -> None:
    short, long = (label_stats(noisy, METHODS[0], length, in_process) for length in (top, LARGE))
    assert short.doubtful == long.doubtful[:top]
    assert short.mistakes == long.mistakes[:top]


def test_mistakes_are_the_misreads_of_all_images_at_once(noisy: Path) -> None:
    rows, labels, probs = one_machine(noisy)
    found = label_stats(noisy, METHODS[0], LARGE, in_process)
    expected = misread.Predictions(labels, probs).misread_positions
    assert [image.key for image in found.mistakes] == [rows[i]["key"] for i in expected]
    assert found.confusion.sum() - np.trace(found.confusion) == len(expected) > 0


def test_shards_may_be_merged_in_any_order(noisy: Path) -> None:
    def backwards(function: Callable[..., Any], tasks: Any, *need: Any) -> Any:
        yield from reversed(list(in_process(function, tasks)))

    first, second = (label_stats(noisy, METHODS[0], 40, how) for how in (in_process, backwards))
    assert as_values(first) == as_values(second)


def as_values(stats: LabelStats) -> Any:
    return stats.doubtful, stats.mistakes, stats.joint.tolist(), stats.confusion.tolist(), stats.images, stats.others


def test_predictions_without_probabilities_are_refused(predict: Callable[..., Any], tars: str) -> None:
    _, out = predict(tars)
    with pytest.raises(RunError, match="has no probabilities. Predict the shards again with --probabilities"):
        label_stats(out, METHODS[0], 10, in_process)


def test_a_job_that_is_not_complete_is_refused(predict: Callable[..., Any], tars: str) -> None:
    _, out = predict(tars, part=slice(0, 2), probabilities=True)
    with pytest.raises(RunError, match="has no complete job: _SUCCESS is missing"):
        label_stats(out, METHODS[0], 10, in_process)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"outputs": {"a": 1}}'])
def test_a_damaged_success_file_is_refused(noisy: Path, text: str) -> None:
    (noisy / "_SUCCESS").write_text(text)
    with pytest.raises(RunError, match="_SUCCESS is damaged"):
        label_stats(noisy, METHODS[0], 10, in_process)


@pytest.mark.parametrize("place", [0.1, 0.25, 0.5, 0.75, 0.95])
def test_a_flipped_byte_in_predictions_is_noticed(noisy: Path, place: float) -> None:
    file = sorted(noisy.glob("*.parquet"))[2]
    contents = bytearray(file.read_bytes())
    contents[int(place * len(contents))] ^= 0xFF
    file.write_bytes(contents)
    with pytest.raises(RunError, match=f"{file.name} is damaged"):
        label_stats(noisy, METHODS[0], 10, in_process)


def test_the_command_lists_the_most_doubtful_labels(
    cli: Callable[..., Result], noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_no_process(monkeypatch)
    table = tmp_path / "issues.csv"
    done = cli("labels", "shards", noisy, "--top", 5, "--csv", table, "--json")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    expected = label_stats(noisy, METHODS[0], 5, in_process)
    assert [(line["shard"], line["row"]) for line in printed["doubtful"]] == [
        (i.shard, i.row) for i in expected.doubtful
    ]
    assert (printed["images"], printed["others"]) == (500, 0)
    assert len(table.read_text().splitlines()) == 6
    shown = cli("labels", "shards", noisy, "--top", 5)
    assert shown.out.startswith("500 images with a label")
