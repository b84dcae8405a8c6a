"""What the stages refuse beyond their arithmetic, on toy scenes and without DVC."""

import sys
from pathlib import Path

import pytest
from PIL import Image

import hyperskin
from hyperskin.commands.init import init
from hyperskin.errors import DataError, LeakageError
from hyperskin.steps.acquire import acquire
from hyperskin.steps.calibrate import calibrate
from hyperskin.steps.captures import Stamp
from hyperskin.steps.manifest import manifest
from hyperskin.steps.mask import mask
from hyperskin.steps.render import render
from hyperskin.steps.split import split

sys.path.insert(0, str(Path(__file__).parent))
from conftest import write_mask, write_scene

PACKAGE = Path(hyperskin.__file__).parent
DATA = Path("data")
SCENES = ("bread_ms", "cloth_ms", "face_ms")


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    for seed, name in enumerate(SCENES):
        write_scene(tmp_path / "scenes", name, seed)
    write_mask(tmp_path / "masks", "face_ms_skin")
    init(source="cave", path=tmp_path / "scenes", masks=tmp_path / "masks", test=("face_ms",), valid=("bread_ms",))
    _edit("workers: 0", "workers: 1")
    _edit("hyperskin/spectral", str(PACKAGE / "spectral"))
    return tmp_path / "scenes"


def _edit(old: str, new: str) -> None:
    path = Path("params.yaml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _run_all() -> None:
    acquire(DATA / "sources", DATA / "raw")
    calibrate(DATA / "raw", DATA / "cubes")
    render(DATA / "raw", DATA / "cubes", DATA / "inputs")
    mask(DATA / "raw", DATA / "cubes", DATA / "masks")
    split(DATA / "sources", DATA / "split.json")
    manifest(DATA)


def test_a_scene_stored_anew_under_another_name_is_a_leak(scenes: Path) -> None:
    write_scene(scenes, "twin_ms", seed=SCENES.index("face_ms"))
    for band in (scenes / "twin_ms").rglob("*.png"):
        with Image.open(band) as picture:
            picture.save(band, compress_level=1)
    init(rescan=True)
    with pytest.raises(LeakageError, match=r"face_ms \(test\) and twin_ms \(train\)"):
        _run_all()
    assert not (DATA / "manifest.json").exists()


def test_a_split_that_lacks_a_subject_is_named(scenes: Path) -> None:
    _run_all()
    (DATA / "split.json").write_text('{"face_ms": "test", "bread_ms": "valid"}')
    with pytest.raises(DataError, match="must name every subject; it lacks 'cloth_ms'"):
        manifest(DATA)


def test_a_subject_without_cubes_is_named(scenes: Path) -> None:
    _run_all()
    (DATA / "cubes/cloth_ms/cloth_ms.json").unlink()
    with pytest.raises(DataError, match="must hold every subject of the split; it lacks 'cloth_ms'"):
        manifest(DATA)


def test_a_suffix_that_no_given_mask_has_is_refused(scenes: Path) -> None:
    _run_all()
    _edit('given_suffix: ""', 'given_suffix: "_skn"')
    with pytest.raises(DataError, match=r"none of 1 ends with '_skn', the first is 'face_ms_skin\.png'"):
        mask(DATA / "raw", DATA / "cubes", DATA / "masks")
    assert (DATA / "masks/face_ms/face_ms.png").exists()


def test_the_stamp_of_originals_names_their_source(scenes: Path) -> None:
    _run_all()
    for name in SCENES:
        stamp = Stamp.read(DATA / "raw", name, name)
        assert stamp is not None
        assert stamp.facts == {"source": "cave"}


def test_another_source_in_params_alone_makes_no_manifest(scenes: Path) -> None:
    _run_all()
    (DATA / "manifest.json").unlink()
    _edit("  name: cave ", "  name: phantom ")
    with pytest.raises(DataError, match=r"must come from the source 'phantom' .* it comes from 'cave'"):
        manifest(DATA)
    assert not (DATA / "manifest.json").exists()


def test_another_mask_leaves_the_cube_alone(scenes: Path) -> None:
    _run_all()
    cube = DATA / "cubes/face_ms/face_ms.h5"
    before = cube.stat().st_ino
    write_mask(scenes.parent / "masks", "face_ms_lips")
    init(rescan=True)
    _run_all()
    assert cube.stat().st_ino == before
