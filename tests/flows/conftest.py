"""A repository with two pairs, and a stand-in for `hyperskin VERB` that takes moments."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperskin.commands.init import shipped_params

ROOT = Path(__file__).parent.parent.parent

# Says what it does, notes when, and for the models named in `broken` fails as a real training would.
CHILD = """
import os, pathlib, sys, time

verb, words = sys.argv[1], sys.argv[2:]
name = ".".join([verb, *words[1::2]])
here = pathlib.Path(os.environ["FAKE_FOLDER"])
(here / f"{name}.environment").write_text("\\n".join(f"{key}={value}" for key, value in os.environ.items()))
(here / f"{name}.start").write_text(repr(time.time()))
print(f"{verb} begins", flush=True)
time.sleep(float(os.environ.get("FAKE_SECONDS", "0.05")))
(here / f"{name}.end").write_text(repr(time.time()))
if verb == "compare":
    print("model      sam/masked\\nhrnet      0.100")
broken = (here / "broken").read_text().split() if (here / "broken").exists() else []
if {verb, *words} & set(broken):
    print("a line in between", flush=True)
    sys.exit("hyperskin: the loss must be finite; it is nan.")
"""


@dataclass
class Project:
    """A repository to run flows in, and what its stand-in children left behind."""

    root: Path
    notes: Path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(self.notes / "child.py"), *words]

    def break_down(self, *names: str) -> None:
        (self.notes / "broken").write_text("\n".join(names))

    def trained(self) -> list[str]:
        """Return the trainings that ended, in the order of their start."""
        ended = [path.with_suffix(".start") for path in self.notes.glob("train.*.end")]
        return [path.stem.removeprefix("train.") for path in sorted(ended, key=lambda path: float(path.read_text()))]

    def time_of(self, note: str) -> float:
        return float((self.notes / note).read_text())

    def environment_of(self, name: str) -> dict[str, str]:
        lines = (self.notes / f"{name}.environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    root, notes = tmp_path / "repository", tmp_path / "notes"
    root.mkdir()
    notes.mkdir()
    (root / "dvc.yaml").touch()
    (root / "params.yaml").write_text(shipped_params())
    (notes / "child.py").write_text(CHILD)
    monkeypatch.setenv("FAKE_FOLDER", str(notes))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return Project(root, notes)


@pytest.fixture
def whole_project(project: Project) -> Project:
    """The project with our code and settings in it, where `hyperskin VERB` is the stand-in, for other processes."""
    shutil.copy(ROOT / "pyproject.toml", project.root)
    for package in ("flows", "hyperskin"):
        shutil.copytree(ROOT / package, project.root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (project.root / "hyperskin" / "cli.py").write_text(CHILD)
    return project


@pytest.fixture
def bare_environment(project: Project) -> dict[str, str]:
    """The environment of a person's fresh shell with the virtual environment on its path."""
    kept = ("HOME", "LANG", "FAKE_FOLDER", "CUDA_VISIBLE_DEVICES")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path} | {name: os.environ[name] for name in kept if name in os.environ}


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One temporary Prefect server for all tests here: a fresh one takes many seconds."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
