"""A checkpoint is whole, harmless, and the right one."""

import itertools
import os
import pickle
import random
import re
import resource
import subprocess
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hyperskin import atomic
from hyperskin.errors import DataError, ServiceError, VersionError
from hyperskin.models.digest import content_digest
from hyperskin.training import checkpoint as module
from hyperskin.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    previous_path,
    random_states,
    restore_random_states,
    save_checkpoint,
)

# torch warns of what a flipped bit may look like to it, before the digest tells
SAYS_SO = pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    optimiser.step()
    return Checkpoint(
        unit_key="a1b2",
        made_with={"model": "hrnet", "learning_rate": "0.001"},
        epoch=3,
        under_way={"steps": 2, "loss_sum": 0.1 + 0.2},
        step=32,
        elapsed_s=12.5,
        skipped_count=1,
        network=dict(network.state_dict()),
        optimiser=optimiser.state_dict(),
        scaler={},
        best=None,
        best_epoch=2,
        best_value=float("inf"),
        history=[{"number": 1, "metrics": {"train/loss": 0.25}, "seconds": 1.0, "crops_per_second": 3.0}],
        random=random_states(),
    )


def _assert_same(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert list(one) == list(other)
        for key in one:
            _assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert isinstance(other, type(one))
        for item, other_item in zip(one, other, strict=True):
            _assert_same(item, other_item)
    else:
        assert one == other


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _epoch(path: Path) -> int | None:
    """Return the epoch of the checkpoint in a file, None where it is damaged or not there."""
    found = module._read(path) if path.is_file() else None
    return found.epoch if found else None


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_everything_comes_back_bit_for_bit(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "c.pt", checkpoint)
    back = load_checkpoint(tmp_path / "c.pt", unit_key="a1b2")
    assert back is not None
    for field in fields(Checkpoint):
        _assert_same(getattr(checkpoint, field.name), getattr(back, field.name))


def test_where_there_is_no_file_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "c.pt", unit_key="a1b2") is None


def test_another_unit_is_refused_by_both_names(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "c.pt", checkpoint)
    with pytest.raises(VersionError, match="must belong to the unit 'ffff'; it belongs to 'a1b2'"):
        load_checkpoint(tmp_path / "c.pt", unit_key="ffff")


def test_another_schema_is_refused(tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCHEMA", 3)
    save_checkpoint(tmp_path / "c.pt", checkpoint)
    monkeypatch.undo()
    with pytest.raises(VersionError, match="must have schema 2; got 3"):
        load_checkpoint(tmp_path / "c.pt", unit_key="a1b2")


def test_the_file_is_private_and_alone_with_the_one_before_it(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint)
    assert _names(tmp_path) == ["c.pt"]
    for epoch in (4, 5):
        save_checkpoint(path, replace(checkpoint, epoch=epoch))
    assert _names(tmp_path) == ["c.pt", "previous.pt"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in tmp_path.iterdir())
    assert [_epoch(file) for file in (path, previous_path(path))] == [5, 4]


def test_a_failed_saving_leaves_the_last_good_one(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint)
    save_checkpoint(path, replace(checkpoint, epoch=4))

    def fill_the_disk(content: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, replace(checkpoint, epoch=5))
    assert _names(tmp_path) == ["c.pt", "previous.pt"]
    assert [_epoch(file) for file in (path, previous_path(path))] == [4, 3]


def test_a_disk_without_room_is_told_and_costs_neither(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "last.pt"
    for epoch in (1, 2):
        save_checkpoint(path, replace(checkpoint, epoch=epoch))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, hard))  # no file may become larger
    try:
        with pytest.raises(ServiceError, match=r"must be written whole; torch could not.*: make room"):
            save_checkpoint(path, checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, previous_path(path).name])
    found = [load_checkpoint(each, unit_key="a1b2") for each in (path, previous_path(path))]
    assert [each.epoch for each in found if each is not None] == [2, 1]


def test_a_file_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"schema": 1, "digest": "", "content": Evil()}, tmp_path / "c.pt")
    with pytest.raises(DataError, match="must be whole; it is damaged"):
        load_checkpoint(tmp_path / "c.pt", unit_key="a1b2")
    (tmp_path / "d.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(DataError, match="must be whole; it is damaged"):
        load_checkpoint(tmp_path / "d.pt", unit_key="a1b2")
    assert not (tmp_path / "ran").exists()


def test_a_state_dict_alone_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "c.pt")
    with pytest.raises(DataError, match="must be whole"):
        load_checkpoint(tmp_path / "c.pt", unit_key="a1b2")


