"""Comparing runs, and the analysis that a run offers."""

import json
from pathlib import Path

import numpy as np
import pytest

import misread
from misread import DataError, ImageSet, Predictions, Run, RunError
from samples import blocks

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = ('layers=[{type="Flatten"}, {type="Dense", units="classes"}]',)


def trained(data: object, seed: int = 0, *settings: str) -> Run:
    return misread.train(data, "tutorial-mlp", seed=seed, epochs=1, settings=(*SMALL, *settings), progress=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Two runs on the same data: the first shows test as validation, the second carves its own."""
    data = ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=1), name="blocks")
    out = tmp_path_factory.mktemp("runs")
    return tuple(
        misread.train(
            data,
            "tutorial-mlp",
            seed=seed,
            epochs=1,
            settings=(*SMALL, f"validation.name={name}"),
            out=out,
            progress=False,
        )
        for seed, name in enumerate(("show-test", "carve"))
    )  # type: ignore[return-value]


def test_runs_folders_and_predictions_compare_alike(runs: tuple[Run, Run]) -> None:
    a, b = runs
    found = misread.compare(a, b)
    for other in (misread.compare(a.folder, str(b.folder)), misread.compare(a.predictions(), b.predictions())):
        assert other.changes.equals(found.changes)
    wrong_a, wrong_b = (set(run.misreads.table["index"]) for run in runs)
    assert set(found.broken["index"]) == wrong_b - wrong_a
    assert set(found.fixed["index"]) == wrong_a - wrong_b
    assert set(found.both_wrong["index"]) == wrong_a & wrong_b
    assert found.names == (a.folder.name, b.folder.name)
    assert misread.compare(a, a).names == (str(a.folder),) * 2
    assert misread.compare(Predictions(a.predictions().labels, a.predictions().probs), b).names[0] == "A"


def test_a_run_s_pictures_show_the_images_of_its_rows(runs: tuple[Run, Run]) -> None:
    found = misread.compare(*runs)
    shown = [np.asarray(im.get_array()) for im in found.figure(4).axes[0].images]
    images = runs[0].data.test.images[..., 0]
    rows = [*found.broken["index"][:4], *found.fixed["index"][:4]]
    assert len(shown) == len(rows) > 0
    for picture, row in zip(shown, rows, strict=True):
        assert (picture == images[row]).all()


def test_the_same_test_images_compare_though_other_images_trained(runs: tuple[Run, Run]) -> None:
    images, labels = blocks(320)
    labels[:20] = 0
    cleaned = ImageSet.from_arrays(images, labels, test=blocks(80, seed=1), name="cleaned")
    assert misread.compare(runs[0], trained(cleaned)).n == 80


def test_other_pictures_under_the_same_labels_are_noticed(runs: tuple[Run, Run]) -> None:
    other = trained(ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=2), name="other"))
    with pytest.raises(DataError, match="The test images of A and B are not the same pictures, though .* same labels"):
        misread.compare(runs[0], other)
    found = runs[0].predictions()
    mine = Predictions(found.labels, found.probs, images=blocks(80, seed=2)[0])
    with pytest.raises(DataError, match="not the same pictures"):
        misread.compare(runs[0], mine)
    mine = Predictions(found.labels, found.probs, images=blocks(80, seed=1)[0] / 255)  # as Keras is given them
    assert misread.compare(runs[0], mine).changes["change"].unique().tolist() == ["both wrong"]


def test_images_that_are_not_there_to_be_checked_are_no_silent_yes(runs: tuple[Run, Run]) -> None:
    other = trained(ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=2), name="other"))
    with pytest.raises(RunError, match="whether their test images are the same cannot be checked: .* arrays in memory"):
        misread.compare(runs[0].folder, other.folder)


def test_splits_carved_by_different_seeds_are_refused(runs: tuple[Run, Run]) -> None:
    data = runs[0].data
    a, b = (trained(data, seed, "validation.name=carve") for seed in (1, 2))
    with pytest.raises(DataError, match="images come from other rows of the data in B than in A"):
        misread.compare(a, b, split="val")
    assert misread.compare(a, b).n == 80


def test_a_run_offers_the_analysis_of_its_predictions(runs: tuple[Run, Run]) -> None:
    run, predictions = runs[0], runs[0].predictions()
    assert run.confusion().counts.tolist() == predictions.confusion().counts.tolist()
    assert run.per_class().table.equals(predictions.per_class().table)
    assert run.risk_coverage().table.equals(predictions.risk_coverage().table)
    assert run.confusion("train").counts.sum() == 320
    assert predictions.title == "tutorial-mlp on blocks, test"


def test_a_run_reads_or_computes_predictions_once(runs: tuple[Run, Run]) -> None:
    run = runs[1]
    for split in ("train", "val", "test"):
        assert run.predictions(split) is run.predictions(split)
        assert run.predictions(split).misreads is run.predictions(split).misreads
        assert run.predictions(split).run is run
    assert run.misreads is run.predictions("test").misreads
    wrong = run.predictions("val").labels != run.predictions("val").probs.argmax(axis=1)
    assert sorted(run.predictions("val").misreads.table["index"]) == sorted(run.predictions("val").rows[wrong])


def test_predictions_of_runs_compare_under_the_runs_names(runs: tuple[Run, Run]) -> None:
    a, b = runs
    assert misread.compare(a.predictions(), b.predictions()).names == (a.folder.name, b.folder.name)
    renamed = a.predictions().with_labels(a.predictions().labels)  # derived predictions are no run's any more
    assert renamed.run is None
    assert misread.compare(renamed, b).names == ("tutorial-mlp on blocks", b.folder.name)


def test_methods_are_fitted_on_validation_images_only_where_there_are_any(runs: tuple[Run, Run]) -> None:
    shown, carved = (run.calibration().scaling for run in runs)
    assert shown is not None
    assert carved is not None
    assert (shown.fitted_on, shown.measured_on, shown.n) == ("one half of test", "the other half of test", 40)
    assert (carved.fitted_on, carved.n_fitted, carved.measured_on, carved.n) == ("val", 32, "test", 80)
    sets = [run.conformal(0.1) for run in runs]
    assert [(s.fitted_on, s.n_fitted) for s in sets] == [("one half of test", 40), ("val", 32)]
    own = runs[1].calibration("train").scaling  # not test: nothing else is held out for it
    assert own is not None
    assert own.fitted_on == "one half of train"


def test_predictions_opened_from_disk_show_their_images_too(runs: tuple[Run, Run], tmp_path: Path) -> None:
    opened = misread.open_run(runs[0].folder, data=runs[0].data)
    assert (opened.predictions().images == runs[0].data.test.images).all()
    json.dumps(misread.compare(opened, runs[1]).to_dict(), allow_nan=False)
