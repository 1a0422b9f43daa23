"""Braces in paths, against what bash makes of them."""

import shutil
import subprocess

import pytest

from misread.data import braces
from misread.data.braces import expand_braces
from misread.errors import DataError

PATTERNS = [
    "a.tar", "{0..3}.tar", "{00..03}.tar", "{8..11}", "{08..11}", "{998..1001}", "s{a,b}/{1..2}.tar", "{a,,b}", "x{y}z",
    "{}", "{a}{b,c}", "{007..9}", "{9..011}", "{0..0}", "{00..0}", "a{b", "a}b{c,d}",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_stands_for_what_bash_makes_of_it(pattern: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True, check=True)
    assert [name for name in expand_braces(pattern) if name] == [line for line in done.stdout.split("\n") if line]


def test_a_range_backwards_is_refused_with_the_right_one() -> None:
    with pytest.raises(DataError, match=r"the range \{5\.\.2\} ends before it starts\. Write \{2\.\.5\}\."):
        expand_braces("{5..2}.tar")


def test_more_names_than_a_job_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(braces, "MOST_NAMES", 3)
    assert len(expand_braces("{0..2}")) == 3
    with pytest.raises(DataError, match="stands for more than 3 names"):
        expand_braces("{0..3}")
