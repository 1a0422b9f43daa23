"""The page of a job of predicted shards, in a browser: what it shows of a few images, and what it says of all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misread.report.job_sections import job_page_of
from pages import NAMES, job_content, pixels

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    return job_page_of(job_content()).write(folder / "job.html")


def keys(page: Any, where: str) -> list[str]:
    """The keys of the images of a list, in its order."""
    return page.evaluate(f"""() => {{ const {{ items }} = JSON.parse(document.getElementById("data").textContent);
        dispatchEvent(new Event("beforeprint"));
        const all = [...document.querySelectorAll("{where} [data-item]")].map(tile => items.file[tile.dataset.item]);
        dispatchEvent(new Event("afterprint"));
        return all }}""")


def test_lists_have_their_images_in_their_order(visit: Open, written: Path) -> None:
    content, page = job_content(), visit(written)
    for where, positions in {
        "#tiles": content.mistakes,
        "[data-list=doubts]": [doubt.image for doubt in content.doubtful or ()],
        "[data-list=unsure]": content.unsure,
    }.items():
        assert keys(page, where) == [content.images[p].key for p in positions]
    right = int(content.confusion.trace())
    assert page.inner_text("#accuracy") == f"{100 * right / 90:.2f}%"
    assert page.inner_text("#misread-count") == str(90 - right)
    assert f"These are 5 of the {90 - right} misread images" in page.inner_text("#gallery")


def test_only_cells_with_images_on_the_page_are_buttons(visit: Open, written: Path) -> None:
    content, page = job_content(), visit(written)
    here = {(content.images[p].label, content.images[p].prediction) for p in content.mistakes}
    assert here
    for k, j in np.ndindex(4, 4):
        cell = page.locator(f"#matrix tbody tr:nth-child({k + 1}) td").nth(j)
        assert cell.inner_text() == (str(content.confusion[k, j]) if content.confusion[k, j] or k == j else "·")
        assert cell.locator("button").count() == ((k, j) in here)
    k, j = min(here)
    page.locator(f"#matrix button[data-label='{k}'][data-prediction='{j}']").click()
    shown = [content.images[p] for p in content.mistakes]
    assert keys(page, "#tiles") == [image.key for image in shown if (image.label, image.prediction) == (k, j)]


def test_enlarged_images_say_where_they_are(visit: Open, written: Path) -> None:
    content, page = job_content(), visit(written)
    page.locator("[data-list=unsure] [data-item]").first.focus()
    page.keyboard.press("Enter")
    for position in content.unsure:
        image = content.images[position]
        said = page.inner_text("#view-body")
        assert f"Shard {image.shard}, row {image.row}, key {image.key}" in said
        if image.label is None:
            assert said.startswith(f"Read as {NAMES[image.prediction]}, without a label")
            assert page.locator("#view .is-label, #view .is-wrong").count() == 0
        else:
            share = page.locator("#view .is-label").inner_text()
            assert share.endswith(f"{100 * image.probs[image.label]:.2f}%")  # also where it is none of the first three
        if image.pixels is None:
            assert page.locator("#view .picture.missing").count() == 1
        else:
            assert np.array_equal(pixels(page.get_attribute("#view img.picture", "src")), image.pixels[..., 0])
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('[data-list=unsure]') !== null")


def test_what_could_not_be_read_is_listed(visit: Open, written: Path) -> None:
    page = visit(written)
    assert page.inner_text("#failed-shards tbody").split("\t") == ["00002-part", "pictures/<b>.tar", "damaged"]
    assert page.locator("#unread-images tbody tr").count() == 2
    assert "3 images could not be read. These are the first 2." in page.inner_text("#unread")


def test_a_job_without_labels_says_what_its_images_were_read_as(visit: Open, folder: Path) -> None:
    content = job_content(labelled=0, probabilities=False)
    page = visit(job_page_of(content).write(folder / "unlabelled.html"))
    assert page.inner_text("#predicted-count") == "100"
    shown = page.locator("#read-as-counts tbody td:nth-child(2)").all_inner_texts()
    assert shown == [str(n) for n in content.by_class["n"]]
    assert keys(page, "[data-list=unsure]") == [content.images[p].key for p in content.unsure]
    assert page.locator("#matrix, #gallery, #doubtful-labels, #per-class, #accuracy").count() == 0
    page.locator("[data-list=unsure] [data-item]").first.click()
    assert page.locator("#view .probs tr").count() == 1


def test_the_page_says_what_was_done_to_its_pictures() -> None:
    content, noise = job_content(), np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    photographs = [replace(image, pixels=noise) for image in content.images]
    assert "these images are compressed as JPEG" in job_page_of(replace(content, images=photographs)).html()
    assert "these images are compressed as JPEG" not in job_page_of(content).html()
