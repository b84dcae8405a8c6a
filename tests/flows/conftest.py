"""A repository with two pairs, and a stand-in for `hyperskin VERB` that takes moments."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, write_manifest

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

# Trains as a real one does: it claims its units in the ledger, goes on from the epoch it reached, stops when it is
# asked to, and writes down what it did. Without keys a unit has a name of its own.
TRAINER = """
import os, pathlib, sys, time

from hyperskin.ledger import BusyError, FencedError, Ledger
from hyperskin.processes import stop_on_signals

EPOCHS, EPOCH_S = int(os.environ.get("FAKE_EPOCHS", "4")), float(os.environ.get("FAKE_SECONDS", "0.05"))
here = pathlib.Path(os.environ["FAKE_FOLDER"])


def note(*words):
    with (here / "story").open("a") as file:
        file.write(" ".join(map(str, words)) + chr(10))


def claim(ledger, key, stopping):
    while True:
        try:
            return ledger.claim(key, about={}, stale_s=60)
        except BusyError:
            stopping.wait(0.2)
            if ledger.finished([key]):
                return None


def train(ledger, key, stopping):
    held = claim(ledger, key, stopping)
    if held is None:
        return
    with held:
        if ledger.finished([key]):
            return
        reached = here / f"{key}.epoch"
        begin = int(reached.read_text()) if reached.exists() else 0
        note("begin", key, held.number, begin)
        for epoch in range(begin, EPOCHS):
            stopping.wait(EPOCH_S)
            held.require_current()
            reached.write_text(str(epoch + 1))
            note("epoch", key, held.number, epoch + 1)
        held.finish()
        note("end", key, held.number)


verb, words = sys.argv[1], sys.argv[2:]
if verb == "train":
    keys = [word for before, word in zip(words, words[1:]) if before == "--expect"]
    with stop_on_signals() as stopping:
        for key in keys or [".".join(words[1::2])]:
            train(Ledger.of(pathlib.Path.cwd()), key, stopping)
else:
    note(verb)
    print(verb, "done")
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

    def story(self) -> list[list[str]]:
        """Return what the trainers wrote down: begin, epoch or end, the unit, the attempt, the epoch."""
        path = self.notes / "story"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def told(self, word: str) -> list[str]:
        """Return the units of which a trainer said so, one for each time."""
        return [words[1] for words in self.story() if words[0] == word]

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
def with_manifest(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with a manifest, so that units have keys, and without anybody else's databases."""
    for name in ("HYPERSKIN_DATABASE", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    file = FileEntry("file", 1, "0" * 64)
    contents = {"vis": "v", "nir": "n", "valid": "m"}
    entries = [
        CaptureEntry(CaptureId.parse(f"p00{number}_smile_left"), split, file, file, None, (24, 32), contents, {})
        for number, split in enumerate(("train", "valid", "test"), start=1)
    ]
    write_manifest(project.root / "data" / "manifest.json", source="phantom", settings={}, captures=entries)
    return project


@pytest.fixture
def on_workers(with_manifest: Project) -> Project:
    """The project with trainings on workers, by a stand-in that claims the ledger."""
    params = with_manifest.root / "params.yaml"
    text = params.read_text()
    assert "training: here " in text
    params.write_text(text.replace("training: here ", "training: workers "))
    (with_manifest.notes / "child.py").write_text(TRAINER)
    return with_manifest


@pytest.fixture
def whole_project(project: Project) -> Project:
    """The project with our code and settings in it, where `hyperskin VERB` is the stand-in, for other processes."""
    for name in ("pyproject.toml", "prefect.yaml"):
        shutil.copy(ROOT / name, project.root)
    for package in ("flows", "hyperskin"):
        shutil.copytree(ROOT / package, project.root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project.notes / "child.py", project.root / "hyperskin" / "cli.py")
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
