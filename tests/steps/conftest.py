"""A small project with its own DVC repository, and toy scenes in the form of the CAVE database."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperskin.atomic import file_sha256
from hyperskin.tracking import courier

ROOT = Path(__file__).parent.parent.parent


def write_scene(folder: Path, name: str, seed: int, height: int = 24, width: int = 32) -> None:
    """Write a scene of smooth spectra, one of 31 16-bit PNG files per band, nested twice as published."""
    generator = np.random.default_rng(seed)
    wavelength = np.linspace(-1, 1, 31)
    weights = generator.random((height, width, 3))
    basis = np.stack([np.ones(31), wavelength, np.exp(-8 * wavelength**2)])
    reflectance = 0.1 + 0.25 * weights @ np.abs(basis)
    inner = folder / name / name
    inner.mkdir(parents=True, exist_ok=True)
    for index in range(31):
        band: npt.NDArray[np.uint16] = np.rint(reflectance[..., index] * 65535).astype(np.uint16)
        path = inner / f"{name}_{index + 1:02d}.png"
        path.unlink(missing_ok=True)  # data/raw may be another name of the old file
        Image.fromarray(band).save(path)


def write_mask(folder: Path, name: str, height: int = 24, width: int = 32) -> None:
    """Write a mask that covers the middle of the frame."""
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[4:20, 6:26] = 255
    Image.fromarray(mask).save(folder / f"{name}.png")


@dataclass
class Project:
    """A copy of the code with its own data, run as a person would."""

    root: Path
    scenes: Path
    masks: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root / ".cache" / "dvc"),
            "PYTHONPATH": str(self.root),
        }
        result = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(command)}\n{result.stdout}\n{result.stderr}")
        return result

    def init(self, *arguments: str) -> None:
        self.run("hyperskin", "init", "--source", "cave", "--path", str(self.scenes), *arguments)

    def repro(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", "repro", *arguments, check=check)

    def edit(self, old: str, new: str) -> None:
        path = self.root / "params.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def hashes(self, folder: str) -> dict[str, str]:
        """Return the hash of every file below data/`folder`."""
        base = self.root / "data" / folder
        return {
            path.relative_to(base).as_posix(): file_sha256(path) for path in sorted(base.rglob("*")) if path.is_file()
        }

    def inodes(self, folder: str, suffix: str) -> dict[str, int]:
        """Return the inode of every output: a remade file has another."""
        base = self.root / "data" / folder
        return {path.stem: path.stat().st_ino for path in sorted(base.rglob(f"*{suffix}"))}


def make_project(root: Path, origin: Path = ROOT) -> Project:
    """Copy the code and the pipeline of `origin` into `root`, without data."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("hyperskin", "flows"):
        shutil.copytree(origin / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "pyproject.toml", "params.yaml", ".dvcignore"):
        shutil.copy(origin / name, root / name)
    (root / ".dvc").mkdir()
    shutil.copy(origin / ".dvc" / "config", root / ".dvc" / "config")
    (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    return Project(root, root.parent / "scenes", root.parent / "given masks")


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test know what another one learned of MLflow."""
    monkeypatch.setattr(courier, "_known", courier._Known())


@pytest.fixture(scope="session")
def reproduced_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Five toy scenes, one of them with a given mask, in a project that was initialised and reproduced."""
    made = make_project(tmp_path_factory.mktemp("origin") / "project")
    for seed, name in enumerate(("apple_ms", "bread_ms", "cloth_ms", "daisy_ms", "face_ms")):
        write_scene(made.scenes, name, seed)
    write_mask(made.masks, "face_ms_skin")
    made.init("--masks", str(made.masks), "--test", "face_ms", "--valid", "daisy_ms")
    made.repro()
    return made


@pytest.fixture
def project(reproduced_once: Project, tmp_path: Path) -> Project:
    """Return a copy of the reproduced project, free to be changed; its originals are everybody's and stay."""
    shutil.copytree(reproduced_once.root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", reproduced_once.scenes, reproduced_once.masks)


@pytest.fixture
def project_with_originals(project: Project, tmp_path: Path) -> Project:
    """Return a reproduced project whose originals are free to be changed too."""
    made = Project(project.root, tmp_path / "scenes", tmp_path / "given masks")
    for theirs, own in ((project.scenes, made.scenes), (project.masks, made.masks)):
        shutil.copytree(theirs, own)
        made.edit(str(theirs), str(own))
    made.run("hyperskin", "init", "--rescan")
    made.repro()
    return made
