"""`dvc repro` remakes only what depends on a change, and a rebuild gives the same bytes."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Project, make_project, write_scene

FOLDERS = ("raw", "cubes", "inputs", "masks")


@pytest.fixture
def made(project: Project) -> Project:
    project.init("--masks", str(project.masks), "--test", "face_ms", "--valid", "daisy_ms")
    project.repro()
    return project


def _stages(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.mark.slow
def test_nothing_runs_when_nothing_changed(made: Project) -> None:
    assert _stages(made.repro().stdout) == []


@pytest.mark.slow
def test_subjects_come_and_go_without_touching_the_others(made: Project) -> None:
    before = made.inodes("cubes", ".h5")
    split = (made.root / "data/split.json").read_text()
    write_scene(made.scenes, "extra_ms", 9)
    made.run("hyperskin", "init", "--rescan")
    made.repro()
    after = made.inodes("cubes", ".h5")
    assert {name: inode for name, inode in after.items() if name in before} == before
    assert set(after) - set(before) == {"extra_ms"}
    shutil.rmtree(made.scenes / "extra_ms")
    made.run("hyperskin", "init", "--rescan")
    made.repro()
    assert made.inodes("cubes", ".h5") == before
    assert (made.root / "data/split.json").read_text() == split


@pytest.mark.slow
def test_one_changed_input_remakes_one_capture(made: Project) -> None:
    before = {folder: made.inodes(folder, ".h5") for folder in ("cubes", "inputs")}
    write_scene(made.scenes, "bread_ms", 77)
    refused = made.repro(check=False)
    made.run("hyperskin", "init", "--rescan")
    made.repro()
    for folder in ("cubes", "inputs"):
        after = made.inodes(folder, ".h5")
        assert {name for name in after if after[name] != before[folder][name]} == {"bread_ms"}
    assert refused.returncode == 0 or "run `hyperskin init --rescan`" in refused.stderr


@pytest.mark.slow
def test_a_parameter_reruns_the_stages_that_read_it_and_those_behind(made: Project) -> None:
    made.edit("encoding: jpeg", "encoding: lossless")
    assert _stages(made.repro().stdout) == ["render", "manifest"]
    made.edit("loss: l1", "loss: mrae")
    assert _stages(made.repro().stdout) == []
    made.edit("resample: linear", "resample: cubic")
    assert _stages(made.repro().stdout)[0] == "calibrate"


@pytest.mark.slow
def test_a_failure_in_mid_stage_keeps_the_others(made: Project) -> None:
    before = made.inodes("cubes", ".h5")
    broken = made.scenes / "cloth_ms/cloth_ms/cloth_ms_07.png"
    whole = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(whole[: len(whole) // 2])
    made.run("hyperskin", "init", "--rescan")
    failed = made.repro(check=False)
    assert failed.returncode != 0
    assert "calibrate: 1 of 5 captures failed (cloth_ms)" in failed.stderr
    assert "Traceback" not in failed.stderr
    broken.unlink()
    broken.write_bytes(whole)
    made.run("hyperskin", "init", "--rescan")
    made.repro()
    after = made.inodes("cubes", ".h5")
    assert {name for name in after if after[name] != before[name]} == {"cloth_ms"}


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_lost_folder_comes_back_the_same(made: Project, folder: str) -> None:
    before = made.hashes(folder)
    shutil.rmtree(made.root / "data" / folder)
    made.repro()
    assert made.hashes(folder) == before


@pytest.mark.slow
def test_a_full_rebuild_elsewhere_gives_the_same_folder_hashes(made: Project, tmp_path: Path) -> None:
    again = make_project(tmp_path / "elsewhere" / "project")
    again.scenes, again.masks = made.scenes, made.masks
    again.init("--masks", str(made.masks), "--test", "face_ms", "--valid", "daisy_ms")
    again.edit("workers: 0", "workers: 1")
    again.repro()
    for folder in FOLDERS:
        assert again.hashes(folder) == made.hashes(folder)
    assert (again.root / "data/manifest.json").read_bytes() == (made.root / "data/manifest.json").read_bytes()
