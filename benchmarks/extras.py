"""What each extra installs in addition to misread itself: packages and megabytes, as a Markdown table.

    .venv/bin/python benchmarks/extras.py [EXTRA ...]

Packages are resolved as in a fresh environment, with the pins of constraints.txt if the extra fits them. Those that a
bare misread does not have are unpacked into a temporary folder. torch is not downloaded: the others must fit this
environment's version of it.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def pip(*arguments: str) -> str:
    return subprocess.run([*PIP, *arguments], capture_output=True, text=True, check=True).stdout


def resolved(requirements: list[str], constraints: Path) -> dict[str, str]:
    """The versions that a fresh environment gets, by package. Raises CalledProcessError: none fit."""
    report = pip("install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", "--constraint",
                 str(constraints), *requirements)  # fmt: skip
    found = [package["metadata"] for package in json.loads(report)["install"]]
    return {package["name"]: package["version"] for package in found}


def megabytes(packages: dict[str, str]) -> float:
    """Of the packages' files, without compiled Python."""
    with tempfile.TemporaryDirectory() as folder:
        named = [f"{name}=={version}" for name, version in packages.items() if name != "torch"]
        if named:
            pip("install", "--quiet", "--no-deps", "--no-compile", "--target", folder, *named)
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        constraints, torch_only = Path(folder) / "constraints.txt", Path(folder) / "torch.txt"
        torch_only.write_text(f"torch=={metadata.version('torch')}\n")
        pins = [pin for pin in (ROOT / "constraints.txt").read_text().splitlines() if not pin.startswith("torch==")]
        constraints.write_text("\n".join(pins) + "\n" + torch_only.read_text())
        bare = resolved(PROJECT["dependencies"], constraints)
        print("| extra | packages | MB | the largest |\n|---|---|---|---|")
        print(f"| none, without torch | {len(bare) - 1} | {megabytes(bare):.0f} | |", flush=True)
        for extra in sys.argv[1:] or PROJECT["optional-dependencies"]:
            wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]
            try:
                both = resolved(wanted, constraints)
            except subprocess.CalledProcessError:
                both = resolved(wanted, torch_only)
            new = {name: version for name, version in both.items() if name not in bare}
            sizes = {name: megabytes({name: version}) for name, version in new.items()}
            largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
            said = ", ".join(f"{name} {new[name]} ({sizes[name]:.0f})" for name in largest)
            print(f"| `{extra}` | {len(new)} | {sum(sizes.values()):.0f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
