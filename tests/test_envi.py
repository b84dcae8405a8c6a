from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import spectral

from hyperskin.envi import EnviFile, open_envi, parse_header, read_header, release_pages, write_envi
from hyperskin.errors import DataError, MissingFileError, ShapeError

PLAIN = "ENVI\nlines = 2\nsamples = 3\nbands = 4\ndata type = 12\ninterleave = bil\nbyte order = 0\nheader offset = 0\n"
AXES = {"bil": (0, 2, 1), "bip": (0, 1, 2), "bsq": (2, 0, 1)}
ORDERS = {"<": 0, ">": 1}
CODES = {"i2": 2, "f4": 4, "u2": 12}


@pytest.fixture
def counts() -> npt.NDArray[np.uint16]:
    return np.random.default_rng(3).integers(0, 4096, (24, 32, 31), dtype=np.uint16)


def store(folder: Path, counts: npt.NDArray[np.uint16], interleave: str, kind: str, offset: int = 0) -> EnviFile:
    """Write a file without the code under test."""
    lines, samples, bands = counts.shape
    stored = np.ascontiguousarray(counts.transpose(AXES[interleave])).astype(kind)
    (folder / "scan.raw").write_bytes(b"\x07" * offset + stored.tobytes())
    (folder / "scan.hdr").write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\nheader offset = {offset}\n"
        f"data type = {CODES[kind[1:]]}\ninterleave = {interleave}\nbyte order = {ORDERS[kind[0]]}\n"
    )
    return open_envi(folder / "scan.hdr")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "f4", "u2"])
@pytest.mark.parametrize("interleave", ["bil", "bip", "bsq"])
def test_every_layout_gives_the_same_counts(tmp_path, counts, interleave, kind, order):
    file = store(tmp_path, counts, interleave, order + kind, offset=5)
    np.testing.assert_array_equal(np.concatenate(list(file.line_blocks(7))), counts)
    np.testing.assert_array_equal(file.read_lines([3, 0, 23]), counts[[3, 0, 23]])
    np.testing.assert_array_equal(file.map_lines(), counts)


def test_blocks_have_the_wanted_lines_and_the_last_one_the_rest(tmp_path, counts):
    file = store(tmp_path, counts, "bil", "<u2")
    assert [block.shape for block in file.line_blocks(10)] == [(10, 32, 31), (10, 32, 31), (4, 32, 31)]


@pytest.mark.parametrize("interleave", ["bil", "bip", "bsq"])
def test_memory_does_not_grow_with_the_number_of_lines(tmp_path, interleave):
    lines, samples, bands = 1000, 64, 200
    header = PLAIN.replace("lines = 2", f"lines = {lines}").replace("samples = 3", f"samples = {samples}")
    (tmp_path / "long.hdr").write_text(header.replace("bands = 4", f"bands = {bands}").replace("bil", interleave))
    with (tmp_path / "long.raw").open("wb") as sparse:
        sparse.truncate(lines * samples * bands * 2)
    file = open_envi(tmp_path / "long.hdr")
    tracemalloc.start()
    seen = sum(block.shape[0] for block in file.line_blocks(4))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == lines
    assert peak_bytes < 4 * (4 * samples * bands * 2)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r\n\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.upper(),
        PLAIN.replace(" = ", "="),
        PLAIN.replace(" = ", "   =\t "),
        PLAIN.replace("data type", "Data   Type"),
        PLAIN.replace("byte order = 0\nheader offset = 0\n", ""),
        PLAIN.replace("lines", ";lines = 9\n  ; a note = {\nlines"),
        PLAIN + "file type = ENVI\nerrors = {none}\ndescription = {\nFile Imported\n into ENVI}\nnonsense\n",
        PLAIN + "description = { bands = 9\nlines = 9 }\n",
        PLAIN + "temperature = 1\ntemperature = {\n1,\n2\n}\n",
        "\ufeff" + PLAIN,
        PLAIN.rstrip("\n"),
    ],
)
def test_headers_are_read_as_recorders_write_them(text):
    header = parse_header(text, "x.hdr")
    assert (header.lines, header.samples, header.bands, header.interleave) == (2, 3, 4, "bil")
    assert header.dtype == np.dtype("<u2")
    assert header.size_bytes == 48
    assert header.wavelength_nm is None


