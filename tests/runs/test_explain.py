"""Causes and neighbours of a run's misread images; how often the causes are right, on images with planted causes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import misread
from misread import ImageSet, Run
from misread.analysis.causes import SURE, Cause
from misread.data.image_hash import image_hash
from misread.errors import DataError, RunError
from misread.models.network import to_input
from misread.runs.misreads import Misreads
from misread.runs.train import train
from samples import blocks

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from planted_causes import EACH, EXPECTED, GENUINE, NOTHING, cause_table, measure

pytestmark = pytest.mark.usefixtures("without_pictures")

DENSE = ('layers=[{type="Flatten"}, {type="Dense", units=12, activation="relu"}, {type="Dense", units="classes"}]',)


def faint_blocks(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`blocks`, each as bright as chance has it, so that the network is more or less sure."""
    images, labels = blocks(n, seed=seed)
    noise = np.random.default_rng(seed).integers(0, 60, images.shape, dtype=np.uint8)
    bright = np.random.default_rng(seed + 1).uniform(0.02, 1, (n, 1, 1, 1))
    return (bright * images + (1 - bright) * noise).astype(np.uint8), labels


@pytest.fixture(scope="module")
def noisy_set() -> ImageSet:
    """Blocks, of which every twelfth test image and some training images have a wrong label."""
    (images, labels), (test_images, test_labels) = faint_blocks(1200, 0), faint_blocks(480, 1)
    labels, test_labels = labels.copy(), test_labels.copy()
    test_labels[::12] = (test_labels[::12] + 1 + np.arange(40) % 3) % 4
    labels[:8] = (labels[:8] + 1) % 4
    return ImageSet.from_arrays(images, labels, test=(test_images, test_labels), class_names=tuple("abcd"))


@pytest.fixture(scope="module")
def run(noisy_set: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs")
    return train(noisy_set, "tutorial-mlp", epochs=12, settings=DENSE, out=out, progress=False)


def test_wrong_test_labels_are_doubted_with_their_evidence(run: Run) -> None:
    misreads = run.misreads.explain()
    doubted = misreads.with_cause("label-doubtful")
    wrong = set(range(0, 480, 12))
    assert len(wrong & set(doubted.table["index"])) > 20
    assert len(set(doubted.table["index"]) - wrong) <= 2
    assert doubted.table["evidence"].str.match(r"read as [abcd] [\d.]+%, [abcd] [\d.]+%; nearest training images").all()
    assert doubted.table["cause_probability"].between(SURE, 1).all()
    assert doubted.title == f"{len(doubted)} of {len(misreads)} misread, label doubtful (arrays test, 480 images)"
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
    assert set(range(8)) & set(misreads.table["index"])
    assert (misreads.neighbours["index"] != misreads.neighbours["training_index"]).all()


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
    assert explained.table.columns[-3:].tolist() == ["cause", "cause_probability", "evidence"]
    assert len(explained.neighbours) == 0
    explained.neighbour_figure().png()


def test_misreads_without_training_images_are_judged_by_probabilities(run: Run) -> None:
    bare = Misreads(run.predictions())
    explained = bare.explain().table
    assert set(explained["cause"]) <= {Cause.MODEL, Cause.LABEL, Cause.UNDETERMINED}
    assert (explained["cause"] == Cause.LABEL).sum() > 20
    assert not explained["evidence"].str.contains("nearest").any()
    with pytest.raises(DataError, match="come from no run, so no other run is known to have the same data"):
        bare.explain(run)


def test_the_advice_is_a_better_recipe_and_the_check_by_other_runs(run: Run, noisy_set: ImageSet) -> None:
    other = train(noisy_set, "tutorial-mlp", seed=5, epochs=12, settings=DENSE, progress=False)
    weak = train(noisy_set, "tutorial-mlp", epochs=1, settings=DENSE, progress=False).misreads
    own = (weak.explain(other).table["cause"] == Cause.MODEL).sum()
    said = weak.explanation(other).advice
    assert said.startswith(f"{own} of {len(weak)} are the network's own mistakes. The other runs together read ")
    assert said.endswith("Try: misread train arrays --recipe accurate")


def test_the_hash_comes_from_the_folder_so_that_the_table_needs_no_data(run: Run, noisy_set: ImageSet) -> None:
    opened = misread.open_run(run.folder)  # of arrays in memory, which are gone
    table = opened.misreads.table
    assert table["hash"].tolist() == [image_hash(noisy_set.test.images[i]) for i in table["index"]]
    with pytest.raises(RunError, match="trained on arrays in memory"):
        opened.misreads.explain()


def test_planted_causes_on_real_digits_are_right_where_they_are_said() -> None:
    small = 'layers=[{type="Flatten"}, {type="Dense", units=96, activation="relu"}, {type="Dense", units="classes"}]'
    shares = {NOTHING: {}, EACH: dict.fromkeys(EXPECTED, 12 / 359)}
    experiments = measure(misread.load("digits"), "fast-mlp", 0, shares, epochs=8, settings=[small])["experiments"]
    assert experiments[NOTHING]["counts"][GENUINE][Cause.LABEL] <= 1
    counts = experiments[EACH]["counts"]
    assert counts[GENUINE]["planted"] == 359 - 5 * 12
    for kind, cause in EXPECTED.items():
        said = sum(count[cause] for count in counts.values())
        right = counts[kind][cause] + (counts[GENUINE][cause] if cause is Cause.MODEL else 0)
        assert right >= 0.6 * said
    found = {kind: counts[kind][cause] / counts[kind]["misread"] for kind, cause in EXPECTED.items()}
    assert found["relabelled copy"] > 0.8
    assert found["strange picture"] > 0.2
    assert found["flipped label"] > 0.4
    assert found["pushed image"] > 0.6
    assert "| flipped label | 12 of 12 | " in cause_table([counts])
