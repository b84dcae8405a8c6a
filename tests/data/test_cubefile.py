"""Cubes keep their numbers, their bands and their damage to themselves."""

import hashlib
import itertools
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from hyperskin.bands import NIR, VIS, Bands
from hyperskin.data.chunks import WindowReader
from hyperskin.data.cubefile import (
    CHUNK_PX,
    HIGHEST,
    LOWEST,
    CubeReader,
    decode_reflectance,
    encode_reflectance,
    read_cube,
    read_header,
    write_cubes,
)
from hyperskin.errors import DataError, HyperSkinError, MissingFileError, ShapeError

HALF_A_STEP = 0.5 / 28672


def _write(path: Path, cube: np.ndarray, *, block: int = 64, valid: np.ndarray | None = None) -> Path:
    height, width, band_count = cube.shape
    valid = np.ones((height, width), dtype=bool) if valid is None else valid
    bands = Bands(tuple(VIS.wavelength_nm[:band_count]))
    with write_cubes(path, height=height, width=width, bands={"vis": bands}, attributes={"made": "here"}) as writer:
        for top in range(0, height, block):
            writer.append({"vis": cube[top : top + block]}, valid[top : top + block])
    return path


@pytest.fixture
def cube() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.1, 2.0, (24, 32, 31)).astype(np.float32)


# Numbers


def test_known_reflectances_have_known_numbers() -> None:
    numbers, clamped_count = encode_reflectance(np.array([LOWEST, 0.0, 1.0, HIGHEST], dtype=np.float32))
    assert numbers.tolist() == [0, 4096, 32768, 65535]
    assert clamped_count == 0


def test_every_number_decodes_and_encodes_to_itself() -> None:
    numbers = np.arange(65536, dtype=np.uint16)
    again, clamped_count = encode_reflectance(decode_reflectance(numbers))
    np.testing.assert_array_equal(again, numbers)
    assert clamped_count == 0


def test_decoding_follows_the_formula() -> None:
    numbers = np.arange(0, 65536, 97, dtype=np.uint16)
    np.testing.assert_allclose(decode_reflectance(numbers), (numbers.astype(np.float64) - 4096) / 28672, atol=2e-7)


def test_a_reflectance_is_kept_to_half_a_step() -> None:
    reflectance = np.random.default_rng(1).uniform(LOWEST, HIGHEST, 10_000)
    back = decode_reflectance(encode_reflectance(reflectance)[0])
    assert np.abs(back - reflectance).max() < HALF_A_STEP * 1.02  # float32 adds its own rounding


def test_values_out_of_range_are_clamped_and_counted() -> None:
    wild = np.array([-1.0, 3.0, np.inf, -np.inf, np.nan, 0.5], dtype=np.float32)
    numbers, clamped_count = encode_reflectance(wild)
    assert numbers.tolist() == [0, 65535, 65535, 0, 4096, 18432]
    assert clamped_count == 5


def test_float64_beyond_float32_is_clamped_too() -> None:
    numbers, clamped_count = encode_reflectance(np.array([1e300, -1e300]))
    assert numbers.tolist() == [65535, 0]
    assert clamped_count == 2


def test_encoding_leaves_its_input_alone(cube: np.ndarray) -> None:
    before = cube.copy()
    encode_reflectance(cube)
    np.testing.assert_array_equal(cube, before)


# Writing


def test_a_cube_comes_back_to_half_a_step(tmp_path: Path, cube: np.ndarray) -> None:
    back = read_cube(_write(tmp_path / "a.h5", cube), "vis")
    assert back.dtype == np.float32
    assert np.abs(back - cube).max() < HALF_A_STEP * 1.02  # float32 adds its own rounding


def test_the_header_says_shape_bands_range_and_notes(tmp_path: Path, cube: np.ndarray) -> None:
    cube[0, 0, 0] = 5.0
    header = read_header(_write(tmp_path / "a.h5", cube))
    assert header.shape == (24, 32)
    assert header.bands == {"vis": VIS}
    assert header.attributes == {"made": "here", "clamped_count": 1}
    assert header.ranges["vis"] == pytest.approx((float(cube.min()), HIGHEST), abs=2 * HALF_A_STEP)


def test_the_hash_is_that_of_the_stored_values(tmp_path: Path, cube: np.ndarray) -> None:
    path = _write(tmp_path / "a.h5", cube)
    with CubeReader(path) as reader:
        assert reader.header.sha256["vis"] == hashlib.sha256(reader.read_numbers("vis").tobytes()).hexdigest()
        valid = reader.read_valid().astype(np.uint8)
        assert reader.header.sha256["valid"] == hashlib.sha256(valid.tobytes()).hexdigest()


