"""Files are written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from misread.files import (
    PARTIAL,
    locked,
    remove_partial_files,
    replacing,
    sealed,
    unsealed,
    write_bytes,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größer\n")
    write_bytes(tmp_path / "b.bin", b"\x00\xff")
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a.txt", "b.bin"]


def test_an_old_file_is_replaced_and_a_reader_who_has_it_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_temporary_path_is_hidden_beside_the_file_with_its_suffix(tmp_path: Path) -> None:
    with replacing(tmp_path / "picture.svg") as first, replacing(tmp_path / "picture.svg") as second:
        assert first.parent == tmp_path
        assert first.name.startswith(PARTIAL)
        assert first.suffix == ".svg"
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "picture.svg").read_text() == "first"  # renamed last


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_text("ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_failure_before_anything_is_written_raises_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.txt"):
        _ = 1 // 0
    assert names(tmp_path) == []


def test_a_missing_folder_raises_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "a.txt", "text")


def test_a_failed_rename_raises_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"a\.txt"):
        write_text(tmp_path / "a.txt", "text")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_killed_before_the_rename_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom misread.files import replacing\n"
        "with replacing(Path('a.txt')) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.startswith(PARTIAL)


def test_what_killed_processes_left_is_removed_but_not_what_a_process_holds(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in (f"{PARTIAL}1", f"folder/{PARTIAL}2", f"{PARTIAL}held", "whole"):
        (tmp_path / name).touch()
    with (tmp_path / f"{PARTIAL}held").open("rb") as file, locked(file):
        remove_partial_files(tmp_path)
        assert names(tmp_path) == [*([f"{PARTIAL}held"] if os.name == "posix" else []), "folder", "whole"]
        assert names(tmp_path / "folder") == []
    remove_partial_files(tmp_path)
    assert names(tmp_path) == ["folder", "whole"]


def test_the_contents_are_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that reaches the disk before the contents would leave an empty file after a power cut."""
    order: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        order.append("fsync")
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a.txt", "text")
    assert order[:2] == ["fsync", "rename"]


def test_a_sealed_object_is_read_back_as_json_gives_it() -> None:
    values = {"a": 0.1, "b": [1, None], "ü": {"10": "x", "9": True}}
    assert unsealed(sealed(values).encode()) == values
    assert unsealed(sealed({"a": (1, 2), "b": {10: "x", 9: "y"}}).encode()) == {"a": [1, 2], "b": {"10": "x", "9": "y"}}
    assert unsealed(b'{"a": 1}') == {"a": 1}  # of an older misread, or by a person


def test_damage_to_any_byte_of_a_sealed_object_is_noticed() -> None:
    values = {"text": "seven", "number": 17.25, "list": [1, 2, 30], "none": None, "yes": True}
    whole = sealed(values).encode()
    for place in range(len(whole)):
        for changed in (*(whole[place] ^ 1 << bit for bit in range(8)), None):
            damaged = whole[:place] + (b"" if changed is None else bytes([changed]) + whole[place + 1 :])
            try:
                found = unsealed(damaged)
            except ValueError:
                continue
            found.pop("sha256", None)
            extra = {name: value for name, value in found.items() if name not in values}
            assert {**found, **values} == found, damaged  # only the name of the sum is another
            assert len(extra) <= 1