@pytest.mark.parametrize(
    "field",
    [
        "wavelength = {400, 500, 600, 700}",
        "Wavelength = {\r\n400.0,\r\n500.0,\r\n600,\r\n700\r\n}",
        "WAVELENGTH={\n400\n,500\n,600\n,700,\n}",
        "wavelength = { 400 500 600 700 }",
        "wavelength = {,400,500,\n;a note\n600,700}",
        "wavelength units = Micrometers\nwavelength = {0.4, 0.5, 0.6, 0.7}",
        "wavelength units = Nanometers\nwavelength = {4e2, 5e2, 6e2, 7e2}",
    ],
)
def test_wavelengths_come_in_nanometres_however_they_are_listed(field):
    assert parse_header(PLAIN + field, "x.hdr").wavelength_nm == pytest.approx((400.0, 500.0, 600.0, 700.0))


def test_empty_wavelengths_are_none():
    assert parse_header(PLAIN + "wavelength = {}", "x.hdr").wavelength_nm is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ENVI", "JPEG", "must begin with the word ENVI; it begins with 'JPEG'"),
        ("lines = 2\n", "", "`lines` must be a whole number of at least 1; got no such line"),
        ("lines = 2", "lines = 2\nLines = 2", "`lines` must be given once; it is given again as '2'"),
        ("lines = 2", "lines = -2", "`lines` must be a whole number of at least 1; got '-2'"),
        ("lines = 2", "lines = 0", "`lines` must be .* at least 1; got '0'"),
        ("lines = 2", "lines = 2.5", "got '2.5'"),
        ("lines = 2", "lines = " + "9" * 5000, "`lines` must be a whole number"),
        ("samples = 3\n", "", "`samples` must be .*; got no such line"),
        ("samples = 3", "samples = {3}\nsamples = 4", "`samples` must be given once"),
        ("bands = 4", "bands = -4", "`bands` must be .*; got '-4'"),
        ("data type = 12\n", "", "`data type` must be .*; got no such line"),
        ("data type = 12", "data type = 6", "`data type` must be one of 2, 4, 12; got 6"),
        ("byte order = 0", "byte order = 2", "`byte order` must be one of 0, 1; got 2"),
        ("header offset = 0", "header offset = -1", "`header offset` must be .* at least 0; got '-1'"),
        ("interleave = bil\n", "", "`interleave` must be bil, bip, bsq; got None"),
        ("interleave = bil", "interleave = tile", "`interleave` must be bil, bip, bsq; got 'tile'"),
        ("ENVI\n", "ENVI\nwavelength = {1, 2}\n", "`wavelength` must hold 4 values, one per band; it holds 2"),
        ("ENVI\n", "ENVI\nwavelength = {1, 2, x, 4}\n", "`wavelength` must hold numbers; .*'x'"),
        ("header offset = 0", "wavelength = {1, 2", "`wavelength` must end with a closing brace"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(old, new, message):
    assert old in PLAIN
    with pytest.raises(DataError, match=f"^x.hdr.*{message}"):
        parse_header(PLAIN.replace(old, new, 1), "x.hdr")


def test_any_damage_to_a_header_is_read_or_refused_but_nothing_else():
    rng = np.random.default_rng(11)
    whole = bytearray((PLAIN + "wavelength = {400, 500, 600, 700}\n").encode())
    for _ in range(500):
        text = bytearray(whole)
        for place in rng.integers(0, len(text), 3):
            text[place] = rng.integers(0, 256)
        try:
            header = parse_header(text[: rng.integers(1, len(text) + 1)].decode(errors="replace"), "x.hdr")
        except DataError:
            continue
        assert header.size_bytes > 0


@pytest.mark.parametrize("extra", [-1, 1, -48, 1000])
def test_a_binary_of_another_size_is_refused_with_both_sizes(tmp_path, extra):
    (tmp_path / "scan.hdr").write_text(PLAIN)
    (tmp_path / "scan.raw").write_bytes(bytes(48 + extra))
    with pytest.raises(DataError, match=rf"scan.raw must have 48 bytes \(2 lines x .*\); it has {48 + extra}\."):
        open_envi(tmp_path / "scan.hdr")


def test_an_enormous_size_is_refused_before_anything_is_allocated(tmp_path):
    (tmp_path / "scan.hdr").write_text(PLAIN.replace("= 2", "= " + "9" * 18).replace("= 3", "= " + "9" * 18))
    (tmp_path / "scan.raw").write_bytes(bytes(48))
    with pytest.raises(DataError, match="it has 48"):
        open_envi(tmp_path / "scan.hdr")


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, counts):
    file = store(tmp_path, counts, "bil", "<u2")
    os.truncate(file.data_path, file.header.size_bytes - 2)
    with pytest.raises(DataError, match="it has become shorter"):
        list(file.line_blocks(5))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.hdr; there is none"):
        open_envi(tmp_path / "none.hdr")
    (tmp_path / "scan.hdr").write_text(PLAIN)
    with pytest.raises(MissingFileError, match=r"must have its binary at .*scan\.raw; there is none"):
        open_envi(tmp_path / "scan.hdr")