def test_line_blocks_of_any_size_give_the_same_cube(tmp_path: Path, cube: np.ndarray) -> None:
    whole, by_fives = _write(tmp_path / "a.h5", cube), _write(tmp_path / "b.h5", cube, block=5)
    assert read_header(whole) == read_header(by_fives)
    np.testing.assert_array_equal(read_cube(whole, "vis"), read_cube(by_fives, "vis"))


def test_writing_twice_gives_the_same_bytes(tmp_path: Path, cube: np.ndarray) -> None:
    assert _write(tmp_path / "a.h5", cube).read_bytes() == _write(tmp_path / "b.h5", cube).read_bytes()


def test_the_file_is_private_and_alone(tmp_path: Path, cube: np.ndarray) -> None:
    path = _write(tmp_path / "a.h5", cube)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_a_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with write_cubes(tmp_path / "a.h5", height=24, width=32, bands={"vis": VIS}, attributes={}) as writer:
            writer.append({"vis": np.zeros((8, 32, 31))}, np.ones((8, 32), dtype=bool))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert not any(tmp_path.iterdir())


def test_a_cube_with_lines_missing_is_never_seen(tmp_path: Path) -> None:
    with (
        pytest.raises(ShapeError, match="A cube of 24 lines must get them all; got 8"),
        write_cubes(tmp_path / "a.h5", height=24, width=32, bands={"vis": VIS}, attributes={}) as writer,
    ):
        writer.append({"vis": np.zeros((8, 32, 31))}, np.ones((8, 32), dtype=bool))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cubes", "valid_shape", "message"),
    [
        ({"vis": (8, 32, 31)}, (8, 32), "Appended cubes must be vis, nir; got vis"),
        ({"vis": (8, 32, 31), "nir": (8, 32, 31), "uv": (8, 32, 3)}, (8, 32), "got vis, nir, uv"),
        ({"vis": (1, 32, 31), "nir": (8, 32, 31)}, (8, 32), r"'vis' must have shape \(8, 32, 31\); got \(1, 32, 31\)"),
        ({"vis": (8, 32, 31), "nir": (8, 32, 30)}, (8, 32), r"'nir' must have shape \(8, 32, 31\); got \(8, 32, 30\)"),
        ({"vis": (25, 32, 31), "nir": (25, 32, 31)}, (25, 32), r"1 to 24 lines of width 32.*got shape \(25, 32\)"),
        ({"vis": (8, 31, 31), "nir": (8, 31, 31)}, (8, 31), r"got shape \(8, 31\)"),
        ({"vis": (0, 32, 31), "nir": (0, 32, 31)}, (0, 32), r"got shape \(0, 32\)"),
    ],
)
def test_lines_that_do_not_fit_are_refused(
    tmp_path: Path, cubes: dict[str, tuple[int, ...]], valid_shape: tuple[int, ...], message: str
) -> None:
    bands = {"vis": VIS, "nir": NIR}
    with (
        pytest.raises(ShapeError, match=message),
        write_cubes(tmp_path / "a.h5", height=24, width=32, bands=bands, attributes={}) as writer,
    ):
        writer.append({name: np.zeros(shape) for name, shape in cubes.items()}, np.ones(valid_shape, dtype=bool))


# Windows


@pytest.mark.parametrize("shape", [(24, 32, 31), (130, 70, 3), (64, 128, 2), (1, 1, 1), (65, 200, 4)])
def test_a_window_is_the_slice_of_the_whole(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    generator = np.random.default_rng(3)
    valid = generator.random(shape[:2]) < 0.9
    path = _write(tmp_path / "a.h5", generator.random(shape), valid=valid)
    with CubeReader(path) as reader:
        whole = reader.read_numbers("vis")
        for _ in range(2):  # the second time past HDF5
            for _ in range(20):
                top, bottom = sorted(generator.integers(0, shape[0] + 1, 2).tolist())
                left, right = sorted(generator.integers(0, shape[1] + 1, 2).tolist())
                window = (slice(top, bottom), slice(left, right))
                np.testing.assert_array_equal(reader.read_numbers("vis", window), whole[window])
                np.testing.assert_array_equal(reader.read("vis", window), decode_reflectance(whole[window]))
                np.testing.assert_array_equal(reader.read_valid(window), valid[window])
            everything = (slice(None), slice(None))
            np.testing.assert_array_equal(reader.read_numbers("vis", everything), whole)


@pytest.mark.parametrize(
    "storage", [{}, {"chunks": (8, 8, 3)}, {"chunks": (8, 8, 1)}, {"chunks": (8, 8, 3), "compression": "gzip"}]
)
def test_windows_do_not_depend_on_how_others_stored_a_dataset(tmp_path: Path, storage: dict[str, object]) -> None:
    values = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, **storage)
    window = (slice(3, 18), slice(-20, None))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        reader = WindowReader(file["x"])
        for _ in range(2):
            np.testing.assert_array_equal(reader.read(window), values[window])


