"""Downloads a run from the Hugging Face Hub into the cache.

A repository can be anybody's. Only the files of a run folder are downloaded, by their names. Their sizes are limited,
and their hashes are compared. Nothing in them is executed: weights are safetensors, and arrays are read without pickle.
`Run` does not follow the paths that a downloaded run names, and does not write into its folder.
"""

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from misread.data.cache import HUB
from misread.data.download import cache_folder
from misread.errors import RunError
from misread.runs import run_folder
from misread.runs.checksums import write_checksums
from misread.runs.hub import HubAddress, hub_client, hub_errors, without_bars

PICTURE = f"{run_folder.FIGURES}/misreads.png"
# the files that are uploaded and downloaded, in this order, and the most bytes that each may have
TEXT_BYTES, ARRAY_BYTES, WEIGHT_BYTES = 2**24, 2**28, 2**32
FILES = {
    run_folder.RECORD: TEXT_BYTES,
    run_folder.RECIPE: TEXT_BYTES,
    run_folder.WEIGHTS: WEIGHT_BYTES,
    run_folder.HISTORY: TEXT_BYTES,
    run_folder.SPLITS: ARRAY_BYTES,
    run_folder.predictions_file("test"): ARRAY_BYTES,
    run_folder.misreads_file("test"): ARRAY_BYTES,
    run_folder.LABEL_PATCH: ARRAY_BYTES,
    run_folder.CARD: TEXT_BYTES,
    PICTURE: TEXT_BYTES,
}
NEEDED = (run_folder.RECORD, run_folder.RECIPE, run_folder.WEIGHTS)
UNPACKED_BYTES = 2**30  # of all arrays in a file
COMMIT = re.compile("[0-9a-f]{40}")


def is_download(folder: Path) -> bool:
    """Whether a run folder was downloaded: it is somebody else's, and read-only."""
    return folder.resolve().is_relative_to((cache_folder() / HUB).resolve())


def download_run(address: HubAddress, progress: Callable[[str], None] = lambda line: None) -> Path:
    """The run folder at an address: from the cache if this commit was downloaded before.

    progress: called with a line of text before a download.
    Raises RunError: huggingface_hub is missing, the Hub cannot be reached, there is no such run or it may not be read,
    a file is damaged or too large, or the cache cannot be written.
    """
    if address.revision and COMMIT.fullmatch(address.revision):
        earlier = _folder(address, address.revision)
        if earlier.is_dir():  # a commit never changes, so the Hub need not be asked
            return earlier
    client = hub_client(f"The address {address}")
    try:
        with hub_errors(address):
            info = client.model_info(address.repo, revision=address.revision, files_metadata=True)
    except RunError as error:
        raise RunError(f"{error}{_earlier(address)}") from None
    commit = str(info.sha)
    if not COMMIT.fullmatch(commit):
        raise RunError(f"The Hub names no commit for {address}. Try again later.")
    target = _folder(address, commit)
    if not target.is_dir():
        found = {file.rfilename: file for file in info.siblings or []}
        files = {name: found[name] for name in FILES if name in found}
        _check_listing(address, {name: file.size or 0 for name, file in files.items()})
        progress(f"{address}: {len(files)} files, {sum(file.size or 0 for file in files.values()) / 1e6:,.2f} MB")
        try:
            _download(client, address, commit, files, target)
        except OSError as error:
            raise RunError(
                f"{target} cannot be written: {error.strerror or error}. Set MISREAD_CACHE to another folder."
            ) from None
    return target


def _folder(address: HubAddress, commit: str) -> Path:
    return cache_folder() / HUB / commit / address.repo.replace("/", "--")


def _earlier(address: HubAddress) -> str:
    found = sorted(_folder(address, "any").parents[1].glob(f"*/{address.repo.replace('/', '--')}"), key=_modified)
    return f"\nThe latest download of it is in {found[-1]}." if found else ""


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def _check_listing(address: HubAddress, sizes: Mapping[str, int]) -> None:
    """Raises RunError: it is no run, or a file is too large."""
    if missing := [name for name in NEEDED if name not in sizes]:
        raise RunError(f"{address} is not a run of misread: it has no {' and no '.join(missing)}.")
    for name, size in sizes.items():
        if size > FILES[name]:
            raise RunError(
                f"{address}: {name} has {size / 1e6:,.0f} MB, but at most {FILES[name] / 1e6:,.0f} MB are allowed. "
                "Nothing was downloaded."
            )


def _download(client: Any, address: HubAddress, commit: str, files: Mapping[str, Any], target: Path) -> None:
    """Download all files into a temporary folder, which is renamed when every file is verified."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as temporary:
        folder = Path(temporary) / target.name
        for name, file in files.items():
            with hub_errors(address), without_bars():
                client.hf_hub_download(address.repo, name, revision=commit, local_dir=folder)
            _verify(address, folder / name, name, file)
            if name == run_folder.RECORD:
                _check_record(address, folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes
        write_checksums(folder, (folder / run_folder.RECORD).read_text(encoding="utf-8"))
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise


def _verify(address: HubAddress, path: Path, name: str, file: Any) -> None:
    """Raises RunError: the file is not the one that the repository lists, or its arrays are too large."""
    if file.lfs:
        expected, actual = file.lfs.sha256, hashlib.sha256()
    else:  # a blob of Git: its type and size, then its bytes
        expected, actual = file.blob_id, hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as contents:
        while piece := contents.read(2**20):
            actual.update(piece)
    if actual.hexdigest() != expected:
        raise RunError(f"{address}: {name} is damaged: its hash is {actual.hexdigest()}, not {expected}. Try again.")
    if path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        except zipfile.BadZipFile as error:
            raise RunError(f"{address}: {name} is damaged: {error}.") from None
        if unpacked > UNPACKED_BYTES:
            raise RunError(f"{address}: {name} holds {unpacked / 1e6:,.0f} MB of arrays, which is too much for a run.")


def _check_record(address: HubAddress, folder: Path) -> None:
    try:
        run_folder.read_record(folder)
    except RunError as error:
        raise RunError(str(error).replace(f"{folder}/", f"{address}: ")) from None