def test_a_binary_given_as_header_is_refused(tmp_path):
    with (tmp_path / "scan.raw").open("wb") as sparse:
        sparse.truncate(5 << 20)
    with pytest.raises(DataError, match="is it the binary"):
        read_header(tmp_path / "scan.raw")


@pytest.mark.parametrize("kind", ["uint16", "int16", "float32"])
def test_spectral_python_opens_what_we_write(tmp_path, counts, kind):
    stored = counts.astype(kind)
    centres_nm = tuple(400.0 + 10.0 * band for band in range(31))
    write_envi(
        tmp_path / "capture" / "scan.hdr",
        [stored[:10], stored[10:]],
        wavelength_nm=centres_nm,
        fwhm_nm=[5.5] * 31,
        fields={"sensor type": "FX10, phantom", "tint": 8.25, "default bands": (19, 10, 4)},
    )
    seen = spectral.open_image(str(tmp_path / "capture" / "scan.hdr"))
    assert seen.shape == (24, 32, 31)
    np.testing.assert_array_equal(np.asarray(seen.open_memmap()), stored)
    assert tuple(seen.bands.centers) == centres_nm
    assert seen.bands.bandwidths == [5.5] * 31
    assert seen.metadata["default bands"] == ["19", "10", "4"]
    assert float(seen.metadata["tint"]) == 8.25
    assert seen.metadata["sensor type"] == "FX10, phantom"


@pytest.mark.parametrize("interleave", ["bil", "bip", "bsq"])
def test_we_open_what_spectral_python_writes(tmp_path, counts, interleave):
    centres = [f"{400 + 10 * band}.25" for band in range(31)]
    spectral.envi.save_image(
        str(tmp_path / "scan.hdr"), counts, ext=".raw", interleave=interleave, metadata={"wavelength": centres}
    )
    file = open_envi(tmp_path / "scan.hdr")
    np.testing.assert_array_equal(file.map_lines(), counts)
    assert file.header.wavelength_nm == tuple(float(centre) for centre in centres)


