"""Patterns of paths, against what bash makes of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from misread.data import patterns
from misread.data.patterns import expand_pattern
from misread.errors import DataError

PATTERNS = [
    "a.tar", "{0..3}.tar", "{00..03}.tar", "{8..11}", "{08..11}", "{998..1001}", "s{a,b}/{1..2}.tar", "{a,,b}", "x{y}z",
    "{}", "{a}{b,c}", "{007..9}", "{9..011}", "{0..0}", "{00..0}", "a{b", "a}b{c,d}",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_stands_for_what_bash_makes_of_it(pattern: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True, check=True)
    assert [name for name in expand_pattern(pattern) if name] == [line for line in done.stdout.split("\n") if line]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("pattern", ["*.tar", "{b,a}?.tar", "[ab]2.*", "a{1..2}*", "odd[1].tar"])
def test_wildcards_stand_for_the_files_that_bash_finds(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a1.tar", "a2.tar", "b1.tar", "b2.tar", "b2.txt", ".hidden.tar", "odd[1].tar"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    script = f"LC_ALL=C; printf '%s\\n' {pattern}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert expand_pattern(pattern) == done.stdout.splitlines()


def test_a_wildcard_without_a_file_is_an_error() -> None:
    with pytest.raises(DataError, match=r"No file matches none\*\.tar\."):
        expand_pattern("none*.tar")


def test_a_range_backwards_is_refused_with_the_right_one() -> None:
    with pytest.raises(DataError, match=r"the range \{5\.\.2\} ends before it starts\. Write \{2\.\.5\}\."):
        expand_pattern("{5..2}.tar")


def test_more_names_than_a_job_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MOST_NAMES", 3)
    assert len(expand_pattern("{0..2}")) == 3
    with pytest.raises(DataError, match="stands for more than 3 names"):
        expand_pattern("{0..3}")
