"""`dvc repro` remakes only what depends on a change, and a rebuild gives the same bytes."""

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Project, make_project, write_scene

FOLDERS = ("raw", "cubes", "inputs", "masks")


def _stages(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_nothing_runs_when_nothing_changed(project: Project) -> None:
    assert _stages(project.repro().stdout) == []


def test_subjects_come_and_go_without_touching_the_others(project_with_originals: Project) -> None:
    project = project_with_originals
    before = project.inodes("cubes", ".h5")
    split = (project.root / "data/split.json").read_text()
    write_scene(project.scenes, "extra_ms", 9)
    project.run("hyperskin", "init", "--rescan")
    project.repro()
    after = project.inodes("cubes", ".h5")
    assert {name: inode for name, inode in after.items() if name in before} == before
    assert set(after) - set(before) == {"extra_ms"}
    shutil.rmtree(project.scenes / "extra_ms")
    project.run("hyperskin", "init", "--rescan")
    project.repro()
    assert project.inodes("cubes", ".h5") == before
    assert (project.root / "data/split.json").read_text() == split


def test_one_changed_input_remakes_one_capture(project_with_originals: Project) -> None:
    project = project_with_originals
    before = {folder: project.inodes(folder, ".h5") for folder in ("cubes", "inputs")}
    write_scene(project.scenes, "bread_ms", 77)
    refused = project.repro(check=False)
    project.run("hyperskin", "init", "--rescan")
    project.repro()
    for folder in ("cubes", "inputs"):
        after = project.inodes(folder, ".h5")
        assert {name for name in after if after[name] != before[folder][name]} == {"bread_ms"}
    assert refused.returncode == 0 or "run `hyperskin init --rescan`" in refused.stderr


def test_a_parameter_reruns_the_stages_that_read_it_and_those_behind(project: Project) -> None:
    project.edit("encoding: jpeg", "encoding: lossless")
    assert _stages(project.repro().stdout) == ["render", "manifest"]
    project.edit("loss: l1", "loss: mrae")
    assert _stages(project.repro().stdout) == []
    project.edit("resample: linear", "resample: cubic")
    assert _stages(project.repro().stdout)[0] == "calibrate"


def test_a_failure_in_mid_stage_keeps_the_others(project_with_originals: Project) -> None:
    project = project_with_originals
    before = project.inodes("cubes", ".h5")
    broken = project.scenes / "cloth_ms/cloth_ms/cloth_ms_07.png"
    whole = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(whole[: len(whole) // 2])
    project.run("hyperskin", "init", "--rescan")
    failed = project.repro(check=False)
    assert failed.returncode != 0
    assert "calibrate: 1 of 5 captures failed (cloth_ms)" in failed.stderr
    assert "Traceback" not in failed.stderr
    broken.unlink()
    broken.write_bytes(whole)
    project.run("hyperskin", "init", "--rescan")
    project.repro()
    after = project.inodes("cubes", ".h5")
    assert {name for name in after if after[name] != before[name]} == {"cloth_ms"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_lost_folder_comes_back_the_same(project: Project, folder: str) -> None:
    before = project.hashes(folder)
    shutil.rmtree(project.root / "data" / folder)
    project.repro()
    assert project.hashes(folder) == before


def test_a_full_rebuild_elsewhere_gives_the_same_folder_hashes(project: Project, tmp_path: Path) -> None:
    again = make_project(tmp_path / "elsewhere" / "project", origin=project.root)
    shutil.copy(project.root / "params.yaml", again.root / "params.yaml")
    again.scenes, again.masks = project.scenes, project.masks
    again.run("hyperskin", "init", "--rescan")
    again.edit("workers: 0", "workers: 1")
    again.repro()
    for folder in FOLDERS:
        assert again.hashes(folder) == project.hashes(folder)
    assert (again.root / "data/manifest.json").read_bytes() == (project.root / "data/manifest.json").read_bytes()


def test_the_phantom_goes_through_every_stage_and_grows_by_a_subject(tmp_path: Path) -> None:
    made = make_project(tmp_path / "project")
    made.run("hyperskin", "init", "--subjects", "3", "--captures", "neutral_front", "--size", "32")
    made.edit("width_px: 32", "width_px: 40")
    made.edit("workers: 0", "workers: 1")
    assert set(_stages(made.repro().stdout)) == {"acquire", "calibrate", "render", "mask", "split", "manifest"}
    manifest = json.loads((made.root / "data/manifest.json").read_text())
    assert manifest["source"] == "phantom"
    assert {entry["split"] for entry in manifest["captures"].values()} == {"train", "valid", "test"}

    before = made.inodes("cubes", ".h5")
    made.edit("subjects: 3", "subjects: 4")
    made.run("hyperskin", "init", "--rescan")
    made.repro()
    assert made.inodes("cubes", ".h5").items() > before.items()
    assert "acquire" not in made.run("dvc", "status", "acquire").stdout
    made.edit("noise: 1.0", "noise: 0.5")
    assert "acquire" in made.run("dvc", "status", "acquire").stdout
