"""`misread labels`: from doubtful labels to a patch, and a score on both labels."""

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data.image_hash import image_hashes
from misread.training.auto_recipe import choose_recipe
from samples import Result, blocks, write_idx_folder

Cli = Callable[..., Result]
PLANTED = {3: 0, 50: 1, 77: 3, 128: 1, 200: 2, 301: 0}  # row of train: its wrong label
LAYERS = 'layers=[{type="Flatten"}, {type="Dense", units="classes"}]'
SETTINGS = (LAYERS, "epochs=12", "batch_size=16", "optimizer.learning_rate=0.01")
QUICK = ("--recipe", "fast", "--seeds", "2", *(argument for setting in SETTINGS for argument in ("--set", setting)))


@pytest.fixture(scope="session")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which some labels are wrong: those of `PLANTED` in train, row 5 in test."""
    (images, labels), (test_images, test_labels) = blocks(320), blocks(80, seed=1)
    for row, wrong in PLANTED.items():
        labels[row] = wrong
    test_labels[5] = 3
    return write_idx_folder(tmp_path_factory.mktemp("flawed") / "signs", (images, labels), (test_images, test_labels))


def truth(row: int) -> str:
    return str(row % 4)


def found(cli: Cli, *arguments: object) -> list[dict[str, Any]]:
    done = cli("labels", *arguments, "--json", "--quiet")
    assert done.code == 0, done.err
    return json.loads(done.out)["labels"]


def test_planted_wrong_labels_are_found_suggested_and_drawn(cli: Cli, flawed: Path) -> None:
    done = cli("labels", flawed, *QUICK, "--top", 6, "--csv", "out.csv", "--png", "out.png", "--grid", 9)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("index"))
    assert [line.split(", ")[:2] for line in lines[:start]] == [
        [f"seed {s}/2", f"training {i}/11"] for s in (1, 2) for i in range(1, 12)
    ]
    assert lines[start].split() == ["index", "label", "suggested", "self_confidence", "margin", "flagged", "hash"]
    told = [line.split() for line in lines[start + 1 : start + 7]]
    assert {int(t[0]): int(t[1]) for t in told} == PLANTED
    assert all(t[2] == truth(int(t[0])) and t[5] == "yes" for t in told)
    assert "The 6 most doubtful of 320 labels (fast on signs, held out, train, normalised-margin)" in done.out
    assert "About 6 of 320 labels are wrong (" in done.out
    assert re.search(r"\); 6 are flagged, of which \d+% to \d+% are wrong", done.out)
    assert "Predictions in held-out/signs-train-fast-seed0 and of 1 more seed; " in done.out
    with Path("out.csv").open() as file:
        rows = list(csv.DictReader(file))
    hashes = image_hashes(misread.load(flawed).train.images)
    assert [list(r) for r in rows] == [
        ["index", "file", "label", "suggested", "new", "self_confidence", "margin", "flagged", "split", "hash"]
    ] * 6  # fmt: skip
    assert all(r["hash"] == hashes[int(r["index"])] and r["new"] == "" and r["split"] == "train" for r in rows)
    with Image.open("out.png") as picture:
        assert picture.width > 400

    again = cli("labels", flawed, *QUICK, "--top", 6, "--method", "confident-learning")
    assert "Predictions from held-out/signs-train-fast-seed0 and of 1 more seed; " in again.out
    assert "training" not in again.out


def test_one_seed_gives_no_estimate_and_the_chosen_recipe_is_explained(cli: Cli, flawed: Path) -> None:
    settings, (recipe, reason) = QUICK[4:], choose_recipe(misread.load(flawed))
    done = cli("labels", flawed, "--split", "test", "--seeds", 1, *settings)
    assert done.code == 0, done.err
    assert "How many labels are wrong takes two seeds or more to estimate: use --seeds." in done.out
    assert done.out.startswith(f"Recipe: {recipe}. {reason}\n")
    assert f"Predictions in held-out/signs-test-{recipe}-seed0; " in done.out
    again = cli("labels", flawed, "--split", "test", "--seeds", 2, "--json", *settings)
    assert again.err.startswith(f"Recipe: {recipe}. {reason}\nseed 2/2, training 1/1")
    assert "of 80 labels are wrong (" in again.err
    assert f"in held-out/signs-test-{recipe}-seed0 and of 1 more seed; " in again.err
    printed = json.loads(again.out)
    assert len(printed["labels"]) == 20
    assert printed["estimate"]["n"] == 80
    assert printed["estimate"]["low"] <= printed["estimate"]["count"] <= printed["estimate"]["high"]


def test_fixing_doubtful_labels_improves_the_score(cli: Cli, flawed: Path) -> None:
    listed = found(cli, flawed, "--split", "all", "--top", 7, "--csv", "all.csv", *QUICK)
    assert {(r["split"], r["index"]) for r in listed} == {("test", 5), *(("train", row) for row in PLANTED)}
    with Path("all.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["new"] = row["suggested"]
    with Path("reviewed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = cli("labels", "apply", "fixes.jsonl", flawed, "--from", "reviewed.csv", "--by", "Ada", "--note", "seen")
    assert (done.code, done.out.splitlines()[-1]) == (0, "7 added to fixes.jsonl")
    assert len(Path("fixes.jsonl").read_text().splitlines()) == 7

    run = misread.train(flawed, "tutorial-mlp", settings=[LAYERS, "epochs=2"], progress=False)
    plain = json.loads(cli("evaluate", run.folder, "--json").out)
    both = json.loads(cli("evaluate", run.folder, "--labels", "fixes.jsonl", "--json").out)
    assert {k: both[k] for k in plain} == plain  # the original score stays what it was
    assert both["fixed"]["n"] == plain["n"] == 80
    images = misread.load(flawed).test
    predicted = run.predict(images.images).argmax(axis=1)
    assert both["misread"] == int((predicted != images.labels).sum())
    assert both["fixed"]["misread"] == int((predicted != np.arange(80) % 4).sum())
    assert both["label_patch"]["changed"] == {"train": 6, "test": 1}
    text = cli("evaluate", run.folder, "--labels", "fixes.jsonl").out
    assert f"On the fixed labels: accuracy {both['fixed']['accuracy']:.2%}" in text
    assert "Labels fixed by fixes.jsonl: 6 of train, 1 of test; 7 of its 7 fixes are for images of signs." in text

    rest = found(cli, flawed, "--split", "all", "--labels", "fixes.jsonl", "--top", 400, *QUICK)
    fixed = {(r["split"], r["index"]) for r in listed}
    assert not fixed & {(r["split"], r["index"]) for r in rest[:9]}  # what is fixed is no longer doubtful


def test_training_on_fixed_labels_scores_both_and_keeps_the_patch(cli: Cli, flawed: Path) -> None:
    hashes = image_hashes(misread.load(flawed).train.images)
    test_image = image_hashes(misread.load(flawed).test.images)[5]
    fixes = [f for row in PLANTED for f in ("--fix", f"{hashes[row][:16]}={truth(row)}")]
    assert cli("labels", "apply", "p.jsonl", flawed, *fixes, "--fix", f"{test_image}=1").code == 0
    done = cli("train", flawed, "-r", "tutorial-mlp", "--set", LAYERS, "--epochs", 2, "--labels", "p.jsonl")
    assert done.code == 0, done.err
    folder = Path(done.out.split("Run: ")[1].splitlines()[0])
    record = json.loads((folder / "run.json").read_text())
    metrics = record["metrics"]
    assert f"Test accuracy {metrics['test']['accuracy']:.2%}" in done.out
    assert f"On the fixed labels: accuracy {metrics['test_fixed']['accuracy']:.2%}" in done.out
    notes = record["label_patch"].pop("notes")
    assert notes == ["Labels fixed by p.jsonl: 6 of train, 1 of test; 7 of its 7 fixes are for images of signs."]
    assert notes[0] in done.out
    assert record["label_patch"] == {
        "file": "p.jsonl",
        "sha256": hashlib.sha256(Path("p.jsonl").read_bytes()).hexdigest(),
        "fixes": 7,
        "found": 7,
        "changed": {"train": 6, "test": 1},
    }
    assert (folder / "labels.jsonl").read_bytes() == Path("p.jsonl").read_bytes()
    assert record["data"]["fingerprint"] == misread.load(flawed).fingerprint
    with np.load(folder / "predictions-test.npz") as saved:
        predicted, labels = saved["probs"].argmax(axis=1), saved["labels"]
    assert labels[5] == 3  # as loaded
    assert metrics["test"]["misread"] == (predicted != labels).sum()
    assert metrics["test_fixed"]["misread"] == (predicted != np.arange(80) % 4).sum()
    assert misread.open_run(folder).evaluate()["misread"] == metrics["test"]["misread"]


def test_a_patch_that_was_cut_is_said_also_without_progress(cli: Cli, flawed: Path) -> None:
    image = image_hashes(misread.load(flawed).train.images)[3]
    assert cli("labels", "apply", "p.jsonl", flawed, "--fix", f"{image}={truth(3)}").code == 0
    Path("p.jsonl").write_bytes(Path("p.jsonl").read_bytes()[:-9])
    done = cli("train", flawed, "-r", "tutorial-mlp", "--set", LAYERS, "--epochs", 1, "--labels", "p.jsonl", "--quiet")
    assert done.code == 0
    assert done.err.startswith("Note: line 1 of p.jsonl is incomplete and ignored: ")


def test_a_run_is_ranked_by_its_own_network(cli: Cli, flawed: Path) -> None:
    run = misread.train(flawed, "tutorial-mlp", settings=SETTINGS, progress=False)
    rows = found(cli, run.folder, "--png", "gallery.png")
    assert (rows[0]["index"], rows[0]["label"], rows[0]["suggested"]) == (5, "3", "1")
    assert len(rows) == 20
    assert Path("gallery.png").is_file()
    table = run.label_issues()
    assert table["index"].tolist()[:20] == [r["index"] for r in rows]
    assert len(table) == 80
    last = cli("labels", "last", "--top", 1)
    assert "did not train on these images" in last.out
    assert "One network cannot tell how many labels are wrong: misread labels DATA estimates it" in last.out
    refused = cli("labels", run.folder, "--split", "train")
    assert refused.code == 2
    assert "trained on its train images and repeats their labels" in refused.err
    refused = cli("labels", run.folder, "--folds", 3, "--recipe", "tutorial-cnn")
    assert "is a run, which is not trained again. Leave out --recipe, --folds" in refused.err


def test_fixes_are_shown_with_their_places_and_reverted(cli: Cli, flawed: Path) -> None:
    data = misread.load(flawed)
    hashes = image_hashes(data.train.images)
    cli("labels", "apply", "p", flawed, "--fix", f"{hashes[3]}=3", "--fix", f"{hashes[50]}=2", "--by", "Ada",
        "--note", "plain to see")  # fmt: skip
    shown = cli("labels", "show", "p").out.splitlines()
    assert shown[0].split() == ["hash", "old", "new", "by", "at", "note"]
    assert shown[1].split()[:4] == [hashes[3][:12], "0", "3", "Ada"]
    assert shown[-1] == "2 active in p, 0 undone; 2 lines"
    done = cli("labels", "show", "p", flawed, "--png", "p.png", "--json")
    assert [(r["split"], r["index"], r["old"], r["new"], r["note"]) for r in json.loads(done.out)] == [
        ("train", 3, "0", "3", "plain to see"), ("train", 50, "1", "2", "plain to see"),
    ]  # fmt: skip
    assert Path("p.png").is_file()
    done = cli("labels", "revert", "p", hashes[3][:12], "--note", "not so plain")
    assert done.out.splitlines()[-1] == "1 reverted in p"
    assert json.loads(cli("labels", "show", "p", "--json").out)[0]["hash"] == hashes[50]
    assert cli("labels", "show", "p").out.splitlines()[-1] == "1 active in p, 1 undone; 3 lines"
    assert cli("labels", "revert", "p", hashes[3]).code == 2


def test_merging_reports_conflicts_and_then_writes_nothing(cli: Cli, flawed: Path) -> None:
    hashes = image_hashes(misread.load(flawed).train.images)
    cli("labels", "apply", "a", flawed, "--fix", f"{hashes[3]}=3", "--by", "Ada")
    cli("labels", "apply", "b", flawed, "--fix", f"{hashes[3]}=2", "--fix", f"{hashes[50]}=2", "--by", "Bob")
    done = cli("labels", "merge", "a", "b", "--out", "both")
    assert done.code == 1
    assert f"Conflict: {hashes[3][:12]}: a says 3 (Ada" in done.out
    assert "; b says 2 (Bob" in done.out
    assert "conflict for 1 image; nothing was written" in done.err
    assert not Path("both").exists()
    told = json.loads(cli("labels", "merge", "a", "b", "--out", "both", "--json").out)
    assert (told["out"], [c["hash"] for c in told["conflicts"]]) == (None, [hashes[3]])
    cli("labels", "apply", "b", flawed, "--fix", f"{hashes[3]}=3", "--by", "Bob")
    done = cli("labels", "merge", "a", "b", "--out", "both")
    assert (done.code, done.out) == (0, "4 lines of 2 patches in both\n")
    assert {r["new"] for r in json.loads(cli("labels", "show", "both", "--json").out)} == {"3", "2"}
    assert "both already exists" in cli("labels", "merge", "a", "b", "--out", "both").err


def test_an_incomplete_line_is_reported_wherever_the_patch_is_used(cli: Cli, flawed: Path) -> None:
    hashes = image_hashes(misread.load(flawed).train.images)
    cli("labels", "apply", "p", flawed, "--fix", f"{hashes[3]}=3")
    with Path("p").open("a") as file:
        file.write('{"image": "12')
    note = "Note: line 2 of p is incomplete and ignored"
    assert note in cli("labels", "show", "p").out
    assert (
        note
        in cli("train", flawed, "-r", "tutorial-mlp", "--set", LAYERS, "--epochs", 1, "--labels", "p", "--json").err
    )
    assert note in cli("labels", "merge", "p", "p", "--out", "q").err
    assert note in cli("labels", "apply", "p", flawed, "--fix", f"{hashes[50]}=2").out
    assert len(json.loads(cli("labels", "show", "p", "--json").out)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no data set or path 'nowhere'"),
        (["digits", "--method", "margin"], "There is no method 'margin'."),
        (["digits", "--split", "val"], "The images of 'val' cannot be held out"),
        (["digits", "--png", "x.doc"], "is not the name of a picture. Use the suffix .png or .svg"),
        (["digits", "--labels", "nowhere"], "The patch nowhere cannot be read"),
        (["apply", "p", "digits"], "There is nothing to add. Use --from FILE or --fix HASH=NEW"),
        (["apply", "p", "digits", "--fix", "abc"], "The fix 'abc' is not of the form HASH=NEW"),
        (["apply", "p", "digits", "--fix", "xyz=3"], "xyz is the hash of no image"),
        (["apply", "p", "digits", "--from", "no.csv"], "no.csv cannot be read"),
        (["revert", "p", "abc"], "There is no patch p"),
        (["merge", "p", "q", "--out", "r"], "The patch p cannot be read"),
        (["show", "p"], "The patch p cannot be read"),
        (["show", "p", "--png", "x.png"], "A picture needs the images"),
    ],
)
def test_what_the_user_can_mend_is_one_message_and_exit_2(cli: Cli, arguments: list[str], message: str) -> None:
    done = cli("labels", *arguments)
    assert (done.code, done.err.count("Error: ")) == (2, 1), done.err
    assert message in done.err
    assert not Path("p").exists()


def test_the_group_and_each_verb_have_help(cli: Cli) -> None:
    assert "misread labels DATA" in cli("labels", "--help").out
    for verb in ("find", "apply", "revert", "merge", "show"):
        assert cli("labels", verb, "--help").code == 0


def test_a_folder_with_the_name_of_a_verb_can_be_meant(cli: Cli) -> None:
    missing = cli("labels", "shards")
    assert missing.code == 2
    assert "./shards" not in missing.err  # there is no such folder
    write_idx_folder(Path("shards"), blocks(8), blocks(8, seed=1))
    done = cli("labels", "shards")
    assert (done.code, done.err.count("Error: ")) == (2, 1)
    assert done.err.endswith("For the data in shards, write: misread labels ./shards\n")
