"""A pair's input and reference come from the right files, bands and pixels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from hyperskin.bands import NIR, VIS, regular_bands
from hyperskin.data.cubefile import encode_reflectance, read_cube, write_cubes
from hyperskin.data.frames import FrameReader, PairFiles, decode_inputs, read_frame, read_input, read_mask, read_views, read_visible
from hyperskin.errors import DataError, MissingFileError, ShapeError
from hyperskin.pairs import PAIRS, find_pair

WriteCapture = Callable[..., PairFiles]
WINDOW = (slice(3, 20), slice(5, 30))


@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda pair: pair.name)
def test_a_frame_has_the_pairs_channels(write_capture: WriteCapture, pair) -> None:
    frame = read_frame(write_capture(), pair, camera="cie")
    assert frame.input.shape == (24, 32, pair.in_channels)
    assert frame.reference.shape == (24, 32, pair.out_channels)
    assert frame.input.dtype == frame.reference.dtype == np.float32
    assert frame.mask is not None
    assert frame.mask.dtype == frame.valid.dtype == np.bool_
    assert frame.mask.shape == frame.valid.shape == (24, 32)
    assert frame.capture.subject == "p001"


def test_rgb_is_a_fraction_of_255_and_infrared_is_reflectance(write_capture: WriteCapture) -> None:
    files = write_capture()
    frame = read_frame(files, find_pair("msi_nir"), camera="cie")
    with h5py.File(files.inputs, "r") as file:
        np.testing.assert_array_equal(frame.input[..., :3], file["rgb/cie"][...].astype(np.float32) / np.float32(255))
        np.testing.assert_allclose(frame.input[..., 3], (file["infrared_960"][...] - 4096.0) / 28672, atol=1e-6)


def test_the_infrared_input_is_the_given_band_of_the_target(write_capture: WriteCapture) -> None:
    pair = find_pair("msi_nir")
    frame = read_frame(write_capture(), pair, camera="cie")
    np.testing.assert_array_equal(frame.input[..., 3], frame.reference[..., pair.target.index_of(pair.given_nm[0])])


def test_a_band_that_two_cubes_share_comes_from_the_first(write_capture: WriteCapture) -> None:
    files = write_capture()
    frame = read_frame(files, find_pair("msi_visnir"), camera="cie")
    vis, nir = read_cube(files.cube, "vis"), read_cube(files.cube, "nir")
    np.testing.assert_array_equal(frame.reference, np.concatenate([vis, nir[..., 1:]], axis=2))


@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda pair: pair.name)
def test_a_window_is_cut_from_everything_alike(write_capture: WriteCapture, pair) -> None:
    files = write_capture(invalid=(slice(0, 9), slice(20, 32)))
    whole = read_frame(files, pair, camera="cie")
    part = read_frame(files, pair, camera="cie", window=WINDOW)
    for name in ("input", "reference", "mask", "valid"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[WINDOW])
    np.testing.assert_array_equal(read_input(files.inputs, pair, camera="cie", window=WINDOW), part.input)


def test_stored_numbers_decode_to_the_frame(write_capture: WriteCapture) -> None:
    files, pair = write_capture(invalid=(slice(0, 2), slice(0, 2))), find_pair("msi_visnir")
    with FrameReader(files, pair, cameras=["cie"]) as reader:
        stored = reader.read()
        assert reader.shape == (24, 32)
        assert reader.stored_bytes == sum(part.nbytes for part in (*stored.inputs, stored.target, stored.valid))
        cut, read = stored.cut(WINDOW), reader.read(WINDOW)
    frame = read_frame(files, pair, camera="cie")
    np.testing.assert_array_equal(decode_inputs(stored.inputs), frame.input)
    np.testing.assert_array_equal(stored.valid, frame.valid)
    np.testing.assert_array_equal(cut.target, read.target)
    np.testing.assert_array_equal(cut.valid, read.valid)
    np.testing.assert_array_equal(decode_inputs(cut.inputs), decode_inputs(read.inputs))


def test_pixels_not_measured_are_marked(write_capture: WriteCapture) -> None:
    frame = read_frame(write_capture(invalid=(slice(2, 5), slice(7, 9))), find_pair("rgb_vis"), camera="cie")
    assert np.argwhere(~frame.valid).min(axis=0).tolist() == [2, 7]
    assert int((~frame.valid).sum()) == 6


def test_a_scene_may_have_no_mask(write_capture: WriteCapture) -> None:
    files = write_capture("photo_and_face_ms", mask=False)
    assert read_frame(files, find_pair("rgb_vis"), camera="cie").mask is None


def test_a_mask_is_true_above_half_of_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[False, False, True, True]]


def test_a_mask_of_another_size_is_refused(write_capture: WriteCapture) -> None:
    files = write_capture()
    assert files.mask is not None
    Image.fromarray(np.zeros((32, 24), dtype=np.uint8)).save(files.mask)
    with pytest.raises(ShapeError, match=r"\.png must have shape \(24, 32\) like .*; got \(32, 24\)"):
        read_frame(files, find_pair("rgb_vis"), camera="cie", window=WINDOW)


def test_inputs_of_another_size_are_refused(write_capture: WriteCapture) -> None:
    files, other = write_capture(), write_capture("p002_neutral_front", height=20)
    with pytest.raises(ShapeError, match=r"must hold frames of \(24, 32\) like .*; got \(20, 32\)"):
        read_frame(replace(files, inputs=other.inputs), find_pair("rgb_vis"), camera="cie")


def test_inputs_of_mixed_sizes_are_refused(write_capture: WriteCapture) -> None:
    files = write_capture()
    with h5py.File(files.inputs, "a") as file:
        del file["infrared_960"]
        file["infrared_960"] = np.zeros((12, 16), dtype=np.uint16)
    with pytest.raises(ShapeError, match="must hold inputs of one size, rgb of 8 or 16 bits and 16-bit infrared"):
        read_frame(files, find_pair("msi_nir"), camera="cie")


def test_the_rgb_of_an_msi_goes_before_the_picture_where_infrared_goes_in(write_capture: WriteCapture) -> None:
    files = write_capture()
    own = np.random.default_rng(1).random((24, 32, 3))
    with h5py.File(files.inputs, "a") as file:
        file.create_dataset("msi_rgb/cie", data=encode_reflectance(own)[0], chunks=(24, 32, 3), fletcher32=True)
    picture = read_frame(files, find_pair("rgb_vis"), camera="cie").input
    for name in ("msi_nir", "msi_visnir"):
        frame = read_frame(files, find_pair(name), camera="cie")
        np.testing.assert_allclose(frame.input[..., :3], own, atol=2e-5)
        assert np.abs(frame.input[..., :3] - picture).max() > 0.1
        window = read_frame(files, find_pair(name), camera="cie", window=WINDOW)
        np.testing.assert_array_equal(window.input, frame.input[WINDOW])
    with FrameReader(files, find_pair("msi_nir"), cameras=["cie"]) as reader:
        assert reader.stored_bytes == 24 * 32 * (3 * 2 + 2 + 31 * 2 + 1)


def test_rgb_of_another_type_is_refused(write_capture: WriteCapture) -> None:
    files = write_capture()
    with h5py.File(files.inputs, "a") as file:
        del file["rgb/cie"]
        file["rgb/cie"] = np.zeros((24, 32, 3), dtype=np.float32)
    with pytest.raises(ShapeError, match="rgb of 8 or 16 bits"):
        read_frame(files, find_pair("rgb_vis"), camera="cie")


def test_views_are_the_frames_of_each_camera_and_share_the_rest(write_capture: WriteCapture) -> None:
    files = write_capture(cameras={"cie": 0, "other": 1})
    views = list(read_views(files, find_pair("msi_nir"), cameras=["other", "cie"], window=WINDOW))
    for view, camera in zip(views, ["other", "cie"], strict=True):
        alone = read_frame(files, find_pair("msi_nir"), camera=camera, window=WINDOW)
        for name in ("input", "reference", "mask", "valid"):
            np.testing.assert_array_equal(getattr(view, name), getattr(alone, name))
    assert views[0].reference is views[1].reference
    assert not np.array_equal(views[0].input[..., :3], views[1].input[..., :3])


def test_an_unknown_camera_is_refused_with_the_known(write_capture: WriteCapture) -> None:
    with pytest.raises(DataError, match="must hold 'rgb/nikon' for the pair 'rgb_vis'; it holds infrared_960, rgb/cie"):
        read_frame(write_capture(), find_pair("rgb_vis"), camera="nikon")


def test_a_cube_without_the_target_is_refused(write_capture: WriteCapture, tmp_path: Path) -> None:
    path = tmp_path / "vis_only.h5"
    with write_cubes(path, height=24, width=32, bands={"vis": VIS}, attributes={}) as writer:
        writer.append({"vis": np.zeros((24, 32, 31))}, np.ones((24, 32), dtype=bool))
    files = replace(write_capture(), cube=path)
    assert read_frame(files, find_pair("rgb_vis"), camera="cie").reference.shape == (24, 32, 31)
    with pytest.raises(DataError, match="must hold the cube 'nir' for the pair 'msi_nir'; it holds vis"):
        read_frame(files, find_pair("msi_nir"), camera="cie")


def test_a_cube_on_other_bands_is_refused(write_capture: WriteCapture, tmp_path: Path) -> None:
    path = tmp_path / "shifted.h5"
    bands = {"vis": regular_bands(405, 705, 10)}
    with write_cubes(path, height=24, width=32, bands=bands, attributes={}) as writer:
        writer.append({"vis": np.zeros((24, 32, 31))}, np.ones((24, 32), dtype=bool))
    with pytest.raises(DataError, match="31 from 400 to 700 nm; got 31 from 405 to 705 nm"):
        read_frame(replace(write_capture(), cube=path), find_pair("rgb_vis"), camera="cie")


@pytest.mark.parametrize("part", ["cube", "inputs", "mask"])
def test_a_missing_file_is_named(write_capture: WriteCapture, part: str, tmp_path: Path) -> None:
    files = replace(write_capture(), **{part: tmp_path / "none.x"})
    with pytest.raises(MissingFileError, match=r"none\.x; there is none: run `dvc repro`"):
        read_frame(files, find_pair("rgb_vis"), camera="cie")


@pytest.mark.parametrize("part", ["cube", "inputs", "mask"])
def test_a_file_of_nonsense_is_refused(write_capture: WriteCapture, part: str) -> None:
    files = write_capture()
    getattr(files, part).write_bytes(b"nonsense" * 200)
    with pytest.raises(DataError, match="delete it and run `dvc repro`"):
        read_frame(files, find_pair("rgb_vis"), camera="cie")


def test_the_visible_cube_is_there_for_every_pair_but_not_in_every_file(
    write_capture: WriteCapture, tmp_path: Path
) -> None:
    files = write_capture()
    expected = read_frame(files, find_pair("rgb_vis"), camera="cie").reference
    np.testing.assert_array_equal(read_visible(files.cube), expected)
    for bands in ({"nir": NIR}, {"vis": regular_bands(400.0, 700.0, 20.0)}):
        path = tmp_path / "other.h5"
        with write_cubes(path, height=4, width=6, bands=bands, attributes={}) as writer:
            writer.append({name: np.ones((4, 6, len(own))) for name, own in bands.items()}, np.ones((4, 6), np.bool_))
        assert read_visible(path) is None


def test_a_flipped_bit_in_the_inputs_is_told(write_capture: WriteCapture) -> None:
    files = write_capture()
    with h5py.File(files.inputs, "r") as file:
        offset = file["rgb/cie"].id.get_chunk_info(0).byte_offset
    content = bytearray(files.inputs.read_bytes())
    content[offset + 11] ^= 1
    files.inputs.write_bytes(content)
    for window in (None, WINDOW):
        with pytest.raises(DataError, match="must be whole; a part of it cannot be read"):
            read_frame(files, find_pair("rgb_vis"), camera="cie", window=window)


def test_a_refused_capture_leaves_no_file_open(write_capture: WriteCapture) -> None:
    files = write_capture()
    for _ in range(3):
        with pytest.raises(DataError):
            FrameReader(files, find_pair("rgb_vis"), cameras=["nikon"])
    with h5py.File(files.inputs, "a"), h5py.File(files.cube, "a"):
        pass  # HDF5 would refuse to write to a file that is open for reading
