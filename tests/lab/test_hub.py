"""Runs on the Hugging Face Hub, by a stand-in on this machine: pushing, opening, and repositories of strangers."""

import io
import json
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

import misread
from hub_server import LARGE, READ_TOKEN, TOKEN, Hub, hub_server
from misread.data.cache import cache_entries
from misread.errors import RunError
from misread.runs import download
from misread.runs.checksums import CHECKSUMS
from misread.runs.download import FILES
from misread.runs.hub import HubAddress, hub_address
from samples import Result, blocks

NAME = "ada/blocks"
ADDRESS = f"hf://{NAME}"
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning"
)  # by huggingface_hub, of its HTTP client


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # which the stand-in does not speak
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def pushed(hub: Hub, run: misread.Run) -> Hub:
    misread.push(run, NAME)
    hub.requests.clear()
    return hub


def files_of(hub: Hub, branch: str = "main") -> dict[str, bytes]:
    repository = hub.repositories[NAME]
    return repository.commits[repository.branches[branch]]


def change(hub: Hub, **files: bytes | None) -> None:
    """A commit that replaces files, named with `__` for a full stop; None removes one."""
    named = {name.replace("__", "."): data for name, data in files.items()}
    kept = {name: data for name, data in files_of(hub).items() if name not in named}
    hub.put(NAME, kept | {name: data for name, data in named.items() if data is not None})


