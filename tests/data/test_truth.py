"""What a phantom knows of a capture is read by the names of its labels, on the scale of the calibrated cubes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hyperskin.data.frames import read_truth
from hyperskin.data.truth import LABELS, NAMES, TruthFiles, read_truth_maps
from hyperskin.errors import DataError, MissingFileError
from hyperskin.pairs import PAIRS

WriteTruth = Callable[..., TruthFiles]


def test_the_subject_is_skin_and_lips_without_hair(write_truth: WriteTruth) -> None:
    maps = read_truth_maps(write_truth().maps)
    assert maps.names == ("hair", "skin", "lips")
    assert np.flatnonzero(maps.subject()[0]).tolist() == list(range(16, 32))


def test_pure_skin_is_neither_lips_nor_mixed_with_hair(write_truth: WriteTruth) -> None:
    pure = read_truth_maps(write_truth().maps).pure_skin()
    assert pure.dtype == np.bool_
    assert np.flatnonzero(pure[0]).tolist() == list(range(17, 31))


def test_labels_are_told_by_their_names_not_by_their_numbers(write_truth: WriteTruth) -> None:
    path = write_truth().maps
    with h5py.File(path, "a") as file:
        file[LABELS].attrs[NAMES] = '["skin", "hair", "cloth"]'
    assert np.flatnonzero(read_truth_maps(path).subject()[0]).tolist() == list(range(16))


def test_every_other_map_is_read_too(write_truth: WriteTruth) -> None:
    path = write_truth().maps
    with h5py.File(path, "a") as file:
        file["melanin_fraction"] = np.full((24, 32), 0.05, dtype=np.float32)
    maps = read_truth_maps(path).maps
    assert sorted(maps) == ["melanin_fraction", "skin_share"]
    assert float(maps["melanin_fraction"][0, 0]) == pytest.approx(0.05)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda pair: pair.name)
@pytest.mark.parametrize("white_reflectance", [1.0, 0.95])
def test_the_truth_is_divided_by_the_panel(write_truth: WriteTruth, pair, white_reflectance: float) -> None:
    """A calibration that takes the panel for white reads panel / 2 as 1 / 2 at every band."""
    truth = read_truth(write_truth(0.5, white_reflectance=white_reflectance), pair)
    assert truth.reference.dtype == np.float32
    assert truth.reference.shape == (24, 32, pair.out_channels)
    np.testing.assert_allclose(truth.reference, 0.5 * white_reflectance, atol=5e-5)
    assert int(truth.skin.sum()) == 14 * 24


def test_a_truth_that_does_not_know_its_panel_is_refused(write_truth: WriteTruth) -> None:
    with pytest.raises(DataError, match=r"cubes\.h5 must say in 'panel_reflectance' what the white reference reflects"):
        read_truth(write_truth(panel=False), PAIRS["rgb_vis"])


def test_a_truth_without_labels_or_without_files_is_told(write_truth: WriteTruth, tmp_path: Path) -> None:
    files = write_truth()
    with h5py.File(files.maps, "a") as file:
        del file[LABELS]
    with pytest.raises(DataError, match="must hold labels and maps"):
        read_truth(files, PAIRS["rgb_vis"])
    with pytest.raises(MissingFileError, match=r"none\.h5"):
        read_truth(replace(files, maps=tmp_path / "none.h5"), PAIRS["rgb_vis"])
