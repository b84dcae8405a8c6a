from __future__ import annotations

import contextlib
import errno
import re
import resource
import subprocess
import sys
import threading
import tracemalloc
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from spectral.io import envi
from spectral.io.bilfile import BilFile

from hyperskin.atomic import file_sha256
from hyperskin.bands import FX10, NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader, CubeWriter
from hyperskin.data.truth import PANEL, read_truth_maps
from hyperskin.envi import open_envi
from hyperskin.errors import DataError, MissingFileError, ShapeError
from hyperskin.phantom.capture import write_capture, write_scene
from hyperskin.phantom.recipe import Recipe
from hyperskin.phantom.sensor import Sensor, panel_reflectance
from hyperskin.sources.lumo import Lumo
from hyperskin.spectral.develop import develop

CAPTURE = CaptureId.parse("p001_neutral_front")
RECIPE = Recipe(seed=5, skin_type="II", height_px=24, width_px=32, reference_lines=6)
NAMES = ("background", "skin", "lips")
FILES = [
    f"capture/{prefix}p001_neutral_front.{suffix}"
    for prefix in ("DARKREF_", "WHITEREF_", "")
    for suffix in ("raw", "hdr")
] + ["truth/cubes.h5", "truth/maps.h5"]
CENTRES_NM = FX10.centres_nm()
IS_JUDGED = (CENTRES_NM >= 430) & (CENTRES_NM <= 950)


@dataclass
class Lines:
    reflectance: npt.NDArray[np.float32]
    vis: npt.NDArray[np.float32]
    nir: npt.NDArray[np.float32]
    maps: dict[str, npt.NDArray[np.float32]]
    labels: npt.NDArray[np.uint8]