def test_a_pushed_run_opens_the_same_elsewhere(hub: Hub, run: misread.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = misread.push(run, NAME)
    assert done.commit == hub.repositories[NAME].branches["main"]
    images, _ = blocks(20, seed=5)
    expected, test = run.predict(images), run.predictions()
    shutil.rmtree(run.folder)
    monkeypatch.delenv("HF_TOKEN")
    opened = misread.open_run(ADDRESS, device="cpu")
    np.testing.assert_array_equal(opened.predict(images), expected)
    np.testing.assert_array_equal(opened.predictions().probs, test.probs)
    assert opened.recipe == run.recipe
    assert opened.metrics == run.metrics


def test_what_is_uploaded_is_what_was_said_and_no_more(hub: Hub, run: misread.Run) -> None:
    (run.folder / "secret.txt").write_text("mine")
    (run.folder / "export").mkdir()
    said = []
    done = misread.push(run, NAME, before=said.append)
    files = files_of(hub)
    assert {name: len(data) for name, data in files.items() if name != ".gitattributes"} == said[0].files == done.files
    assert set(said[0].files) <= set(FILES)
    assert {"run.json", "recipe.toml", "model.safetensors", "predictions-test.npz", "README.md"} <= set(files)
    assert files["model.safetensors"] == (run.folder / "model.safetensors").read_bytes()
    assert said[0].commit == ""


def test_the_only_picture_is_the_one_that_the_card_shows(hub: Hub, run: misread.Run) -> None:
    (run.folder / "figures").mkdir(exist_ok=True)
    for name in ("misreads.png", "history.png"):
        (run.folder / "figures" / name).write_bytes(name.encode())
    (run.folder / "README.md").write_text("![misread](figures/misreads.png) ![history](figures/history.png)")
    misread.push(run, NAME)
    assert {name: data for name, data in files_of(hub).items() if "png" in name} == {
        "figures/misreads.png": b"misreads.png"
    }
    (run.folder / "README.md").write_text("No pictures.")
    misread.push(run, NAME)  # which removes the picture of the first push
    assert not [name for name in files_of(hub) if "png" in name]


def test_paths_on_this_machine_are_left_out(hub: Hub, run: misread.Run) -> None:
    assert run.record.data.source.startswith("/")
    misread.push(run, NAME)
    everything = b"".join(data for name, data in files_of(hub).items() if not name.endswith(LARGE))
    assert str(Path(run.record.data.source).parent).encode() not in everything
    assert str(run.folder).encode() not in everything


def test_the_card_on_the_hub_says_how_to_open_the_run(hub: Hub, run: misread.Run) -> None:
    misread.push(run, NAME)
    (code,) = re.findall(r"```python\n(.*?)```", files_of(hub)["README.md"].decode(), re.DOTALL)
    assert f'misread.open_run("{ADDRESS}")' in code
    assert "FOLDER" not in code
    assert "FOLDER" in run.card()  # the card here is as it was


def test_a_branch_is_created_and_opened(hub: Hub, run: misread.Run) -> None:
    done = misread.push(run, NAME, revision="second")
    assert done.address == f"{ADDRESS}@second"
    assert set(files_of(hub)) == {".gitattributes"}
    with pytest.raises(RunError, match=r"hf://ada/blocks is not a run of misread: it has no run.json"):
        misread.open_run(ADDRESS)
    assert misread.open_run(f"{ADDRESS}@second").metrics == run.metrics
    with pytest.raises(RunError, match="has no revision 'third'"):
        misread.open_run(f"{ADDRESS}@third")


def test_private_repositories(hub: Hub, run: misread.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert misread.push(run, NAME, private=True).private
    assert hub.repositories[NAME].private
    misread.push(run, NAME)  # stays private
    assert hub.repositories[NAME].private
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    assert misread.open_run(ADDRESS).metrics == run.metrics
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RunError, match="There is no repository ada/blocks on the Hub, or your token may not read it"):
        misread.open_run(ADDRESS)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.put("ada/public", {})
    with pytest.raises(RunError, match="ada/public exists and is public"):
        misread.push(run, "ada/public", private=True)
    assert hub.repositories["ada/public"].commits[hub.repositories["ada/public"].branches["main"]] == {}


def test_a_repository_of_something_else_is_left_alone(hub: Hub, run: misread.Run) -> None:
    hub.put(NAME, {"pytorch_model.bin": b"x", "README.md": b"mine"})
    with pytest.raises(RunError, match=r"files that are not of a run: pytorch_model.bin. Nothing was uploaded"):
        misread.push(run, NAME)
    assert files_of(hub) == {"pytorch_model.bin": b"x", "README.md": b"mine"}


def test_what_the_owner_added_to_a_run_stays(pushed: Hub, run: misread.Run) -> None:
    change(pushed, notes__txt=b"mine")
    misread.push(run, NAME)
    assert files_of(pushed)["notes.txt"] == b"mine"


@pytest.mark.parametrize(
    ("token", "said"),
    [("hf_wrong", "does not accept your token. Log in"), (READ_TOKEN, "Your token has no right to this in ada/blocks")],
)
def test_a_token_that_is_refused_is_not_shown(
    hub: Hub, run: misread.Run, token: str, said: str, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Result]
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    done = cli("push", run.folder, NAME)
    assert done.code == 2
    assert said in done.err
    assert token not in done.out + done.err
    assert NAME not in hub.repositories


def test_without_a_network_an_earlier_download_is_named(
    pushed: Hub, run: misread.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = misread.open_run(ADDRESS)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=rf"cannot be reached: .*\nThe latest download of it is in {opened.folder}."):
        misread.open_run(ADDRESS)
    commit = pushed.repositories[NAME].branches["main"]
    assert misread.open_run(f"{ADDRESS}@{commit}").folder == opened.folder  # a commit needs no network
    with pytest.raises(RunError, match=r"hf://ada/blocks cannot be reached: "):
        misread.push(run, NAME)


def test_a_run_is_downloaded_once_for_each_commit(pushed: Hub, cli: Callable[..., Result]) -> None:
    first = misread.open_run(ADDRESS)
    asked = [request for request in pushed.requests if request.startswith("GET") and "/resolve/" in request]
    assert len(asked) == len(files_of(pushed)) - 1  # without .gitattributes
    assert {path.name for path in first.folder.iterdir()} <= {name.partition("/")[0] for name in (*FILES, CHECKSUMS)}
    pushed.requests.clear()
    assert misread.open_run(ADDRESS).folder == first.folder
    assert len(pushed.requests) == 1
    change(pushed, README__md=b"new")
    assert misread.open_run(ADDRESS).card() == "new"
    kinds = [(entry.kind, entry.what.partition("@")[0]) for entry in cache_entries()]
    assert kinds == [("run", ADDRESS)] * 2
    assert f"{ADDRESS}@" in cli("data", "cache").out


def test_damage_to_a_downloaded_run_is_noticed(pushed: Hub, cli: Callable[..., Result]) -> None:
    folder = misread.open_run(ADDRESS).folder
    assert cli("verify", ADDRESS).code == 0
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert "Damaged: model.safetensors" in cli("verify", ADDRESS).out


def test_the_commands_take_an_address(pushed: Hub, cli: Callable[..., Result], tmp_path: Path) -> None:
    scored = cli("misreads", ADDRESS, "--json")
    assert scored.code == 0, scored.err
    assert scored.err.startswith(f"{ADDRESS}: ")
    assert cli("card", ADDRESS).out.startswith("---\nlibrary_name: misread")
    np.savez(tmp_path / "other.npz", **dict(zip(("x_train", "y_train"), blocks(40, seed=3), strict=True)),
             class_names=np.array(["one", "two", "drei", "vier, ü"]))  # fmt: skip
    done = cli("evaluate", ADDRESS, tmp_path / "other.npz", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["n"] == 40


def test_a_push_from_the_command_line(hub: Hub, run: misread.Run, cli: Callable[..., Result]) -> None:
    planned = cli("push", run.folder, NAME, "--dry-run", "--json")
    assert json.loads(planned.out)["files"]["run.json"] > 500
    assert hub.requests == []
    assert "model.safetensors" in planned.err
    done = cli("push", run.folder, NAME, "--private", "--json")
    found = json.loads(done.out)
    assert (found["url"], found["private"]) == (f"{hub.url}/{NAME}", True)
    assert found["size_bytes"] == sum(found["files"].values())
    assert TOKEN not in done.out + done.err
    assert ADDRESS in cli("push", run.folder, NAME).out


def test_a_downloaded_run_is_read_only(pushed: Hub, run: misread.Run, tmp_path: Path) -> None:
    opened = misread.open_run(ADDRESS, data=run.data, device="cpu")
    before = {path: path.read_bytes() for path in opened.folder.rglob("*") if path.is_file()}
    for write in (opened.report, opened.save_figures, lambda: misread.export(opened, "safetensors")):
        with pytest.raises(RunError, match="was downloaded and is read-only. Give another place for"):
            write()
    assert opened.report(tmp_path / "report.html").is_file()
    assert {path: path.read_bytes() for path in opened.folder.rglob("*") if path.is_file()} == before


def test_the_studio_does_not_open_a_run_that_is_read_only(pushed: Hub, cli: Callable[..., Result]) -> None:
    done = cli("studio", ADDRESS, "--no-browser")
    assert done.code == 2
    assert f"misread report {ADDRESS} --out report.html" in done.err
    assert pushed.requests == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/hf", None),
        (Path("hf://ada/net"), HubAddress("ada/net")),
        ("hf://ada/net@v1/x", HubAddress("ada/net", "v1/x")),
    ],
)
def test_addresses(text: str | Path, expected: HubAddress | None) -> None:
    assert hub_address(text) == expected


