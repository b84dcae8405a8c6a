"""One thread: two on a busy machine wait for each other many times longer than these networks compute."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hyperskin.data.frames import PairFiles
from tests.training.job import Job

WriteCapture = Callable[..., PairFiles]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def job(tmp_path: Path, write_capture: WriteCapture) -> Job:
    return Job(tmp_path, [write_capture("p001_neutral_front", seed=1), write_capture("p002_smile_left", seed=2)])


@pytest.fixture
def fresh(tmp_path: Path, job: Job) -> Callable[[], Job]:
    """Return a function that gives the same job with a checkpoint folder of its own."""
    numbers = itertools.count()
    return lambda: Job(tmp_path / f"run{next(numbers)}", job.files)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until somebody adds to it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now
