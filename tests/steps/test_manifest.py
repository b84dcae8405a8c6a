"""The manifest stage notes how well the masks cover the subjects wherever a phantom knows them, and nowhere else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hyperskin.atomic import file_sha256, write_json
from hyperskin.data.frames import PairFiles
from hyperskin.data.manifest import Manifest
from hyperskin.data.truth import TruthFiles
from hyperskin.errors import DataError
from hyperskin.pairs import PAIRS
from hyperskin.pictures import save_mask
from hyperskin.steps.manifest import manifest

PARAMS = Path(__file__).parent.parent.parent / "params.yaml"
FACTS = {
    "cubes": {"counts": {"invalid_pixels": 0}, "snr_db": {"vis": [None] * 31, "nir": [None] * 31}},
    "inputs": {"clipped": {"cie": 0}},
    "masks": {"origin": "made", "pixel_count": 1},
    "raw": {"source": "phantom"},
}


def _stamp(data: Path, folder: str, files: dict[str, Path], facts: dict[str, object] | None = None) -> None:
    """Write a stamp as the stages do, with the hash of each of a capture's files."""
    hashes = {name: file_sha256(path) for name, path in files.items()}
    facts = FACTS[folder] if facts is None else facts
    write_json(data / folder / "p001" / "p001_neutral_front.json", {"key": "k", "files": hashes, "facts": facts})


@pytest.fixture
def data(tmp_path: Path, write_capture: Callable[..., PairFiles]) -> Path:
    """One capture as the stages before leave it; its mask covers rows 0 to 11 of columns 16 to 31."""
    files = write_capture()
    data = tmp_path / "data"
    for folder, path in (("cubes", files.cube), ("inputs", files.inputs)):
        place = data / folder / "p001" / path.name
        place.parent.mkdir(parents=True)
        path.rename(place)
        _stamp(data, folder, {path.name: place})
    mask = np.zeros((24, 32), dtype=np.bool_)
    mask[:12, 16:] = True
    save_mask(mask, data / "masks" / "p001" / "p001_neutral_front.png")
    _stamp(data, "masks", {"p001_neutral_front.png": data / "masks" / "p001" / "p001_neutral_front.png"})
    _stamp(data, "raw", {})
    write_json(data / "split.json", {"p001": "train"})
    shutil.copy(PARAMS, tmp_path)
    return data


def _make(data: Path) -> tuple[Manifest, dict[str, object]]:
    folder = data.parent
    manifest(
        data,
        output=data / "manifest.json",
        quality=folder / "quality.json",
        snr=folder / "snr.csv",
        params_file=folder / "params.yaml",
    )
    return Manifest.read(data / "manifest.json"), json.loads((folder / "quality.json").read_text())


def _name_source(data: Path, source: str) -> None:
    path = data.parent / "params.yaml"
    assert "  name: phantom " in path.read_text()
    path.write_text(path.read_text().replace("  name: phantom ", f"  name: {source} "))


def _note_in_cube(data: Path, attributes: dict[str, object]) -> None:
    path = data / "cubes" / "p001" / "p001_neutral_front.h5"
    with h5py.File(path, "a") as file:
        noted = json.loads(file.attrs["attributes"])
        file.attrs["attributes"] = json.dumps({**noted, **attributes})
    _stamp(data, "cubes", {path.name: path})


def _give_truth(data: Path, truth: TruthFiles) -> None:
    place = data / "raw" / "p001" / "p001_neutral_front" / "truth"
    place.parent.mkdir(parents=True)
    truth.cubes.parent.rename(place)
    _stamp(data, "raw", {f"p001_neutral_front/truth/{name}": place / name for name in ("cubes.h5", "maps.h5")})


def test_a_mask_is_held_against_the_true_subject(data: Path, write_truth: Callable[..., TruthFiles]) -> None:
    """The subject fills the right half of the frame and the mask the upper half of that: one half is shared."""
    _give_truth(data, write_truth())
    made, quality = _make(data)
    assert made.captures["p001_neutral_front"].facts["mask_iou"] == pytest.approx(0.5)
    assert (quality["lowest_mask_iou"], quality["mean_mask_iou"]) == (0.5, 0.5)
    made.check_files()
    [files] = made.pair_files("train", PAIRS["msi_nir"])
    assert files.truth is not None
    assert files.truth.cubes == data / "raw/p001/p001_neutral_front/truth/cubes.h5"


def test_a_mask_that_is_not_there_covers_nothing(data: Path, write_truth: Callable[..., TruthFiles]) -> None:
    _give_truth(data, write_truth())
    _stamp(data, "masks", {})
    made, quality = _make(data)
    assert made.captures["p001_neutral_front"].facts["mask_iou"] == 0.0
    assert quality["lowest_mask_iou"] == 0.0


def test_what_was_measured_has_no_true_subject(data: Path) -> None:
    _name_source(data, "lumo")
    _stamp(data, "raw", {}, {"source": "lumo"})
    made, quality = _make(data)
    assert made.source == "lumo"
    assert "mask_iou" not in made.captures["p001_neutral_front"].facts
    assert not [name for name in quality if "iou" in name]


@pytest.mark.parametrize(
    ("facts", "came"), [({"source": "lumo"}, "'lumo'"), ({"source": "cave"}, "'cave'"), ({}, "nobody knows where")]
)
def test_real_people_do_not_become_invented_ones_by_a_word_in_params(
    data: Path, facts: dict[str, object], came: str
) -> None:
    """Everyone's pictures may be shown where the manifest says that a source invented them."""
    _stamp(data, "raw", {}, facts)
    with pytest.raises(DataError, match=f"must come from the source 'phantom' that params.yaml names; .* {came}: put"):
        _make(data)
    assert not (data / "manifest.json").exists()


def test_a_cube_that_was_made_under_another_source_is_refused(data: Path) -> None:
    """Its originals were drawn anew since, and `calibrate` did not run."""
    _note_in_cube(data, {"source": "lumo"})
    with pytest.raises(DataError, match=r"p001_neutral_front\.h5 must come from the source 'phantom' .* 'lumo'"):
        _make(data)


def test_a_cube_of_other_originals_than_those_in_raw_is_refused(data: Path) -> None:
    originals = {"p001_neutral_front/capture/p001_neutral_front.raw": "0" * 64}
    _note_in_cube(data, {"source": "phantom", "originals": originals})
    with pytest.raises(DataError, match="must be made of the originals in data/raw; it was made of others"):
        _make(data)


@pytest.mark.parametrize("facts", [{}, {"source": "lumo"}])
def test_what_was_recorded_may_have_a_stamp_without_a_source(data: Path, facts: dict[str, object]) -> None:
    _name_source(data, "lumo")
    _stamp(data, "raw", {}, facts)
    assert _make(data)[0].source == "lumo"


def test_invented_people_do_not_become_real_ones_either(data: Path) -> None:
    _name_source(data, "cave")
    with pytest.raises(DataError, match=r"must come from the source 'cave' .* it comes from 'phantom'"):
        _make(data)
