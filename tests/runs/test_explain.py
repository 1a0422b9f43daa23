"""Causes and neighbours of a run's misread images; how often the causes are right, on images with planted causes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import misread
from misread import ImageSet, Run
from misread.analysis.causes import Cause
from misread.data.image_hash import image_hash
from misread.errors import DataError, RunError
from misread.models.network import to_input
from misread.runs.misreads import Misreads
from misread.runs.train import train
from samples import blocks

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from planted_causes import EXPECTED, GENUINE, confusion_table, measure

DENSE = ('layers=[{type="Flatten"}, {type="Dense", units=12, activation="relu"}, {type="Dense", units="classes"}]',)


@pytest.fixture(scope="module")
def noisy_set() -> ImageSet:
    """Blocks, of which every fifth test image and some training images have a wrong label."""
    (images, labels), (test_images, test_labels) = blocks(320), blocks(80, seed=1)
    labels, test_labels = labels.copy(), test_labels.copy()
    test_labels[::5] = (test_labels[::5] + 1) % 4
    labels[:8] = (labels[:8] + 1) % 4
    return ImageSet.from_arrays(images, labels, test=(test_images, test_labels), class_names=tuple("abcd"))


@pytest.fixture(scope="module")
def run(noisy_set: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs")
    return train(noisy_set, "tutorial-mlp", epochs=12, settings=DENSE, out=out, progress=False)


def test_wrong_test_labels_are_doubted_with_their_evidence(run: Run) -> None:
    misreads = run.misreads.explain()
    assert sorted(misreads.table["index"]) == list(range(0, 80, 5))
    assert (misreads.table["cause"] == Cause.LABEL).mean() > 0.8
    doubted = misreads.with_cause("label-doubtful")
    assert doubted.table["evidence"].str.match(r"read as [abcd] [\d.]+%; \d+ of 10 nearest training images are").all()
    assert doubted.title == f"{len(doubted)} of 16 misread, label doubtful (arrays test, 80 images)"
    assert "cause" not in run.misreads.table  # asked for, it is there; until then nothing is computed


def test_neighbours_are_the_nearest_by_the_input_of_the_last_layer(run: Run, noisy_set: ImageSet) -> None:
    hidden = nn.Sequential(*list(run.network)[:-1])
    train_features, test_features = (
        hidden(to_input(torch.tensor(images))).detach().numpy().astype(float)
        for images in (noisy_set.train.images, noisy_set.test.images)
    )
    found = run.misreads.neighbours
    assert found.columns.tolist() == [
        "index", "place", "training_index", "training_file", "training_label", "distance",
    ]  # fmt: skip
    assert len(found) == 5 * len(run.misreads)
    for index, lines in found.groupby("index"):
        distances = np.linalg.norm(train_features - test_features[index], axis=1)
        order = np.argsort(distances)[:5]
        assert lines["place"].tolist() == [1, 2, 3, 4, 5]
        assert lines["training_index"].tolist() == order.tolist()
        assert lines["distance"].tolist() == pytest.approx(distances[order], rel=1e-3, abs=1e-3)
        assert lines["training_label"].tolist() == ["abcd"[k] for k in noisy_set.train.labels[order]]


def test_a_choice_of_misreads_has_the_same_causes_and_its_own_neighbours(run: Run) -> None:
    whole, some = run.misreads.explain().table.set_index("index"), run.predictions("test").misreads.sample(4, seed=2)
    assert set(some.neighbours["index"]) == set(some.table["index"])
    for line in some.explain().table.to_dict("records"):
        assert line["cause"] == whole.loc[line["index"], "cause"]
    assert len(some.explain().neighbour_figure().axes[0].images) == 4 * 6


def test_a_training_image_is_not_its_own_neighbour(run: Run) -> None:
    misreads = run.predictions("train").misreads.explain()
    assert set(range(8)) <= set(misreads.table["index"])
    assert (misreads.neighbours["index"] != misreads.neighbours["training_index"]).all()
    wrong = misreads.table.set_index("index").loc[range(8)]
    assert (wrong["cause"] == Cause.LABEL).mean() > 0.7


def test_other_runs_count_when_they_can_judge(run: Run, noisy_set: ImageSet, block_set: ImageSet) -> None:
    other = train(noisy_set, "tutorial-mlp", seed=5, epochs=12, settings=DENSE, progress=False)
    table = run.misreads.explain(other).table
    assert table["evidence"].str.contains("(other runs ", regex=False).any()
    assert not run.misreads.explain().table["evidence"].str.contains("other runs", regex=False).any()
    with pytest.raises(RunError, match=r"(?s)may have trained on images of the train split .* judge the test"):
        run.predictions("train").misreads.explain(other)
    stranger = train(block_set, "tutorial-mlp", epochs=1, settings=DENSE, progress=False)
    with pytest.raises(RunError, match="was trained on blocks, other data than the run in"):
        run.misreads.explain(stranger)


def test_no_misreads_need_no_causes(tmp_path: Path) -> None:
    images, labels = blocks(320)
    data = ImageSet.from_arrays(images, labels, test=(images[:40], labels[:40]))
    run = train(data, "tutorial-mlp", epochs=12, settings=DENSE, progress=False)
    assert len(run.misreads) == 0
    explained = run.misreads.explain(train(data, "tutorial-mlp", epochs=1, settings=DENSE, progress=False))
    assert explained.table.columns[-2:].tolist() == ["cause", "evidence"]
    assert len(explained.neighbours) == 0
    explained.neighbour_figure().png()


def test_misreads_without_training_images_say_so(run: Run) -> None:
    bare = Misreads(run.predictions())
    with pytest.raises(DataError, match="come from no run, so there are no training images"):
        bare.explain()


def test_the_hash_comes_from_the_folder_so_that_the_table_needs_no_data(run: Run, noisy_set: ImageSet) -> None:
    opened = misread.open_run(run.folder)  # of arrays in memory, which are gone
    table = opened.misreads.table
    assert table["hash"].tolist() == [image_hash(noisy_set.test.images[i]) for i in table["index"]]
    with pytest.raises(RunError, match="trained on arrays in memory"):
        opened.misreads.explain()


def test_planted_causes_on_real_digits_are_mostly_found() -> None:
    small = 'layers=[{type="Flatten"}, {type="Dense", units=96, activation="relu"}, {type="Dense", units="classes"}]'
    counts = measure(misread.load("digits"), "tutorial-mlp", 0, 12, 12, 0, [small])["counts"]
    shares = {kind: counts[kind][cause] / counts[kind]["misread"] for kind, cause in EXPECTED.items()}
    assert shares["relabelled copy"] == 1
    assert shares["strange picture"] > 0.8
    assert shares["flipped label"] > 0.6
    assert shares["pushed image"] > 0.6
    assert shares["blend of two"] > 0.2  # many blends look like one of the two to anything that looks
    assert counts[GENUINE]["planted"] == 359 - 5 * 12
    assert "| flipped label | 12 of 12 | 0%" in confusion_table([{"counts": counts}])
