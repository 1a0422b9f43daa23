"""What a machine of a Ray cluster checks before a task, without Ray."""

import sys
from pathlib import Path
from typing import Any

import pytest

from misread import ray_cluster
from misread.errors import RunError
from misread.files import remove_partial_files
from misread.ray_cluster import RayCluster, _check_machine, _Driver, _fitting, _rounding, _row, _seen_by_all
from misread.workers import Need


def driver(mark: Path | None = None, **changed: str) -> _Driver:
    return _Driver({**_rounding(), **changed}, {}, ".", mark, 1)


def test_a_machine_like_that_of_the_command_may_do_the_tasks() -> None:
    _check_machine(driver())


@pytest.mark.parametrize(
    ("what", "value"), [("misread", "0.0.1"), ("torch", "1.0"), ("numpy", "1.0"), ("processor", "Another CPU")]
)
def test_a_machine_that_rounds_differently_is_refused(what: str, value: str) -> None:
    here = _rounding()[what]
    with pytest.raises(RunError) as refused:
        _check_machine(driver(**{what: value}))
    assert f"has {what} {here}, not {value}, so its results would not be the same bit for bit" in str(refused.value)
    assert "Use a cluster of equal machines" in str(refused.value)


def test_a_machine_that_sees_another_folder_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with _seen_by_all(tmp_path / "new" / "runs") as mark:
        _check_machine(driver(mark))
        assert mark is not None
        seen = mark
    assert list(tmp_path.rglob("*")) == [tmp_path / "new", tmp_path / "new" / "runs"]  # nothing is left
    with pytest.raises(RunError, match="does not see the folder .*new/runs. Choose an --out that all machines share"):
        _check_machine(driver(seen))


def test_the_end_of_another_job_in_the_folder_does_not_hide_it_from_the_machines(tmp_path: Path) -> None:
    with _seen_by_all(tmp_path) as mark:
        remove_partial_files(tmp_path)  # as a command does that ends there
        _check_machine(driver(mark))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(RunError, match=r"file/runs cannot be written: .* Choose another --out"),
        _seen_by_all(tmp_path / "file" / "runs"),
    ):
        pass


@pytest.mark.parametrize(
    ("machine", "need", "fits"),
    [
        ({"CPU": 8.0}, Need(), 8),
        ({"CPU": 8.0}, Need(cores=3), 2),
        ({"CPU": 2.0}, Need(cores=3), 0),
        ({}, Need(), 0),
        ({"CPU": 8.0}, Need(gpus=1), 0),
        ({"CPU": 8.0, "GPU": 2.0}, Need(gpus=1), 2),
        ({"CPU": 8.0, "GPU": 4.0}, Need(cores=4, gpus=1), 2),
    ],
)
def test_as_many_tasks_fit_as_have_their_cores_and_gpus(machine: dict[str, float], need: Need, fits: int) -> None:
    assert _fitting(machine, need) == fits


def test_a_task_keeps_its_row_and_a_new_one_takes_the_first_that_is_free() -> None:
    rows: dict[int, int] = {}
    assert [_row(rows, index) for index in (7, 3, 7, 9)] == [0, 1, 0, 2]
    del rows[3]
    assert [_row(rows, index) for index in (4, 9, 5)] == [1, 2, 3]


class Machines:
    """Of Ray, what tells the machines of a cluster."""

    def __init__(self, *machines: dict[str, float]) -> None:
        self.machines = machines

    def is_initialized(self) -> bool:
        return False

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": m} for m in self.machines] + [{"Alive": False, "Resources": {"CPU": 99.0}}]


@pytest.mark.parametrize(
    ("machines", "need", "message"),
    [
        (
            ({"CPU": 2.0}, {"CPU": 4.0}),
            Need(cores=8),
            "needs 8 cores, which no machine .* has. The largest has 4 cores",
        ),
        (({"CPU": 4.0},), Need(gpus=1), "needs 1 cores and 1 GPU, .* has 4 cores, and there are no GPUs"),
        (({"CPU": 4.0},), Need(cores=4), ""),
        (({},), Need(cores=4), ""),  # a head that waits for machines
    ],
)
def test_a_task_that_no_machine_has_room_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, machines: Any, need: Need, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", Machines(*machines))
    cluster = RayCluster("auto")
    if not message:
        cluster._check_room(need)
        return
    with pytest.raises(RunError, match=message):
        cluster._check_room(need)


def test_an_address_where_nothing_listens_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Machines())
    with pytest.raises(
        RunError, match=r"There is no Ray cluster at '127.0.0.1:1': .*refused\nStart one with `ray start"
    ):
        list(RayCluster("127.0.0.1:1")(print, [1], Need()))


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"A Ray cluster needs ray. Install it: pip install 'misread\[ray\]'"):
        RayCluster("auto")


def test_a_task_has_the_settings_of_the_command_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISREAD_CACHE", "/shared/cache")
    monkeypatch.setenv("MISREAD_TOKEN", "secret")
    monkeypatch.delenv("MISREAD_DATA", raising=False)
    monkeypatch.delenv("MISREAD_KERNELS", raising=False)
    assert ray_cluster._settings() == {"MISREAD_CACHE": "/shared/cache"}
