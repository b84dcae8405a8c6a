"""`acquire` draws the phantom: what is new or changed, and nothing that params.yaml and data/sources dispute."""

from pathlib import Path

import pytest

from hyperskin.atomic import file_sha256
from hyperskin.bands import FX10
from hyperskin.commands.init import init
from hyperskin.data.capture import CaptureId
from hyperskin.errors import DataError
from hyperskin.sources.phantom import Phantom, counts_bytes
from hyperskin.steps.acquire import acquire
from hyperskin.steps.calibrate import calibrate
from hyperskin.steps.captures import Stamp

SOURCES, RAW, CUBES = Path("data/sources"), Path("data/raw"), Path("data/cubes")
NAMES = ("p001_neutral_front", "p002_neutral_front")


@pytest.fixture
def phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people in one capture each, 24 lines of 32 px."""
    monkeypatch.chdir(tmp_path)
    init(subjects=2, captures=("neutral_front",), size=24)
    _edit("width_px: 24", "width_px: 32")
    _edit("reference_lines: 20", "reference_lines: 4")
    _edit("workers: 0", "workers: 1")


def _edit(old: str, new: str) -> None:
    path = Path("params.yaml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _acquire() -> dict[str, int]:
    """Draw what is to be drawn; return when each capture was."""
    acquire(SOURCES, RAW)
    return {path.stem: path.stat().st_mtime_ns for path in sorted(RAW.glob("*/*.json"))}


def test_a_capture_is_drawn_as_a_recorder_writes_it_with_its_truth_beside(phantom: None) -> None:
    _acquire()
    folder = RAW / "p001" / NAMES[0]
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *(f"capture/{prefix}{NAMES[0]}.{kind}" for prefix in ("", "DARKREF_", "WHITEREF_") for kind in ("raw", "hdr")),
        "truth/cubes.h5",
        "truth/maps.h5",
    }
    raw = Phantom().open_raw(folder, CaptureId.parse(NAMES[0]))
    assert (raw.height, raw.width, len(raw.bands)) == (24, 32, len(FX10))
    assert sum(path.stat().st_size for path in folder.rglob("*.raw")) == counts_bytes(
        height_px=24, width_px=32, reference_lines=4
    )
    stamp = Stamp.read(RAW, "p001", NAMES[0])
    assert stamp is not None
    assert stamp.facts == {"source": "phantom", "skin_type": "II"}


def test_a_second_call_draws_nothing_and_a_lost_file_comes_back_the_same(phantom: None) -> None:
    first = _acquire()
    assert _acquire() == first
    lost = RAW / "p002" / NAMES[1] / "capture" / f"{NAMES[1]}.raw"
    before = file_sha256(lost)
    lost.unlink()
    after = _acquire()
    assert {name for name in NAMES if after[name] != first[name]} == {NAMES[1]}
    assert file_sha256(lost) == before


def test_another_subject_is_drawn_and_the_others_are_kept(phantom: None) -> None:
    first = _acquire()
    listed = {path.name: path.read_bytes() for path in SOURCES.iterdir()}
    _edit("subjects: 2", "subjects: 3")
    with pytest.raises(DataError, match=r"must list the 3 captures .* p003_neutral_front differs: run `hyperskin init"):
        acquire(SOURCES, RAW)
    init(rescan=True)
    assert {path.name: path.read_bytes() for path in SOURCES.iterdir() if path.name in listed} == listed
    after = _acquire()
    assert {name: after[name] for name in NAMES} == first
    assert set(after) - set(first) == {"p003_neutral_front"}


@pytest.mark.parametrize(
    ("old", "new"),
    [("  seed: 1  ", "  seed: 2  "), ("[neutral_front]", "[smile_front]"), ("subjects: 2", "subjects: 1")],
)
def test_a_list_of_other_captures_than_params_describe_is_refused(phantom: None, old: str, new: str) -> None:
    _edit(old, new)
    with pytest.raises(DataError, match=r"`phantom` of params\.yaml describes; .* run `hyperskin init --rescan`"):
        acquire(SOURCES, RAW)


def test_less_noise_makes_other_captures(phantom: None) -> None:
    first = _acquire()
    counts = RAW / "p001" / NAMES[0] / "capture" / f"{NAMES[0]}.raw"
    before = file_sha256(counts)
    _edit("noise: 1.0", "noise: 0.5")
    after = _acquire()
    assert all(after[name] != first[name] for name in NAMES)
    assert file_sha256(counts) != before


def test_the_truth_is_no_original_of_a_cube(phantom: None) -> None:
    _acquire()
    calibrate(RAW, CUBES)
    first = {path.stem: path.stat().st_mtime_ns for path in CUBES.glob("*/*.h5")}
    stamp = Stamp.read(RAW, "p001", NAMES[0])
    assert stamp is not None
    truth = {name: "0" * 64 if "/truth/" in name else sha256 for name, sha256 in stamp.files.items()}
    assert truth != stamp.files
    Stamp.path(RAW, "p001", NAMES[0]).write_text(
        f'{{"key": "{stamp.key}", "files": {str(truth).replace(chr(39), chr(34))}, "facts": {{}}}}'
    )
    calibrate(RAW, CUBES)
    assert {path.stem: path.stat().st_mtime_ns for path in CUBES.glob("*/*.h5")} == first
