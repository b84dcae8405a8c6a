"""A checkpoint is whole, harmless, and the right one."""

import itertools
import os
import pickle
import random
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hyperskin.errors import DataError, VersionError
from hyperskin.training import checkpoint as module
from hyperskin.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    random_states,
    restore_random_states,
    save_checkpoint,
)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    optimiser.step()
    return Checkpoint(
        unit_key="a1b2",
        epoch=3,
        step=30,
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
    monkeypatch.setattr(module, "SCHEMA", 2)
    save_checkpoint(tmp_path / "c.pt", checkpoint)
    monkeypatch.undo()
    with pytest.raises(VersionError, match="must have schema 1; got 2"):
        load_checkpoint(tmp_path / "c.pt", unit_key="a1b2")


def test_the_file_is_private_and_alone(tmp_path: Path, checkpoint: Checkpoint) -> None:
    for _ in range(2):
        save_checkpoint(tmp_path / "c.pt", checkpoint)
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]
    assert (tmp_path / "c.pt").stat().st_mode & 0o777 == 0o600


def test_a_failed_saving_leaves_the_last_good_one(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, checkpoint)

    def fill_the_disk(content: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, replace(checkpoint, epoch=4))
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]
    back = load_checkpoint(path, unit_key="a1b2")
    assert back is not None
    assert back.epoch == 3


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


def test_the_digest_tells_a_tensors_type_and_shape_apart() -> None:
    zeros = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), torch.zeros(2, dtype=torch.float64)]
    assert len({module._digest({"w": tensor}) for tensor in zeros}) == 4


def test_global_generators_go_on_where_they_were() -> None:
    states = random_states()
    drawn = torch.rand(3), random.random()
    restore_random_states(states)
    assert torch.equal(torch.rand(3), drawn[0])
    assert random.random() == drawn[1]