@pytest.mark.parametrize("name", ["net", "a/b/c", "a/b@main", "hf://", "../x", "a//b", "a/b--c", "ä/b"])
def test_a_name_that_no_repository_can_have(hub: Hub, run: misread.Run, name: str) -> None:
    with pytest.raises(RunError, match=r"is not (an address on the Hub|the name of a repository)"):
        misread.push(run, name)
    assert not hub.repositories


def test_a_missing_package_is_named(run: misread.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=r"^A push needs huggingface_hub. Install it: pip install 'misread\[hub\]'$"):
        misread.push(run, NAME)
    with pytest.raises(RunError, match=r"^The address hf://ada/blocks needs huggingface_hub"):
        misread.open_run(ADDRESS)


# --- repositories of strangers ---


def all_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_only_the_files_of_a_run_are_downloaded(pushed: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("MISREAD_CACHE", str(home / "cache"))
    evil = ("../evil.py", "/etc/evil", "a/../../evil", "model.pkl", "pytorch_model.bin", "run.py", "model.pt2",
            ".git/config", "figures/../../evil", "C:\\evil")  # fmt: skip
    pushed.put(NAME, files_of(pushed) | dict.fromkeys(evil, b"x"))
    opened = misread.open_run(ADDRESS)
    names = {path.relative_to(opened.folder).as_posix() for path in all_files(home)}
    assert names <= {*FILES, CHECKSUMS}
    assert not [request for request in pushed.requests if "evil" in request or ".p" in request.replace(".png", "")]


@pytest.mark.parametrize("file", ["run.json", "model.safetensors", "predictions-test.npz"])
def test_a_file_that_is_not_the_listed_one_is_refused(pushed: Hub, file: str) -> None:
    data = files_of(pushed)[file]
    pushed.tampered[file] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(RunError, match=rf"hf://ada/blocks: {file} is damaged: its hash is"):
        misread.open_run(ADDRESS)
    assert cache_entries() == []
    pushed.tampered.clear()
    assert misread.open_run(ADDRESS).folder.is_dir()


@pytest.mark.parametrize("file", ["run.json", "model.safetensors", "README.md"])
def test_a_huge_file_is_not_downloaded(pushed: Hub, file: str) -> None:
    pushed.sizes[file] = FILES[file] + 1
    with pytest.raises(RunError, match=rf"{file} has [\d,]+ MB, but at most [\d,]+ MB are allowed"):
        misread.open_run(ADDRESS)
    assert not [request for request in pushed.requests if "/resolve/" in request]


def test_arrays_that_unpack_to_too_much_are_refused(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "UNPACKED_BYTES", 10**6)
    packed = io.BytesIO()
    np.savez_compressed(packed, probs=np.zeros(10**6))
    assert len(packed.getvalue()) < 10**5
    change(pushed, splits__npz=packed.getvalue())
    with pytest.raises(RunError, match="splits.npz holds 8 MB of arrays"):
        misread.open_run(ADDRESS)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def test_nothing_is_unpickled(pushed: Hub, run: misread.Run) -> None:
    packed = io.BytesIO()
    np.savez(packed, index=np.array([Bomb()], dtype=object), labels=np.array([0]), probs=np.array([[1.0]]))
    weights, files = pickle.dumps(Bomb()), files_of(pushed)
    pushed.put(NAME, files | {"model.safetensors": weights, "predictions-test.npz": packed.getvalue(),
                              "splits.npz": packed.getvalue()})  # fmt: skip
    opened = misread.open_run(ADDRESS, data=run.data)
    with pytest.raises(RunError, match=r"model.safetensors (is damaged|does not fit)"):
        _ = opened.network
    with pytest.raises(misread.DataError, match="misread never unpickles"):
        opened.predictions()
    assert not Path("executed").exists()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("data.pkl", weights)
    change(pushed, model__safetensors=zipped.getvalue())
    with pytest.raises(RunError, match=r"model.safetensors (is damaged|does not fit)"):
        _ = misread.open_run(ADDRESS).network


def test_a_network_larger_than_its_weights_is_not_built(pushed: Hub) -> None:
    recipe = files_of(pushed)["recipe.toml"].decode()
    for evil in (recipe.replace("filters = 6", "filters = 600000000"), f"members = 1000000000\n{recipe}",
                 recipe.replace("filters = 6", f"filters = {10**18}")):  # fmt: skip
        assert evil != recipe
        change(pushed, recipe__toml=evil.replace("members = 1\n", "").encode())
        with pytest.raises(RunError, match=r"does not fit the network|cannot be built"):
            _ = misread.open_run(ADDRESS).network


def test_paths_that_a_stranger_names_are_not_followed(pushed: Hub, run: misread.Run, tmp_path: Path) -> None:
    record = json.loads(files_of(pushed)["run.json"])
    record["data"]["source"] = run.record.data.source  # which is there
    change(pushed, run__json=json.dumps(record).encode())
    with pytest.raises(RunError, match="its data .* is not one that misread can load by name"):
        _ = misread.open_run(ADDRESS).data
    (tmp_path / "net.pt2").write_bytes(pickle.dumps(Bomb()))
    recipe = files_of(pushed)["recipe.toml"]
    for name in (str(tmp_path / "net.pt2"), f"timm:resnet18={tmp_path / 'net.pt2'}"):
        change(pushed, recipe__toml=recipe + f'\n[backbone]\nname = "{name}"\n'.encode())
        with pytest.raises(RunError, match="Its backbone is a file"):
            _ = misread.open_run(ADDRESS).network
    assert not Path("executed").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}', "\xff"])
def test_a_damaged_record_is_refused_before_the_weights_are_downloaded(pushed: Hub, text: str) -> None:
    change(pushed, run__json=text.encode("latin-1"))
    with pytest.raises(RunError, match=r"^hf://ada/blocks: run.json (is damaged|has format 99)"):
        misread.open_run(ADDRESS)
    assert not [request for request in pushed.requests if request.endswith("model.safetensors")]
    assert cache_entries() == []


def test_a_backbone_in_a_file_is_not_pushed(hub: Hub, run: misread.Run) -> None:
    with (run.folder / "recipe.toml").open("a") as file:
        file.write('\n[backbone]\nname = "/home/ada/net.pt2"\n')
    with pytest.raises(RunError, match="has a backbone from a file, /home/ada/net.pt2"):
        misread.push(misread.open_run(run.folder), NAME)
    assert not hub.requests
