"""The step that puts every subject on one side."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hyperskin.data.capture import CaptureId
from hyperskin.data.sources import SourceCapture, SourceFile, write_sources
from hyperskin.data.split import read_split
from hyperskin.errors import LeakageError
from hyperskin.params import Params
from hyperskin.steps.split import split

SHIPPED = Path(__file__).parent.parent.parent / "params.yaml"


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    yaml = YAML(typ="safe", pure=True)
    values = yaml.load(SHIPPED.read_text())
    values["split"] |= {"test": [], "valid": [], "test_fraction": 0.2, "valid_fraction": 0.2}
    path = tmp_path / "params.yaml"
    with path.open("w") as file:
        yaml.dump(values, file)
    return path


def captures_of(hashes: dict[str, dict[str, str]]) -> list[SourceCapture]:
    return [
        SourceCapture(
            CaptureId.parse(name),
            tuple(SourceFile(f"/photos/{file}", file, 1, sha256) for file, sha256 in files.items()),
        )
        for name, files in hashes.items()
    ]


def run_split(tmp_path: Path, params_file: Path, hashes: dict[str, dict[str, str]]) -> dict[str, str]:
    source = Params.read(params_file).source.name
    write_sources(tmp_path / "sources", source, captures_of(hashes))
    split(tmp_path / "sources", tmp_path / "split.json", params_file=params_file)
    return dict(read_split(tmp_path / "split.json"))


def lumo(number: int, *, raw: str) -> dict[str, str]:
    """Two captures of one session: their headers and references are the same files."""
    name = f"p{number:03d}_neutral_front"
    return {
        f"capture/{name}.raw": raw,
        f"capture/{name}.hdr": "h",
        f"capture/DARKREF_{name}.raw": "d",
        f"capture/DARKREF_{name}.hdr": "h",
        f"capture/WHITEREF_{name}.raw": "w",
        f"mask/{name}.png": "m",
    }


def test_every_subject_gets_a_side_and_shared_references_are_no_leak(tmp_path, params_file):
    hashes = {f"p{number:03d}_neutral_front": lumo(number, raw=f"r{number}") for number in range(60)}
    sides = run_split(tmp_path, params_file, hashes)
    assert sorted(sides) == [f"p{number:03d}" for number in range(60)]
    assert set(sides.values()) == {"train", "valid", "test"}


def test_one_recording_under_two_names_is_a_leak(tmp_path, params_file):
    hashes = {f"p{number:03d}_neutral_front": lumo(number, raw="same") for number in range(60)}
    with pytest.raises(LeakageError, match="hold a file with the same content"):
        run_split(tmp_path, params_file, hashes)
    assert not (tmp_path / "split.json").exists()
