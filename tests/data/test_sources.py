"""data/sources: which original files a subject's captures are made of."""

import json
from pathlib import Path
from typing import Any

import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.data.sources import SourceCapture, SourceFile, read_sources, write_sources
from hyperskin.errors import DataError, MissingFileError


def _capture(name: str, content: str = "0" * 64) -> SourceCapture:
    return SourceCapture(CaptureId.parse(name), (SourceFile(f"/here/{name}.raw", f"capture/{name}.raw", 3, content),))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    captures = [_capture("p001_neutral_front"), _capture("p001_smile_left"), _capture("scene")]
    write_sources(tmp_path, "lumo", captures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p001.json", "scene.json"]
    assert read_sources(tmp_path, "lumo") == captures


def test_a_recipe_stands_in_place_of_files(tmp_path: Path) -> None:
    drawn = [SourceCapture(CaptureId.parse("p001_neutral_front"), recipe={"seed": 7, "skin_type": "IV"})]
    write_sources(tmp_path, "phantom", drawn)
    assert json.loads((tmp_path / "p001.json").read_text())["captures"] == {
        "p001_neutral_front": {"seed": 7, "skin_type": "IV"}
    }
    assert read_sources(tmp_path, "phantom") == drawn


def test_a_subject_that_is_no_more_loses_its_file(tmp_path: Path) -> None:
    write_sources(tmp_path, "lumo", [_capture("p001_neutral_front"), _capture("p002_neutral_front")])
    write_sources(tmp_path, "lumo", [_capture("p002_neutral_front")])
    assert [path.name for path in tmp_path.iterdir()] == ["p002.json"]


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="run `hyperskin init --rescan`"):
        read_sources(tmp_path, "cave")


def test_another_source_than_params_names_is_refused(tmp_path: Path) -> None:
    write_sources(tmp_path, "lumo", [_capture("p001_neutral_front")])
    with pytest.raises(DataError, match="must come from the source 'cave'.*comes from 'lumo'"):
        read_sources(tmp_path, "cave")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject_file": "p009.json"}, "must hold captures of p009 alone; it holds p001_neutral_front"),
        ({"name": "../../escape.raw"}, "must lie below its capture's folder; got '../../escape.raw'"),
        ({"name": "/etc/passwd"}, "must lie below its capture's folder"),
        ({"capture": "../p001"}, "A capture name must be"),
        ({"text": "{"}, "must be written by `hyperskin init`"),
        ({"files": []}, "p001_neutral_front has neither files nor a recipe"),
    ],
)
def test_an_edited_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_sources(tmp_path, "lumo", [_capture("p001_neutral_front")])
    path = tmp_path / "p001.json"
    values = json.loads(path.read_text())
    files = values["captures"]["p001_neutral_front"]
    if "name" in change:
        files[0]["name"] = change["name"]
    if "files" in change:
        values["captures"] = {"p001_neutral_front": change["files"]}
    if "capture" in change:
        values["captures"] = {change["capture"]: files}
    path.unlink()
    (tmp_path / change.get("subject_file", "p001.json")).write_text(change.get("text", json.dumps(values)))
    with pytest.raises(DataError, match=message):
        read_sources(tmp_path, "lumo")
