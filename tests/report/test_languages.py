"""A report in Korean says all that the one in English says, and nothing in English."""

import pickle
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misread import Predictions, Run
from misread.analysis.causes import cause_name
from misread.data.label_patch import add_fixes
from misread.data.load import load
from misread.messages import Message, catalogue, plain, recognised, say, translator
from misread.report.job_sections import job_page_of
from misread.runs.compare import compare
from misread.runs.train import train
from pages import NAMES, foreign, job_content

KOREAN, ENGLISH = (translator(catalogue(language)) for language in ("ko", "en"))
TEXTS = """() => {
  const texts = [document.title];
  for (const one of document.querySelectorAll("body *")) {
    for (const name of ["aria-label", "title", "alt"]) texts.push(one.getAttribute(name) ?? "");
    if (!["SCRIPT", "STYLE"].includes(one.tagName)) {
      for (const part of one.childNodes) if (part.nodeType === 3) texts.push(part.textContent);
    }
  }
  return texts.map(text => text.trim()).filter(Boolean);
}"""
NO_SENTENCES = ("misread train", "misread labels", *NAMES)  # commands and names, which are the same in all languages


def texts_of(page: Any, views: int = 12) -> list[str]:
    """All that a report says: its texts, and those of the first images when they are enlarged."""
    texts = page.evaluate(TEXTS)
    for tile in page.query_selector_all("#tiles [data-item]")[:views]:
        tile.click()
        texts += page.evaluate(TEXTS)
        page.click("#close")
    return texts


def english_in(texts: list[str]) -> list[str]:
    """The texts with three words of English beside each other, or with a passage of an English message."""
    passages = {
        part.strip()
        for text in catalogue("en").values()
        for part in re.split(r"\{\w+\}", text)
        if len(re.findall("[a-z]{2,}", part)) >= 2
    }
    found = []
    for text in texts:
        own = text
        for name in NO_SENTENCES:
            own = own.replace(name, " ")
        own = re.sub(r"--?[\w-]+( [\w./-]+)?|\S*/\S+", " ", own)  # options of commands, and paths
        if re.search(r"\b[A-Za-z]{2,} [a-z]{2,} [a-z]{2,}", own) or any(part in own for part in passages):
            found.append(text)
    return found


def numbers_in(texts: list[str]) -> Counter[str]:
    without_time = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", text) for text in texts]
    return Counter(number for text in without_time for number in re.findall(r"\d+(?:[.,]\d+)*%?", text))


@pytest.fixture(scope="module")
def fixed(data: Path, folder: Path) -> Run:
    """A run with a label patch, stopped after an epoch: most of its mistakes are its own."""
    images = load(str(data))
    patch = folder / "fixes.jsonl"
    from misread.data.image_hash import image_hashes

    label = images.class_names[(images.train.labels[0] + 3) % 4]
    add_fixes(patch, images, {image_hashes(images.train.images[:1])[0]: label}, by="test")
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes"}]', "validation.name=carve"]
    return train(str(data), "tutorial-mlp", epochs=1, settings=settings, label_patch=patch, out=folder, progress=False)


def both(write: Callable[[str], Path], visit: Callable[..., Any]) -> tuple[list[str], list[str]]:
    english, korean = (texts_of(visit(write(language))) for language in ("en", "ko"))
    return english, korean


@pytest.mark.parametrize(
    "which",
    [
        "run",
        "job",
        *(pytest.param(which, marks=pytest.mark.slow) for which in ("patched", "predictions", "comparison")),
    ],
)
def test_no_english_is_left_and_all_numbers_are_the_same(
    visit: Callable[..., Any], runs: tuple[Run, Run], fixed: Run, folder: Path, which: str
) -> None:
    def write(language: str) -> Path:
        path = folder / f"{which}-{language}.html"
        if which == "run":
            return runs[0].report(path, compare=runs[1], playground=True, language=language)
        if which == "patched":
            return fixed.report(path, others=runs, language=language)
        if which == "comparison":
            return compare(*runs).report(path, language=language)
        if which == "job":
            return job_page_of(job_content(), language).write(path)
        made = foreign(40, 3, shape=None)
        return Predictions(made.labels, made.probs).report(path, language=language)

    english, korean = both(write, visit)
    assert english_in(english)  # or nothing could be found in Korean either
    assert english_in(korean) == []
    assert numbers_in(korean) == numbers_in(english)


def test_compare_writes_its_page_in_korean(cli: Callable[..., Any], runs: tuple[Run, Run], folder: Path) -> None:
    path = folder / "compare.html"
    assert cli("compare", runs[0].folder, runs[1].folder, "--html", path, "--lang", "ko").code == 0
    assert '<html lang="ko">' in path.read_text(encoding="utf-8")
    failed = cli("compare", runs[0].folder, runs[1].folder, "--html", path, "--lang", "xx")
    assert failed.code == 2
    assert "Use one of en, ko." in failed.err


def test_a_message_is_english_text_and_can_be_said_in_korean() -> None:
    read = Message("evidence.read", readings=[Message("evidence.reading", name="a", share="60%"), "b"])
    first, second = cause_name("ambiguous"), cause_name("model error")
    message = Message(
        "evidence.undecided", first=first, first_share="40%", second=second, second_share="30%", rest=read
    )
    assert message == "ambiguous (at most 40%) or model error (at most 30%); read as a 60%, b"
    assert say(message, ENGLISH) == message
    assert say(message, KOREAN) == "모호함(최대 40%) 또는 신경망의 실수(최대 30%); 예측 확률 a 60%, b"
    assert say("plain", KOREAN) == "plain"
    assert plain(Message("evidence.read", readings=["a"])) == {"key": "evidence.read", "values": {"readings": ["a"]}}
    assert pickle.loads(pickle.dumps(message)).key == message.key


def test_a_text_that_a_run_has_kept_is_recognised() -> None:
    changed = [Message("patch.changed", k=1200, split="train"), Message("patch.changed", k=2, split="test")]
    four = Message("patch.fixes", n=4)
    kept = str.__str__(Message("patch.fixed", where="a, b.jsonl", changed=changed, found=3, fixes=four, data="d"))
    found = recognised(kept, "patch", "split")
    assert found == kept
    assert say(found, KOREAN).startswith(
        "a, b.jsonl(으)로 고친 레이블: 학습 1,200개, 테스트 2개. 패치의 수정 4개 중 3개"
    )
    for key, text in catalogue("en", ["engine"]).items():
        why = Message(key, **dict.fromkeys(re.findall(r"\{(\w+)\}", text), "some"))
        note = Message("engine.not-kernels", why=why)
        assert say(recognised(str.__str__(note), "engine"), KOREAN) == say(note, KOREAN)
    own = recognised("the data's own validation split", "validation")
    assert isinstance(own, Message)
    assert own.key == "validation.own"
    assert type(recognised("something else", "validation")) is str
