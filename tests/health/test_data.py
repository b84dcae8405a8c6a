"""What is advised where data are lacking brings them back, and as params.yaml wants them now."""

import sys
from pathlib import Path

import pytest

from hyperskin.health.data import look
from tests.health.repository import DAMAGES, Damage

sys.path.insert(0, str(Path(__file__).parent.parent / "steps"))
from conftest import Project, make_project


@pytest.mark.parametrize("damage", [one for one in DAMAGES if one.check == "data"], ids=lambda damage: damage.name)
def test_the_stages_are_what_mends_data(root: Path, damage: Damage) -> None:
    damage.do(root, {})
    assert [finding.remedy for finding in look(root)] == ["dvc repro"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six small people made by the computer, in a project that was reproduced."""
    made = make_project(tmp_path / "project")
    made.run("hyperskin", "init", "--subjects", "6", "--captures", "smile_left", "--size", "32", "--overwrite")
    made.repro()
    return made


def _mend(project: Project) -> tuple[str, str]:
    """Do what is advised; return what was wrong, and what the stages said."""
    [finding] = look(project.root)
    assert finding.remedy == "dvc repro"
    said = project.run("sh", "-c", finding.remedy).stderr
    assert list(look(project.root)) == []
    return finding.what, said


@pytest.mark.slow
def test_stages_that_came_to_no_end_go_on_with_the_parameters_of_now(project: Project) -> None:
    before = project.hashes("inputs")
    project.edit("encoding: jpeg", "encoding: lossless")
    project.run("hyperskin", "render", "data/cubes", "data/inputs")  # killed before DVC wrote it down
    what, said = _mend(project)
    assert "6 are made anew since: data/inputs/p001/" in what
    assert "render: 0 made, 6 kept" in said
    assert project.hashes("inputs").keys() == before.keys()
    assert project.hashes("inputs") != before

    project.edit("exposure: none", "exposure: max")
    project.repro("render")
    (project.root / "data" / "manifest.json").unlink()  # as DVC does before it runs that stage
    what, said = _mend(project)
    assert "the stages have not come to their end" in what
    assert "render:" not in said


@pytest.mark.slow
def test_files_that_are_gone_or_damaged_are_made_again_byte_for_byte(project: Project) -> None:
    before = project.hashes("")
    data = project.root / "data"
    (data / "cubes" / "p001" / "p001_smile_left.h5").unlink()
    what, said = _mend(project)
    assert "1 is gone: data/cubes/p001/p001_smile_left.h5" in what
    assert "calibrate: 1 made, 5 kept" in said
    manifest = data / "manifest.json"
    text = manifest.read_text().replace('"test"', '"train"')
    manifest.unlink()
    manifest.write_text(text)
    assert "digest" in _mend(project)[0]
    assert project.hashes("") == before
