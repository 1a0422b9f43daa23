"""`push`: uploads a run to the Hugging Face Hub, where `open_run("hf://USER/NAME")` opens it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from misread.data.load import EMBEDDED
from misread.data.named import NAMED
from misread.errors import RunError
from misread.runs import run_folder
from misread.runs.card import card_on_hub
from misread.runs.download import FILES, NEEDED, PICTURE
from misread.runs.hub import HubAddress, hub_address, hub_client, hub_errors, without_bars
from misread.runs.run import Run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NOT_OURS = {".gitattributes", ".gitignore", "LICENSE", "LICENSE.txt", "LICENSE.md"}  # what a new repository may have


@dataclass(frozen=True)
class Push:
    """What is uploaded, or was.

    files:  the size in bytes of each file. private: None if the repository is as it was, or public if it is new.
    url:    of the repository; commit: what the upload made. Both are empty before the upload.
    """

    address: str
    files: Mapping[str, int]
    private: bool | None
    url: str = ""
    commit: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "files": dict(self.files), "size_bytes": self.size_bytes}


def push(
    run: Run,
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    before: Callable[[Push], object] = lambda push: None,
) -> Push:
    """Upload a run to the repository `USER/NAME` on the Hugging Face Hub, which is created if there is none.

    The files are those that `open_run` needs, and the model card. They have no pictures, apart from the figure of
    misread images if the card shows it. Paths on this machine are left out of them.
    private:  only you may read the repository. An existing one must be private already.
    revision: a branch, which is created if there is none; the main branch by default.
    dry_run:  upload nothing.
    before:   called before the upload with what is going to be uploaded.
    The token is the one that huggingface_hub finds: of `hf auth login`, or `$HF_TOKEN`.
    Raises RunError: huggingface_hub is missing, the run cannot be opened elsewhere, the Hub cannot be reached or
    refuses, or the repository has other files.
    """
    address = hub_address(name if name.startswith("hf:") else f"hf://{name}")
    if address is None or address.revision:
        raise RunError(f"{name} is not the name of a repository. Use the form USER/NAME, and --revision for a branch.")
    address = HubAddress(address.repo, revision)
    contents = files_to_push(run, address)
    planned = Push(str(address), {name: len(data) for name, data in contents.items()}, private or None)
    client = hub_client("A push")
    before(planned)
    if dry_run:
        return planned
    with hub_errors(address), without_bars():
        url = client.create_repo(address.repo, private=private or None, exist_ok=True)
        old = _check_repository(client, address, private)
        if revision:
            client.create_branch(address.repo, branch=revision, exist_ok=True)
            old = {file.rfilename for file in client.model_info(address.repo, revision=revision).siblings or []}
        commit = _commit(client, address, contents, old)
    return Push(planned.address, planned.files, planned.private, str(url), commit)


def files_to_push(run: Run, address: HubAddress) -> dict[str, bytes]:
    """The contents of each file. Raises RunError: the run cannot be opened elsewhere, or a file cannot be read."""
    if run.recipe.backbone and run.recipe.backbone.is_file:
        raise RunError(
            f"The run in {run.folder} has a backbone from a file, {run.recipe.backbone.name}, and could not be opened "
            "elsewhere. Export it instead: misread export RUN."
        )
    card = card_on_hub(run.card(), str(address))
    contents = {run_folder.RECORD: _record(run), run_folder.CARD: card.encode()}
    for name in FILES:
        path = run.folder / name
        shown = name != PICTURE or f"]({PICTURE})" in card
        if name not in contents and shown and (path.is_file() or name in NEEDED):
            try:
                contents[name] = path.read_bytes()
            except OSError as error:
                raise RunError(f"{path} cannot be read: {error.strerror}.") from None
    return {name: contents[name] for name in FILES if name in contents}


def _record(run: Run) -> bytes:
    """`run.json` without paths on this machine."""
    record = run.record
    if record.data.source not in (*NAMED, EMBEDDED):
        record = record.model_copy(update={"data": record.data.model_copy(update={"source": ""})})
    if patch := record.label_patch:
        name = PurePath(patch.file).name
        record = record.model_copy(update={"label_patch": patch.model_copy(update={"file": name})})
    return (record.model_dump_json(indent=2) + "\n").encode()


def _check_repository(client: "HfApi", address: HubAddress, private: bool) -> set[str]:
    """The files of the repository. Raises RunError: it is public but should not be, or has files of something else."""
    info = client.model_info(address.repo)
    if private and not info.private:
        raise RunError(f"{address.repo} exists and is public. Make it private in its settings, or use another name.")
    found = {file.rfilename for file in info.siblings or []}
    others = sorted(found - NOT_OURS - set(FILES))
    if others and run_folder.RECORD not in found:
        raise RunError(
            f"{address.repo} has files that are not of a run: {', '.join(others[:5])}. Nothing was uploaded. "
            "Use another name."
        )
    return found


def _commit(client: "HfApi", address: HubAddress, contents: Mapping[str, bytes], old: set[str]) -> str:
    """Upload the files in one commit, which removes those of an earlier run. Returns the commit's hash."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [CommitOperationAdd(name, data) for name, data in contents.items()]
    removed = [CommitOperationDelete(name) for name in sorted(old & set(FILES) - set(contents))]
    try:
        made = client.create_commit(
            address.repo, [*added, *removed], commit_message="Run of misread", revision=address.revision
        )
    except (RuntimeError, ValueError) as error:  # of the upload of a large file, or of the check of the card
        cause = error.__cause__ or error
        raise RunError(f"The upload to {address} failed: {str(cause).splitlines()[0]}") from None
    return made.oid