def test_a_chunk_never_written_reads_as_zeros(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("x", (16, 16), dtype=np.uint8, chunks=(8, 8))
        dataset[:8, :8] = 7
        reader = WindowReader(dataset)
        for _ in range(2):
            assert reader.read((slice(0, 16), slice(0, 16))).sum() == 7 * 64


# Refusals


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"must be at .*none\.h5; there is none: run `dvc repro`"):
        read_header(tmp_path / "none.h5")


def test_an_unknown_cube_is_refused_with_the_known(tmp_path: Path, cube: np.ndarray) -> None:
    with pytest.raises(DataError, match="must hold the cube 'nir'; it holds vis"):
        read_cube(_write(tmp_path / "a.h5", cube), "nir")


def test_a_text_file_is_no_cube(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("reflectance")
    with pytest.raises(DataError, match="must be an HDF5 file"):
        read_header(tmp_path / "a.h5")


def test_an_hdf5_file_of_another_kind_is_no_cube(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = np.zeros((3, 4, 31))
    with pytest.raises(DataError, match="must be a cube file of schema 1; got schema None"):
        read_header(tmp_path / "a.h5")


@pytest.mark.parametrize("attribute", ["attributes", "vis/wavelength_nm", "vis/sha256", "vis/range"])
def test_a_header_with_a_part_missing_is_damaged(tmp_path: Path, cube: np.ndarray, attribute: str) -> None:
    path = _write(tmp_path / "a.h5", cube)
    with h5py.File(path, "a") as file:
        place, _, name = attribute.rpartition("/")
        del file[place or "/"].attrs[name]
    with pytest.raises(DataError, match="must have a readable header; it is damaged"):
        read_header(path)


def test_a_cube_that_contradicts_its_bands_is_refused(tmp_path: Path, cube: np.ndarray) -> None:
    path = _write(tmp_path / "a.h5", cube)
    with h5py.File(path, "a") as file:
        file["vis"].attrs["wavelength_nm"] = VIS.wavelength_nm[:30]
    with pytest.raises(DataError, match=r"must be \(24, 32, 30\); got \(24, 32, 31\)"):
        read_header(path)


def test_a_truncated_file_is_refused(tmp_path: Path, cube: np.ndarray) -> None:
    path = _write(tmp_path / "a.h5", cube)
    content = path.read_bytes()
    for keep in (0, 10, 500, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match="must be"):
            read_cube(path, "vis")


def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    cube = generator.random((70, 66, 3))
    path = _write(tmp_path / "a.h5", cube)
    content = path.read_bytes()
    truth, header = read_cube(path, "vis"), read_header(path)
    refused_count = 0
    for place, bit in zip(generator.integers(0, len(content), 300), itertools.cycle(range(8))):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            with CubeReader(path) as reader:
                assert reader.header == header
                np.testing.assert_array_equal(reader.read("vis"), truth)
                np.testing.assert_array_equal(reader.read("vis", (slice(0, 70), slice(0, 66))), truth)
        except HyperSkinError:
            refused_count += 1
    assert refused_count > 0


def test_a_flipped_bit_in_a_window_is_told_by_name(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.h5", np.random.default_rng(0).random((70, 66, 3)))
    with h5py.File(path, "r") as file:
        offset = file["vis"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 4
    path.write_bytes(content)
    with CubeReader(path) as reader, pytest.raises(DataError, match="'vis' fails the checksum: delete it"):
        reader.read("vis", (slice(0, 8), slice(0, 8)))


def test_chunks_are_square_over_all_bands(tmp_path: Path) -> None:
    with h5py.File(_write(tmp_path / "a.h5", np.zeros((100, 130, 3))), "r") as file:
        assert file["vis"].chunks == (CHUNK_PX, CHUNK_PX, 3)
        assert file["vis"].fletcher32
        assert file["vis"].compression is None


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with (
        pytest.raises(DataError, match="needs 48384 bytes; its disk has 100 left"),
        write_cubes(tmp_path / "x.h5", height=24, width=32, bands={"vis": VIS}, attributes={}),
    ):
        pass
    assert not list(tmp_path.iterdir())
