"""What each extra installs in addition to misread itself: packages and megabytes, as a Markdown table.

    .venv/bin/python benchmarks/extras.py [EXTRA ...]

Packages are resolved with the pins of constraints.txt as in a fresh environment. Those that a bare misread does not have
are unpacked into a temporary folder. torch is not downloaded: the others must fit this environment's version of it.
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
    done = subprocess.run([*PIP, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def resolved(requirements: list[str], constraints: Path) -> dict[str, str]:
    """The versions that a fresh environment gets, by package."""
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
        constraints = Path(folder) / "constraints.txt"
        pins = [pin for pin in (ROOT / "constraints.txt").read_text().splitlines() if not pin.startswith("torch==")]
        constraints.write_text("\n".join([*pins, f"torch=={metadata.version('torch')}"]) + "\n")
        bare = resolved(PROJECT["dependencies"], constraints)
        print("| extra | packages | MB | the largest |\n|---|---|---|---|")
        print(f"| none, without torch | {len(bare) - 1} | {megabytes(bare):.0f} | |", flush=True)
        for extra in sys.argv[1:] or PROJECT["optional-dependencies"]:
            both = resolved([*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]], constraints)
            new = {name: version for name, version in both.items() if name not in bare}
            sizes = {name: megabytes({name: version}) for name, version in new.items()}
            largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
            said = ", ".join(f"{name} {new[name]} ({sizes[name]:.0f})" for name in largest)
            print(f"| `{extra}` | {len(new)} | {sum(sizes.values()):.0f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