def skin(nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A spectrum with the level and the slopes of light skin."""
    return np.asarray(0.22 + 0.3 / (1 + np.exp(-(nm - 590) / 15)) - 0.15 * np.exp(-(((nm - 970) / 40) ** 2)))


@dataclass
class Card:
    """A card of one spectrum before the sensor, brighter towards the bottom by `slope` a line."""

    height: int = 24
    width: int = 32
    slope: float = 0.001
    level: float = 1.0
    fails_at: int | None = None

    def lines(self, first: int, count: int) -> Lines:
        if self.fails_at is not None and first + count > self.fails_at:
            raise ArithmeticError("the light went out")
        row = np.arange(first, first + count)[:, np.newaxis]
        level = np.broadcast_to(self.level + self.slope * row, (count, self.width))[..., np.newaxis]
        paint = [(level * skin(nm)).astype(np.float32) for nm in (CENTRES_NM, VIS.centres_nm(), NIR.centres_nm())]
        share = np.full((count, self.width), 0.5, np.float32)
        share[:, 0] = np.nan
        labels = np.broadcast_to(row % 3, share.shape).astype(np.uint8)
        return Lines(*paint, {"skin_share": share, "shading": level[..., 0].astype(np.float32)}, labels)


def write(folder: Path, scene: Card | None = None, *, recipe: Recipe = RECIPE, capture=CAPTURE, **options) -> list[str]:
    return write_scene(folder, capture, recipe, scene or Card(), label_names=NAMES, **options)


def hashes(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in FILES}


def developed(folder: Path, capture: CaptureId = CAPTURE):
    """The capture through our own source and calibration: all bands, validity, and the report."""
    raw = Lumo().open_raw(folder, capture)
    run = develop(
        raw.line_blocks,
        raw.white_lines,
        raw.dark_lines,
        raw.bands,
        {"vis": VIS, "nir": NIR},
        kind="linear",
        full_scale=raw.full_scale,
        keep_full=True,
    )
    blocks = list(run)
    full = np.concatenate([block.full for block in blocks])
    valid = np.concatenate([block.valid for block in blocks])
    cubes = {name: np.concatenate([block.cubes[name] for block in blocks]) for name in ("vis", "nir")}
    return full, valid, cubes, run


def test_a_capture_is_the_recorders_six_files_and_two_of_truth(tmp_path):
    assert write(tmp_path) == FILES
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        FILES
    )
    (found,) = Lumo().find(tmp_path)
    assert found.capture == CAPTURE


def test_counts_come_back_as_the_sensor_gave_them(tmp_path):
    write(tmp_path)
    sensor = Sensor(32, seed=5)
    expected = {
        "": sensor.expose(Card().lines(0, 24).reflectance, CAPTURE.name),
        "DARKREF_": sensor.dark_lines(6, CAPTURE.name),
        "WHITEREF_": sensor.white_lines(6, CAPTURE.name),
    }
    for prefix, counts in expected.items():
        file = open_envi(tmp_path / "capture" / f"{prefix}{CAPTURE.name}.hdr")
        np.testing.assert_array_equal(file.map_lines(), counts)
        assert file.header.interleave == "bil"
        assert file.header.dtype == np.dtype("<u2")
        np.testing.assert_allclose(file.header.wavelength_nm, CENTRES_NM, atol=1e-6)
        assert {"tint", "fps", "fwhm", "sensor type"} <= file.header.fields.keys()
        assert "Simulated" in file.header.fields["description"]


def test_the_default_bands_count_from_one(tmp_path):
    write(tmp_path)
    fields = open_envi(tmp_path / "capture" / f"{CAPTURE.name}.hdr").header.fields
    shown = CENTRES_NM[[int(number) - 1 for number in fields["default bands"].split(",")]]
    np.testing.assert_allclose(shown, (640, 550, 460), atol=0.7)


@pytest.mark.parametrize("prefix", ["", "DARKREF_", "WHITEREF_"])
def test_spectral_python_reads_the_same(tmp_path, prefix):
    write(tmp_path)
    path = tmp_path / "capture" / f"{prefix}{CAPTURE.name}.hdr"
    image = envi.open(str(path), str(path.with_suffix(".raw")))
    assert isinstance(image, BilFile)
    np.testing.assert_array_equal(np.asarray(image.open_memmap()), open_envi(path).map_lines())
    np.testing.assert_allclose(image.bands.centers, CENTRES_NM, atol=1e-6)
    np.testing.assert_allclose(image.bands.bandwidths, np.gradient(CENTRES_NM), atol=1e-4)


def test_our_source_opens_it(tmp_path):
    write(tmp_path)
    raw = Lumo().open_raw(tmp_path, CAPTURE)
    assert (raw.height, raw.width, len(raw.bands), raw.full_scale) == (24, 32, 448, 4095)
    assert raw.white_lines.shape == raw.dark_lines.shape == (6, 32, 448)


def test_the_truth_is_the_scene_without_noise(tmp_path):
    write(tmp_path)
    lines = Card().lines(0, 24)
    with CubeReader(tmp_path / "truth/cubes.h5") as cubes:
        assert cubes.header.bands == {"vis": VIS, "nir": NIR}
        np.testing.assert_allclose(cubes.read("vis"), lines.vis, atol=2e-5)
        np.testing.assert_allclose(cubes.read("nir"), lines.nir, atol=2e-5)
        assert cubes.read_valid().all()
        assert "noise-free" in cubes.header.attributes["content"]
        panel = cubes.header.attributes[PANEL]
    np.testing.assert_allclose(panel["vis"], panel_reflectance(VIS.centres_nm()), atol=1e-6)
    np.testing.assert_allclose(panel["nir"], panel_reflectance(NIR.centres_nm()), atol=1e-6)
    truth = read_truth_maps(tmp_path / "truth/maps.h5")
    np.testing.assert_array_equal(truth.labels, lines.labels)
    assert truth.labels.dtype == np.uint8
    assert truth.names == NAMES
    assert sorted(truth.maps) == ["shading", "skin_share"]
    for name, expected in lines.maps.items():
        np.testing.assert_array_equal(truth.maps[name], expected)
        assert truth.maps[name].dtype == np.float32
    with h5py.File(tmp_path / "truth/maps.h5") as file:
        assert (file["skin_share"].attrs["unit"], file["shading"].attrs["unit"]) == ("share of the pixel", "1")


@pytest.mark.parametrize(("height", "width"), [(24, 32), (150, 330)])
def test_every_run_writes_the_same_bytes_whatever_is_held_at_once(tmp_path, height, width):
    for folder, block_lines in (("a", 16), ("b", 16), ("c", 7), ("d", 1000)):
        write(tmp_path / folder, Card(height, width), block_lines=block_lines)
        assert hashes(tmp_path / folder) == hashes(tmp_path / "a"), block_lines


@contextlib.contextmanager
def a_profiler():
    """Look at what the main thread does, as often as can be, and hold what was seen for a while."""
    end, seen, main = threading.Event(), deque(maxlen=50), threading.get_ident()

    def look():
        while not end.wait(2e-4):
            frame = sys._current_frames()[main]
            seen.append([frame := frame.f_back or frame for _ in range(12)])

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        sys.setswitchinterval(interval_s)


def test_a_profiler_that_holds_our_frames_does_not_change_a_byte(tmp_path):
    write(tmp_path / "a", Card(96, 96))
    with a_profiler():
        for number in range(8):
            write(tmp_path / str(number), Card(96, 96))
            assert hashes(tmp_path / str(number)) == hashes(tmp_path / "a")


def test_another_seed_or_capture_gives_other_counts_of_the_same_truth(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", recipe=replace(RECIPE, seed=6))
    first, second = hashes(tmp_path / "a"), hashes(tmp_path / "b")
    assert {name for name in FILES if first[name] == second[name]} == {
        name for name in FILES if name.endswith((".hdr", ".h5"))
    }
    other = CaptureId.parse("p001_neutral_left")
    write(tmp_path / "c", capture=other)
    counts = [
        open_envi(tmp_path / folder / "capture" / f"DARKREF_{capture.name}.hdr").map_lines()
        for folder, capture in (("a", CAPTURE), ("c", other))
    ]
    assert np.mean(counts[0] != counts[1]) > 0.5


@pytest.mark.parametrize("fails_at", [1, 20])
def test_a_failure_leaves_nothing_even_of_an_older_capture(tmp_path, fails_at):
    write(tmp_path)
    with pytest.raises(ArithmeticError, match="the light went out"):
        write(tmp_path, Card(fails_at=fails_at), block_lines=8)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def left_behind(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("height", "width"), [(24, 32), (70, 130)])
def test_a_disk_without_room_for_all_of_a_capture_is_refused_at_once(tmp_path, monkeypatch, height, width):
    write(tmp_path / "measured", Card(height, width))
    needed = sum((tmp_path / "measured" / name).stat().st_size for name in FILES)
    monkeypatch.setattr(Sensor, "dark_lines", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=needed))
    with pytest.raises(DataError, match=rf"capture needs \d+ bytes; its disk has {needed} left: make room\."):
        write(tmp_path / "refused", Card(height, width))
    assert left_behind(tmp_path / "refused") == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Can't decrement id ref count (file write failed: time = Thu\n, errno = 28)"),
    ],
)
def test_a_disk_that_fills_on_the_way_is_one_sentence(tmp_path, monkeypatch, error):
    """HDF5 raises the one or the other, and names no file."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(CubeWriter, "close", fail)
    reason = re.escape(str(error).replace("\n", " "))
    text = rf"{tmp_path} must take the files of p001_neutral_front; they cannot be written \({reason}\)"
    with pytest.raises(DataError, match=text):
        write(tmp_path)
    assert left_behind(tmp_path) == []


def test_a_file_that_may_not_grow_is_one_sentence(tmp_path):
    largest, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(DataError, match=r"must take the files of p001_neutral_front; .*File too large"):
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    assert left_behind(tmp_path) == []


def test_an_old_capture_is_taken_away_before_the_new_one_comes(tmp_path, monkeypatch):
    """Whoever is killed on the way must not leave old counts beside new references."""
    write(tmp_path)
    seen = []

    def look(self: Sensor, *_: object) -> npt.NDArray[np.uint16]:
        seen.extend(path for path in tmp_path.rglob("*.hdr"))
        raise KeyboardInterrupt

    monkeypatch.setattr(Sensor, "dark_lines", look)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert seen == []


def test_lines_that_do_not_fit_are_refused(tmp_path):
    class Odd(Card):
        def lines(self, first: int, count: int) -> Lines:
            block = super().lines(first, count)
            if first > 0:
                block.maps.pop("shading")
            return block

    with pytest.raises(ShapeError, match="must have the maps labels, shading, skin_share; got labels, skin_share"):
        write(tmp_path, Odd())
    with pytest.raises(DataError, match="Labels must lie below 2; got 2"):
        write_scene(tmp_path, CAPTURE, RECIPE, Card(), label_names=NAMES[:2])


def test_maps_that_are_none_are_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(MissingFileError):
        read_truth_maps(tmp_path / "truth/other.h5")
    with pytest.raises(DataError, match="must hold labels and maps"):
        read_truth_maps(tmp_path / "truth/cubes.h5")


def test_a_capture_without_noise_develops_to_the_truth(tmp_path):
    write(tmp_path, recipe=replace(RECIPE, noise=0.0))
    full, valid, _, run = developed(tmp_path)
    expected = Card().lines(0, 24).reflectance / panel_reflectance(CENTRES_NM)
    middle = slice(12, 20)  # where the smile moves nothing
    assert np.abs(full - expected)[:, middle][..., IS_JUDGED].max() < 0.008  # half a count of 159 or more twice
    assert valid.all()
    np.testing.assert_array_equal(run.detector.bad, Sensor(32, seed=5).bad)


def test_noise_and_bias_of_developed_captures_are_those_predicted(tmp_path):
    """Flat skin on 64 x 64 px, six captures by one instrument."""
    recipe = Recipe(seed=1, skin_type="II", height_px=64, width_px=64)
    sensor, truth = Sensor(64, seed=1), skin(CENTRES_NM)
    bias, squares = [], []
    for name in ("neutral_front", "neutral_left", "neutral_right", "smile_front", "smile_left", "smile_right"):
        capture = CaptureId.parse(f"p001_{name}")
        write(tmp_path, Card(64, 64, slope=0), recipe=recipe, capture=capture)
        full, valid, _, _ = developed(tmp_path, capture)
        assert valid.all()
        error = full - truth / panel_reflectance(CENTRES_NM)
        assert np.abs(error[..., CENTRES_NM > 450]).max() < 0.1  # so that bad elements are repaired
        bias.append(error.mean(axis=(0, 1)))
        squares.append(((error - bias[-1]) ** 2)[:, 24:40].mean(axis=(0, 1)))  # the middle: no smile there
    predicted = sensor.noise_sd(truth, reference_lines=20)[24:40]
    ratio = np.sqrt(np.mean(squares, axis=0)) / np.sqrt(np.nanmean(predicted**2, axis=0))
    assert np.abs(ratio[IS_JUDGED] - 1).max() < 0.15
    assert np.abs(np.mean(bias, axis=0)[IS_JUDGED]).max() < 0.004


def test_a_highlight_saturates_and_is_not_trusted(tmp_path):
    class Shiny(Card):
        def lines(self, first: int, count: int) -> Lines:
            block = super().lines(first, count)
            block.reflectance[:, 10:14] += 3.0
            return block

    write(tmp_path, Shiny())
    counts = open_envi(tmp_path / "capture" / f"{CAPTURE.name}.hdr").map_lines()
    assert (counts[:, 11:13].max(axis=2) == 4095).all()
    _, valid, _, run = developed(tmp_path)
    assert not valid[:, 10:14].any()
    assert valid[:, :9].all()
    assert run.counts()["saturated"] >= 4 * 24


def test_memory_does_not_grow_with_the_lines(tmp_path):
    peaks = []
    for height in (256, 1024):
        tracemalloc.start()
        write(tmp_path, Card(height, 64, slope=0.0), recipe=replace(RECIPE, width_px=64))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.slow
def test_resident_memory_does_not_grow_with_the_lines(tmp_path):
    peaks = []
    for height in (256, 1024):
        program = (
            "import resource, sys; from pathlib import Path\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from test_capture import Card, RECIPE, replace, write\n"
            f"write(Path({str(tmp_path)!r}), Card({height}, 64, slope=0.0), recipe=replace(RECIPE, width_px=64))\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        peaks.append(1024 * int(run.stdout))
    more_counts_bytes = (1024 - 256) * 64 * 448 * 2
    assert peaks[1] - peaks[0] < more_counts_bytes / 3


def test_a_made_up_person_is_scanned(tmp_path):
    recipe = Recipe(seed=5, skin_type="IV", height_px=32, width_px=24, reference_lines=20)
    assert write_capture(tmp_path / "a", CAPTURE, recipe) == FILES
    write_capture(tmp_path / "b", CAPTURE, recipe)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    full, valid, cubes, _ = developed(tmp_path / "a")
    truth = read_truth_maps(tmp_path / "a" / "truth/maps.h5")
    assert full.shape == (32, 24, 448)
    assert {"background", "skin", "hair"} <= {truth.names[label] for label in np.unique(truth.labels)}
    with CubeReader(tmp_path / "a" / "truth/cubes.h5") as reader:
        for name, first in (("vis", 5), ("nir", 0)):  # the first bands are noise
            expected = reader.read(name) / np.asarray(reader.header.attributes[PANEL][name])
            error = (cubes[name] - expected)[valid][:, first:]
            assert np.abs(np.median(error, axis=0)).max() < 0.006
            assert np.sqrt(np.median(error**2, axis=0)).max() < 0.02
