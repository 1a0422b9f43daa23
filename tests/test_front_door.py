"""What a newcomer meets first: the names, and how long they take to load."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import misread
from misread import errors


def test_the_front_door_has_these_names() -> None:
    assert sorted(misread.__all__) == [
        "Callback", "DataError", "ExportError", "ImageSet", "MisreadClassifier", "MisreadError", "Predictions",
        "Recipe", "RecipeError", "Run", "RunError", "TrainingError", "compare", "cross_val_predict", "export",
        "load", "load_recipe", "open_keras", "open_run", "push", "reproduce", "resume", "train", "train_seeds",
    ]  # fmt: skip
    for name in misread.__all__:
        assert getattr(misread, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        misread.trian  # noqa: B018


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()}


@pytest.mark.parametrize(
    "code",
    [
        "import misread",
        "from misread.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from misread.cli.main import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_importing_and_help_load_nothing_heavy(code: str) -> None:
    heavy = {"torch", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "PIL", "pooch", "requests", "rich"}
    assert modules_after(code) & heavy == set()


def test_reading_a_recipe_needs_no_torch() -> None:
    code = "from misread.cli.main import main\ntry: main(['recipes'])\nexcept SystemExit: pass"
    assert modules_after(code) & {"torch", "pandas", "matplotlib"} == set()


def test_a_whole_training_needs_no_compiler_of_torchs(tmp_path: Path) -> None:
    code = (
        "import sys, torch.nn, misread, numpy as np\n"
        "x = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)\n"
        f"misread.train((x, np.arange(40) % 2), epochs=1, progress=False, out={str(tmp_path)!r})\n"
        "assert 'torch._dynamo' not in sys.modules, 'its import takes longer than a small training'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_that_of_the_package() -> None:
    assert misread.__version__ == importlib.metadata.version("misread")


def test_every_error_kind_has_its_exit_code() -> None:
    assert errors.TrainingError.exit_code == 1
    for kind in (errors.MisreadError, errors.DataError, errors.DownloadError, errors.RecipeError, errors.RunError):
        assert kind.exit_code == 2
