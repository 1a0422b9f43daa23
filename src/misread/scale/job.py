"""`job.json`: what a job is. It is written once; a process whose own job differs is refused.

Everything that decides a byte of the predictions is in it: the shards with their sizes and hashes, the network, the
backend with its build and precision, versions. So a shard has the same predictions whoever computes it, and when.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from misread.data.parquet_pictures import import_pyarrow
from misread.errors import RunError
from misread.files import write_text
from misread.scale.shards import Shard, hashing

FORMAT = 1
KEYS = {
    "backend", "class_names", "geometry", "image_shape", "probabilities", "recipe_sha256", "versions", "weights_sha256",
}  # fmt: skip
JOB, SUCCESS, FAILED = "job.json", "_SUCCESS", "_failed.jsonl"


@dataclass(frozen=True)
class Job:
    """A job with its folder. The shards have their hashes.

    digest: SHA-256 of `job.json`'s bytes. about: what else it says, as `Predictor.facts` has it.
    """

    folder: Path
    shards: tuple[Shard, ...]
    probabilities: bool
    digest: str
    about: Mapping[str, Any] = field(repr=False)

    def output(self, shard: Shard) -> Path:
        """The file of a shard's predictions."""
        return self.folder / f"{shard.name}.parquet"


def open_job(
    folder: Path, facts: Callable[[], dict[str, Any]], shards: Sequence[Shard], probabilities: bool = False
) -> Job:
    """The job in a folder: what `job.json` there says, which is written if it does not exist.

    facts: gives what `Predictor.facts` does, while the shards are hashed.
    Of a job that exists, the hashes of the shards are taken from `job.json`, and only sizes are compared now. Who reads
    a shard compares its hash.
    Raises RunError: the job there differs, is damaged, or the folder cannot be written.
    """
    path = folder / JOB
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with hashing(shards if new else []) as with_hashes:
            about = _about(facts(), probabilities)
            if new:
                write_text(path, _text(about, list(with_hashes)))
        text = path.read_text(encoding="utf-8")  # another process may have written it meanwhile
    except OSError as error:
        raise RunError(f"{path} cannot be written or read: {error.strerror}. Choose another --out.") from None
    except UnicodeDecodeError:
        raise _damaged(path) from None
    known = _parsed(text, path)
    hashes = [str(entry.get("sha256", "")) for entry in known["shards"]]
    hashed = [replace(shard, sha256=digest) for shard, digest in zip(shards, hashes, strict=False)]
    _refuse_another(path, known, json.loads(_text(about, [*hashed, *shards[len(hashed) :]])))
    return Job(folder, tuple(hashed), probabilities, hashlib.sha256(text.encode()).hexdigest(), about)


def read_job(folder: Path) -> Job:
    """The job in a folder, without what it was begun with: shards of lists of files have no `files`.

    Raises RunError: there is none, or `job.json` is damaged.
    """
    path = folder / JOB
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}. Give the --out of misread predict.") from None
    except UnicodeDecodeError:
        raise _damaged(path) from None
    about = _parsed(text, path)
    if KEYS - about.keys():
        raise _damaged(path)
    try:
        shards = tuple(Shard(**entry) for entry in about.pop("shards"))
        return Job(folder, shards, about["probabilities"], hashlib.sha256(text.encode()).hexdigest(), about)
    except TypeError:  # an entry has other keys than a shard has
        raise _damaged(path) from None


def _about(facts: dict[str, Any], probabilities: bool) -> dict[str, Any]:
    versions = {**facts["versions"], "pyarrow": import_pyarrow().__version__}
    return {"format": FORMAT, **facts, "versions": versions, "probabilities": probabilities}


def _text(about: dict[str, Any], shards: Sequence[Shard]) -> str:
    listed = [
        {
            "name": s.name, "kind": s.kind, "path": s.path, "start": s.start, "stop": s.stop, "bytes": s.bytes,
            "sha256": s.sha256,
        }
        for s in shards
    ]  # fmt: skip
    return json.dumps({**about, "shards": listed}, indent=1, sort_keys=True) + "\n"


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        known = json.loads(text)
    except ValueError:
        raise _damaged(path) from None
    if not isinstance(known, dict) or not isinstance(known.get("shards"), list):
        raise _damaged(path)
    if known.get("format") != FORMAT:
        raise RunError(f"{path} has the format {known.get('format')!r}; this misread knows {FORMAT}. Upgrade misread.")
    return known


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is damaged. Remove the folder, and start the job again.")


def _refuse_another(path: Path, known: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises RunError: two jobs differ; names the first differences."""
    differences = _differences(known, given)
    if differences:
        more = f"\n  and {len(differences) - 5:,} more" if len(differences) > 5 else ""
        raise RunError(
            f"{path.parent} has another job. It differs in\n  " + "\n  ".join(differences[:5]) + more
            + "\nGive the arguments that the job was begun with, or choose another --out."
        )  # fmt: skip


def _differences(known: dict[str, Any], given: dict[str, Any]) -> list[str]:
    found = []
    for key in sorted((known.keys() | given.keys()) - {"shards", "path"}):  # another machine may mount it elsewhere
        old, new = known.get(key), given.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{key}.{line}" for line in _differences(old, new)]
        elif old != new:
            found.append(f"{key}: {_short(old)} there, {_short(new)} here")
    old, new = known.get("shards", []), given.get("shards", [])
    if len(old) != len(new):
        return [*found, f"shards: {len(old):,} there, {len(new):,} here"]
    for before, now in zip(old, new, strict=True):
        found += [f"shard {before.get('name')}, {line}" for line in _differences(before, now)]
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
