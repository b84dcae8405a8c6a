"""A fresh search on SQLite, and workers of it in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hyperskin.tuning.study import Search

sys.path.insert(0, str(Path(__file__).parent))
from toy_search import open_search, wait_for

ROOT = Path(__file__).parent.parent.parent
WORKER = Path(__file__).parent / "toy_search.py"


@dataclass
class Workers:
    """Processes that share one search, and what they noted."""

    root: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, total: int, *, seconds: float, count: int = 1, **environment: str) -> None:
        for _ in range(count):
            number = len(self.processes)
            words = [str(self.root), "toy", str(total), str(number), str(seconds)]
            child = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
            self.processes.append(
                subprocess.Popen([sys.executable, str(WORKER), *words], env=child, stdout=subprocess.DEVNULL)
            )

    def notes(self, number: int) -> list[list[str]]:
        path = self.root / f"notes.{self.processes[number].pid}"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def noted(self, word: str) -> list[int]:
        """Return the trials of which any worker noted `word`."""
        return [int(note[1]) for number in range(len(self.processes)) for note in self.notes(number) if note[0] == word]

    def wait_until_trying(self, number: int, *, after: int = 0) -> None:
        wait_for(lambda: len(self.notes(number)) > 2 * after and self.notes(number)[-1][0] == "begin")

    def said(self, number: int) -> str:
        """Return the name of the error that a worker noted in the end."""
        return self.notes(number)[-1][1]

    def kill_while_trying(self, number: int, *, after: int = 0) -> int:
        """Kill a worker while it makes a trial, `after` so many that it was told, and return which."""
        self.wait_until_trying(number, after=after)
        self.processes[number].kill()
        self.processes[number].wait()
        assert self.notes(number)[-1][0] == "begin"
        return int(self.notes(number)[-1][1])

    def wait(self, number: int, seconds: float = 60) -> None:
        assert self.processes[number].wait(seconds) == 0


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.delenv("HYPERSKIN_DATABASE", raising=False)
    return open_search(tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Workers on either kind of database."""
    monkeypatch.delenv("HYPERSKIN_DATABASE", raising=False)
    if request.param == "postgresql":
        monkeypatch.setenv("HYPERSKIN_DATABASE", request.getfixturevalue("postgres"))
    made = Workers(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
