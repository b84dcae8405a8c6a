"""MATLAB files are read by the axes MATLAB shows, and nothing in them is trusted before it is checked."""

import struct
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from hyperskin.errors import DataError, MissingFileError
from hyperskin.sources.matlab import MatArray, open_array
from tests.sources.archive import write_v5, write_v73

CUBE = np.random.default_rng(0).random((24, 40, 31))


def read(array: MatArray) -> np.ndarray:
    values = np.full(array.shape, np.nan)
    for place, stored in array.slabs():
        assert np.isnan(values[place]).all(), "a part came twice"
        values[place] = stored
    return values


WRITERS = {
    "v7.3 gzip": lambda path, cube: write_v73(path, cube),
    "v7.3 plain": lambda path, cube: write_v73(path, cube, track_order=False),
    "v7.3 one chunk": lambda path, cube: write_v73(path, cube, chunks=(31, 40, 24), compression="gzip"),
    "v7.3 rows": lambda path, cube: write_v73(path, cube, chunks=(31, 40, 1), fletcher32=True),
    "v5 deflated": lambda path, cube: write_v5(path, cube),
    "v5 plain": lambda path, cube: write_v5(path, cube, compressed=False),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_form_gives_the_array_that_matlab_shows(tmp_path, write):
    write(tmp_path / "cube.mat", CUBE)
    array = open_array(tmp_path / "cube.mat")
    assert (array.shape, array.dtype) == ((24, 40, 31), np.dtype(np.float64))
    np.testing.assert_array_equal(read(array), CUBE)
    np.testing.assert_array_equal(array.band(7), CUBE[..., 7])


def test_floats_of_single_precision_are_told(tmp_path):
    write_v73(tmp_path / "a.mat", CUBE.astype(np.float32))
    write_v5(tmp_path / "b.mat", CUBE.astype(np.float32))
    assert [open_array(tmp_path / name).dtype.name for name in ("a.mat", "b.mat")] == ["float32", "float32"]


def test_a_v73_file_without_its_text_is_still_hdf5(tmp_path):
    with h5py.File(tmp_path / "cube.mat", "w") as file:
        file["cube"] = CUBE.transpose(2, 1, 0)
    np.testing.assert_array_equal(read(open_array(tmp_path / "cube.mat")), CUBE)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_truncated_file_is_refused_by_its_header(tmp_path, write):
    path = tmp_path / "cube.mat"
    write(path, CUBE)
    whole = path.read_bytes()
    for share in (0.3, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"cube\.mat must be a whole MATLAB v.* copy it again"):
            open_array(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a MATLAB file of v5 or v7.3; it is empty"),
        (b"\xff\xd8\xff\xe0 a picture" * 20, "must be a MATLAB file"),
        (b"MATLAB 4".ljust(200, b"\0"), "must be a MATLAB file"),
    ],
)
def test_what_is_no_matlab_file_is_refused(tmp_path, content, message):
    (tmp_path / "cube.mat").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_array(tmp_path / "cube.mat")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(MissingFileError, match="there is none"):
        open_array(tmp_path / "cube.mat")


@pytest.mark.parametrize("write", [write_v73, write_v5])
def test_another_key_is_refused_and_those_there_are_told(tmp_path, write):
    write(tmp_path / "cube.mat", CUBE, key="rad")
    with pytest.raises(DataError, match="must hold an array 'cube'; it holds rad"):
        open_array(tmp_path / "cube.mat")


def test_other_axes_or_types_are_refused(tmp_path):
    path = tmp_path / "cube.mat"
    for values in (CUBE[0], {"a": 1}, CUBE.astype(np.complex128), np.array([["a"]], dtype=object)):
        savemat(path, {"cube": values})
        with pytest.raises(DataError, match=r"must be numbers on three axes|of float64, as its header says"):
            read(open_array(path))


def _external_link(path: Path) -> None:
    write_v73(path.with_name("other.mat"), CUBE)
    with h5py.File(path, "w") as file:
        file["cube"] = h5py.ExternalLink("other.mat", "/cube")


def _soft_loop(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["cube"] = h5py.SoftLink("/cube")


def _raw_elsewhere(path: Path) -> None:
    secret = path.with_name("secret.txt")
    secret.write_bytes(b"secret  " * 31 * 40 * 24)
    with h5py.File(path, "w") as file:
        file.create_dataset("cube", (31, 40, 24), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def _virtual(path: Path) -> None:
    write_v73(path.with_name("other.mat"), CUBE)
    layout = h5py.VirtualLayout((31, 40, 24), "f8")
    layout[...] = h5py.VirtualSource(str(path.with_name("other.mat")), "cube", (31, 40, 24))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("cube", layout)


def _claims(*shape: int) -> object:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("cube", shape, "f8", chunks=(1, 64, 64), compression="gzip")

    return write


def _lzf(path: Path) -> None:
    write_v73(path, CUBE, compression="lzf")


def _v5_claims_much(path: Path) -> None:
    write_v5(path, CUBE, compressed=False)
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<iii", 24, 40, 31))
    content[place : place + 12] = struct.pack("<iii", 1 << 20, 1 << 20, 31)
    path.write_bytes(bytes(content))


def _v5_bomb(path: Path) -> None:
    """A deflated element whose header claims 24 x 40 x 31, and which unpacks to 400 MB."""
    write_v5(path, CUBE)
    content = path.read_bytes()
    element = bytearray(zlib.decompress(content[136:]))
    engine = zlib.compressobj(9)
    packed = engine.compress(bytes(element)) + b"".join(engine.compress(bytes(1 << 20)) for _ in range(400))
    packed += engine.flush()
    path.write_bytes(content[:128] + struct.pack("<II", 15, len(packed)) + packed)


HOSTILE = {
    "external link": (_external_link, "points elsewhere"),
    "soft link loop": (_soft_loop, "points elsewhere"),
    "values in another file": (_raw_elsewhere, "lie in another file"),
    "virtual dataset": (_virtual, "lie in another file"),
    "124 TB": (_claims(31, 1 << 21, 1 << 18), "at most 4000000 pixels"),
    "too many bands": (_claims(1000, 1024, 1024), "of 64 bands"),
    "another filter": (_lzf, "stored plainly or by gzip"),
    "v5 with a great claim": (_v5_claims_much, "at most 4000000 pixels|cannot be read"),
    "v5 bomb": (_v5_bomb, "unpack to more"),
}


@pytest.mark.parametrize(("write", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_at_once(tmp_path, write, message):
    write(tmp_path / "cube.mat")
    started = time.monotonic()
    with pytest.raises(DataError, match=message):
        read(open_array(tmp_path / "cube.mat"))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["v7.3 gzip", "v5 deflated"])
def test_a_damaged_file_is_read_rightly_or_refused(tmp_path, name):
    """Both are deflated, so a checksum stands over the values; a flipped bit of a name or text may change nothing."""
    path = tmp_path / "cube.mat"
    WRITERS[name](path, CUBE)
    whole = path.read_bytes()
    generator = np.random.default_rng(3)
    refused = 0
    for trial in range(200):
        damaged = bytearray(whole)
        if trial % 4 == 0:
            damaged = damaged[: generator.integers(len(whole))]
        else:
            damaged[generator.integers(len(whole))] ^= 1 << generator.integers(8)
        path.write_bytes(bytes(damaged))
        try:
            values = read(open_array(path))
        except DataError:
            refused += 1
            continue
        np.testing.assert_array_equal(values, CUBE)
    assert refused > 120