def test_what_is_written_is_read_back_with_every_digit(tmp_path, counts):
    centres_nm = tuple(397.0111 + 1.307579 * band for band in range(31))
    written = write_envi(tmp_path / "scan.hdr", [counts.astype(">u2")], wavelength_nm=centres_nm)
    file = open_envi(tmp_path / "scan.hdr")
    assert file.header == written
    assert file.header.wavelength_nm == pytest.approx(centres_nm, abs=1e-7)
    np.testing.assert_array_equal(file.map_lines(), counts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.hdr", "scan.raw"]


def test_blocks_that_do_not_fit_together_leave_nothing_behind(tmp_path, counts):
    with pytest.raises(ShapeError, match=r"one width, band count and type; got \(2, 31, 31\)"):
        write_envi(tmp_path / "scan.hdr", [counts, counts[:2, 1:]])
    with pytest.raises(DataError, match="int16, uint16 or float32 to be stored; got float64"):
        write_envi(tmp_path / "scan.hdr", [counts.astype(np.float64)])
    with pytest.raises(DataError, match="at least one line, sample and band"):
        write_envi(tmp_path / "scan.hdr", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"note": "a\nlines = 9"}, "must be one line without braces"), ({"Lines": 9}, "must be left to the writer")],
)
def test_a_field_cannot_change_what_the_header_says(tmp_path, counts, fields, message):
    with pytest.raises(DataError, match=message):
        write_envi(tmp_path / "scan.hdr", [counts], fields=fields)
    assert not (tmp_path / "scan.hdr").exists()


def test_a_mapped_file_keeps_its_values_when_its_pages_are_released(tmp_path, counts):
    mapped = store(tmp_path, counts, "bil", "<u2").map_lines()
    assert mapped.sum() == counts.sum()
    release_pages(mapped[3:])
    np.testing.assert_array_equal(mapped, counts)
    assert not mapped.flags.writeable


def test_an_array_that_can_be_written_keeps_what_was_written(tmp_path):
    (tmp_path / "scan.raw").write_bytes(bytes(8))
    private = np.memmap(tmp_path / "scan.raw", np.uint16, "c")
    private[:] = 5
    release_pages(private)
    assert private.tolist() == [5, 5, 5, 5]
    release_pages(np.ones(3))


@pytest.mark.realdata
@pytest.mark.skipif("HYPERSKIN_REALDATA" not in os.environ, reason="needs HYPERSKIN_REALDATA")
def test_a_recorders_own_header_is_read_with_its_data():
    file = open_envi(Path(os.environ["HYPERSKIN_REALDATA"]) / "headers" / "fenix_Radiometric_8x2_1x1.hdr")
    assert (file.header.lines, file.header.samples, file.header.bands) == (1, 384, 363)
    assert file.header.dtype == np.dtype("<f4")
    assert file.header.fields["tint2"] == "7.999200"
    assert file.header.wavelength_nm is not None
    assert len(file.header.wavelength_nm) == 363
    stored = np.fromfile(file.data_path, "<f4").reshape(363, 384)
    np.testing.assert_array_equal(next(file.line_blocks(1))[0], stored.T)


@pytest.mark.realdata
@pytest.mark.skipif("HYPERSKIN_REALDATA" not in os.environ, reason="needs HYPERSKIN_REALDATA")
def test_the_band_table_of_a_measured_capture_is_read():
    folder = Path(os.environ["HYPERSKIN_REALDATA"]) / "fx10"
    (path,) = (path for path in folder.glob("*/capture/*.hdr") if "REF" not in path.name)
    table = np.loadtxt(folder / "fx10_wavelengths_448.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(read_header(path).wavelength_nm, table[:, -1], atol=0.006)


def test_names_are_listed_in_braces_and_may_not_break_the_list(tmp_path, counts):
    header = write_envi(tmp_path / "a.hdr", [counts], fields={"band names": ["Blood (1)", "Water"]})
    assert header.fields["band names"] == "Blood (1), Water"
    for name in ("a, b", "a}", "a\nb"):
        with pytest.raises(DataError, match="'band names' must"):
            write_envi(tmp_path / "b.hdr", [counts], fields={"band names": [name]})