def test_a_truncated_file_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint)
    content = path.read_bytes()
    for keep in (0, 3, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match="must be whole"):
            load_checkpoint(path, unit_key="a1b2")


@SAYS_SO
def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint)
    content = path.read_bytes()
    refused_count = 0
    places = np.random.default_rng(0).integers(0, len(content), 300)
    for place, bit in zip(places.tolist(), itertools.cycle(range(8))):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            back = load_checkpoint(path, unit_key="a1b2")
        except (DataError, VersionError):
            refused_count += 1
            continue
        assert back is not None
        for field in fields(Checkpoint):
            _assert_same(getattr(checkpoint, field.name), getattr(back, field.name))
    assert refused_count > 150


def test_of_damage_that_changes_nothing_torch_does_not_warn(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint)
    content = bytearray(path.read_bytes())
    protocol = content.index(b"\x80\x02")  # how the list of contents begins
    content[protocol + 1] = 3
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        back = load_checkpoint(path, unit_key="a1b2")
    assert heard == []
    assert back is not None  # the number says nothing of what follows
    _assert_same(checkpoint.network, back.network)


# The one before it


def test_where_the_last_is_damaged_the_one_before_it_comes_back(
    tmp_path: Path, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last.pt"
    for epoch in (3, 4):
        save_checkpoint(path, replace(checkpoint, epoch=epoch))
    _damage(path)
    for _ in range(2):
        back = load_checkpoint(path, unit_key="a1b2")
        assert back is not None
        assert back.epoch == 3
    assert caplog.messages == [f"{path} is damaged; going on from the checkpoint before it"]
    assert _names(tmp_path) == ["damaged.pt", "last.pt", "previous.pt"]
    save_checkpoint(path, replace(checkpoint, epoch=5))
    assert [_epoch(file) for file in (path, previous_path(path))] == [5, 3]


def test_where_the_last_is_missing_the_one_before_it_comes_back(
    tmp_path: Path, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last.pt"
    for epoch in (3, 4):
        save_checkpoint(path, replace(checkpoint, epoch=epoch))
    path.unlink()
    back = load_checkpoint(path, unit_key="a1b2")
    assert back is not None
    assert back.epoch == 3
    assert caplog.messages == [f"{path} is missing; going on from the checkpoint before it"]


def test_where_both_are_damaged_nothing_is_guessed(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "last.pt"
    for epoch in (3, 4):
        save_checkpoint(path, replace(checkpoint, epoch=epoch))
    _damage(path)
    _damage(previous_path(path))
    with pytest.raises(
        DataError, match=r"last\.pt must be whole; it is damaged, and so is previous\.pt beside it: delete both"
    ):
        load_checkpoint(path, unit_key="a1b2")
    assert _names(tmp_path) == ["last.pt", "previous.pt"]


def test_the_one_before_is_refused_like_the_last_and_then_left_alone(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "last.pt"
    for epoch in (3, 4):
        save_checkpoint(path, replace(checkpoint, epoch=epoch))
    _damage(path)
    with pytest.raises(VersionError, match=r"previous\.pt must belong to the unit 'ffff'"):
        load_checkpoint(path, unit_key="ffff")
    assert _names(tmp_path) == ["last.pt", "previous.pt"]


def test_a_file_that_may_not_be_read_is_not_taken_for_damaged(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    for _ in range(2):
        save_checkpoint(path, checkpoint)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        load_checkpoint(path, unit_key="a1b2")
    assert _names(tmp_path) == ["last.pt", "previous.pt"]


@SAYS_SO
def test_a_flipped_bit_costs_at_most_the_last(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "last.pt"
    for epoch in (3, 4):
        save_checkpoint(path, replace(checkpoint, epoch=epoch))
    last, previous = path.read_bytes(), previous_path(path).read_bytes()
    went_back = 0
    places = np.random.default_rng(1).integers(0, len(last), 100)
    for place, bit in zip(places.tolist(), itertools.cycle(range(8))):
        damaged = bytearray(last)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        previous_path(path).unlink()
        previous_path(path).write_bytes(previous)
        back = load_checkpoint(path, unit_key="a1b2")
        assert back is not None
        went_back += back.epoch == 3
        _assert_same(replace(back, epoch=3).network, checkpoint.network)
    assert went_back > 50


class _KillError(BaseException):
    """Stands for kill -9: after it nothing is done any more, not even tidying up."""


def _kill_at(nth: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the process die before its `nth` operation on a file system; return a counter of them."""
    count = [0]

    def dying(operation: Any) -> Any:
        def run(*arguments: Any, **keywords: Any) -> Any:
            count[0] += 1
            if count[0] >= nth:
                raise _KillError
            return operation(*arguments, **keywords)

        return run

    for name in ("link", "replace", "rename", "unlink", "fsync", "chmod", "open"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(torch, "save", dying(torch.save))
    return count


@pytest.mark.parametrize("is_damaged", [False, True])
def test_no_kill_at_any_moment_costs_both(tmp_path: Path, checkpoint: Checkpoint, is_damaged: bool) -> None:
    """Loading and saving die before every single operation; the last good checkpoint or the new one is there."""
    outcomes = []
    for nth in itertools.count(1):
        path = tmp_path / str(nth) / "last.pt"
        for epoch in (2, 3):
            save_checkpoint(path, replace(checkpoint, epoch=epoch))
        if is_damaged:
            _damage(path)
        with pytest.MonkeyPatch.context() as monkeypatch:
            count = _kill_at(nth, monkeypatch)
            try:
                load_checkpoint(path, unit_key="a1b2")
                save_checkpoint(path, replace(checkpoint, epoch=4))
            except _KillError:
                pass
        back = load_checkpoint(path, unit_key="a1b2")
        assert back is not None
        outcomes.append(back.epoch)
        assert {_epoch(path), _epoch(previous_path(path))} - {None}
        if count[0] < nth:
            break
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {2 if is_damaged else 3, 4}
    assert len(outcomes) > 8


def test_what_dead_writers_left_is_cleared_away_and_the_livings_is_not(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint)
    dead, alive = (tmp_path / f".last.pt.{atomic._HOST}-{pid}.01234567.tmp" for pid in (_dead_pid(), os.getpid()))
    for left in (dead, alive):
        left.write_bytes(b"half")
    load_checkpoint(path, unit_key="a1b2")
    assert _names(tmp_path) == [alive.name, "last.pt"]


def _dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


# What it was made with


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"model": "hrnet", "learning_rate": "0.002"}, "made with learning_rate 0.001 (now 0.002): go back"),
        ({"model": "hrnet"}, "made with learning_rate 0.001 (now nothing): go back"),
        (
            {"model": "x", "learning_rate": "1", "y": "z"},
            "hrnet (now x), learning_rate 0.001 (now 1), y nothing (now z)",
        ),
    ],
)
def test_every_fact_that_differs_is_named_with_both_values(
    tmp_path: Path, checkpoint: Checkpoint, now: dict[str, str], told: str
) -> None:
    save_checkpoint(tmp_path / "c.pt", checkpoint)
    with pytest.raises(VersionError, match=re.escape(told)):
        load_checkpoint(tmp_path / "c.pt", unit_key="a1b2", made_with=now)
    assert load_checkpoint(tmp_path / "c.pt", unit_key="a1b2", made_with=checkpoint.made_with) is not None
    assert load_checkpoint(tmp_path / "c.pt", unit_key="a1b2") is not None


def test_only_hashes_are_shortened() -> None:
    long = "0123456789abcdef" * 4
    assert module._shorten({"code": long}, "code") == "0123456789"
    assert module._shorten({"camera": "x" * 64}, "camera") == "x" * 64


# Digest and generators


def test_the_digest_tells_a_tensors_type_and_shape_apart() -> None:
    zeros = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), torch.zeros(2, dtype=torch.float64)]
    assert len({content_digest({"w": tensor}) for tensor in zeros}) == 4


def test_global_generators_go_on_where_they_were() -> None:
    states = random_states()
    drawn = torch.rand(3), random.random()
    restore_random_states(states)
    assert torch.equal(torch.rand(3), drawn[0])
    assert random.random() == drawn[1]
