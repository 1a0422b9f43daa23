"""What a release needs: citation, container, shell completion, extras."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import misread
from samples import Result

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_citation_has_the_required_fields_and_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (misread.__version__, PROJECT["project"]["license"])
    assert all("name" in author or "family-names" in author for author in citation["authors"])


def test_the_container_needs_no_root_and_pins_its_base() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+", base) and not base.endswith(":latest") for base in bases)
    assert re.fullmatch("USER [1-9][0-9]*", [line for line in lines if line.startswith("USER ")][-1])
    for line in lines:
        if "apt-get install" in line:
            assert "--no-install-recommends" in line
            assert "rm -rf /var/lib/apt/lists" in line
        if "pip install" in line:
            assert "--no-cache-dir" in line
        if line.startswith(("COPY ", "ENTRYPOINT ", "CMD ")):
            for source in line.split()[1:-1] if line.startswith("COPY ") and "--from" not in line else []:
                assert (ROOT / source).exists()
    assert 'ENTRYPOINT ["misread"]' in lines


def test_every_extra_that_a_message_names_is_declared() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    named = set(re.findall(r"needing\(\"(\w+)\"", sources)) | set(re.findall(r"misread\[(\w+)\]", sources))
    assert "onnx" in named
    assert named <= set(PROJECT["project"]["optional-dependencies"])


def test_every_python_from_the_oldest_allowed_is_named() -> None:
    """`make ranges` resolves for those that are named."""
    named = [line.rpartition(":: ")[2] for line in PROJECT["project"]["classifiers"] if ":: Python :: 3." in line]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert named[0] == oldest
    assert named == [f"3.{int(oldest[2:]) + newer}" for newer in range(len(named))]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion_script(shell: str, cli: Callable[..., Result]) -> None:
    code = "from misread.cli.main import main; main()"
    environment = {"_MISREAD_COMPLETE": f"source_{shell}", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "_MISREAD_COMPLETE" in done.stdout
