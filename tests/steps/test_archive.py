"""The archive goes through all stages, and what training reads of it is what the archive holds."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import hyperskin
from hyperskin.commands.init import init
from hyperskin.data.frames import read_frame, read_views
from hyperskin.data.manifest import Manifest
from hyperskin.errors import DataError, LeakageError
from hyperskin.pairs import PAIRS, find_pair
from hyperskin.params import Params
from hyperskin.steps.acquire import acquire
from hyperskin.steps.calibrate import calibrate
from hyperskin.steps.manifest import manifest
from hyperskin.steps.mask import mask
from hyperskin.steps.render import render
from hyperskin.steps.split import split
from tests.sources.archive import POSES, SPLITS, find_file, write_archive

PACKAGE = Path(hyperskin.__file__).parent
DATA = Path("data")
HALF_A_STEP = 0.51 / 28672  # of the stored numbers; float32 is exact to a hundredth of it
SMALL = {"train": ("p001",), "valid": ("p016",), "test": ("p002",)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "Hyper-Skin"


def _edit(*pairs: tuple[str, str]) -> None:
    path = Path("params.yaml")
    for old, new in pairs:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


def _init(root: Path, **choice: object) -> None:
    init(source="hyperskin", path=root, **choice)  # type: ignore[arg-type]  # passed on
    _edit(("workers: 0", "workers: 1"), ("hyperskin/spectral", str(PACKAGE / "spectral")))


def _run_all() -> Manifest:
    acquire(DATA / "sources", DATA / "raw")
    calibrate(DATA / "raw", DATA / "cubes")
    render(DATA / "raw", DATA / "cubes", DATA / "inputs")
    mask(DATA / "raw", DATA / "cubes", DATA / "masks")
    split(DATA / "sources", DATA / "split.json")
    manifest(DATA)
    return Manifest.read(DATA / "manifest.json")


@pytest.mark.parametrize(
    ("layout", "splits", "test_set"),
    [("release2025", SMALL, "own"), ("icassp2024", {**SMALL, "test": SPLITS["test"]}, "T24")],
)
def test_every_frame_of_every_pair_is_what_the_archive_holds(
    root: Path, layout: str, splits: dict[str, tuple[str, ...]], test_set: str
) -> None:
    truths = write_archive(root, layout, splits=splits)
    _init(root)
    made = _run_all()
    assert (made.test_set, made.source) == (test_set, "hyperskin")
    for part, subjects in splits.items():
        files = {pair: made.pair_files(part, find_pair(pair)) for pair in PAIRS}
        assert {file.capture.subject for file in files["rgb_vis"]} == set(subjects)
        for pair, file in ((name, one) for name in PAIRS for one in files[name][:: len(POSES) - 1]):
            truth = truths[file.capture.name]
            frame = read_frame(file, find_pair(pair), camera="cie")
            targets = {"rgb_vis": [truth.vis], "msi_nir": [truth.nir], "msi_visnir": [truth.vis, truth.nir[..., 1:]]}
            expected = np.concatenate(targets[pair], axis=2).clip(0, 1)
            np.testing.assert_allclose(frame.reference, expected, rtol=0, atol=HALF_A_STEP)
            given = truth.rgb / np.float32(255) if pair == "rgb_vis" else truth.msi
            np.testing.assert_allclose(frame.input, given, rtol=0, atol=1e-7 if pair == "rgb_vis" else HALF_A_STEP)
            assert frame.valid.all()
            if layout == "icassp2024" and part == "test":
                assert frame.mask is not None
                np.testing.assert_array_equal(frame.mask, truth.mask)
            else:
                assert frame.mask is None  # nothing in these pictures is skin


def test_the_manifest_says_where_everything_comes_from_and_what_was_found(root: Path) -> None:
    truths = write_archive(root, "icassp2024", splits=SMALL, poses=POSES[:2])
    _init(root)
    entry = _run_all().captures["p002_neutral_left"]
    assert (entry.split, entry.id.expression, entry.id.direction, entry.shape) == ("test", "neutral", "left", (24, 40))
    facts = entry.facts
    assert facts["layout"] == "icassp2024"
    assert facts["mask"]["origin"] == "given"
    assert facts["render"]["given"] == ["infrared_960", "msi_rgb/cie", "rgb/cie"]
    assert facts["render"]["notes"]["infrared_960_off_by"] == 0
    notes = facts["calibrate"]["notes"]
    assert notes["vis"]["clipped_count"] == np.count_nonzero(abs(truths["p002_neutral_left"].vis - 0.5) > 0.5)
    assert notes["vis_upright"] > 0.98
    totals = json.loads((DATA / "quality.json").read_text())
    assert (totals["masks_given"], totals["captures_without_mask"]) == (2, 4)
    assert (totals["captures"], totals["split"]) == (6, {"train": 2, "valid": 2, "test": 2})


def test_a_camera_that_the_archive_lacks_is_rendered_beside_those_it_gives(root: Path) -> None:
    truths = write_archive(root, splits=SMALL, poses=POSES[:1])
    _init(root)
    _edit(("cameras: [cie]", "cameras: [cie, nikon_5100_npl]"), ("encoding: jpeg", "encoding: lossless"))
    entry = _run_all().captures["p001_neutral_front"]
    with h5py.File(DATA / entry.inputs.path) as file:
        assert set(file["rgb"]) == {"cie", "nikon_5100_npl"}
        np.testing.assert_array_equal(file["rgb/cie"][...], truths["p001_neutral_front"].rgb)
    assert set(entry.facts["render"]["clipped"]) == {"nikon_5100_npl"}


def test_views_of_several_cameras_keep_the_msis_own_rgb_for_its_camera_alone(root: Path) -> None:
    truths = write_archive(root, splits=SMALL, poses=POSES[:1])
    _init(root)
    _edit(("cameras: [cie]  ", "cameras: [cie, nikon_5100_npl]  "))
    (file,) = _run_all().pair_files("test", find_pair("msi_nir"))
    own, other = (frame.input for frame in read_views(file, find_pair("msi_nir"), cameras=("cie", "nikon_5100_npl")))
    np.testing.assert_allclose(own, truths["p002_neutral_front"].msi, rtol=0, atol=HALF_A_STEP)
    np.testing.assert_array_equal(other, read_frame(file, find_pair("msi_nir"), camera="nikon_5100_npl").input)
    np.testing.assert_array_equal(other[..., 3], own[..., 3])
    np.testing.assert_allclose(255 * other[..., :3], np.rint(255 * other[..., :3]), atol=1e-4)


def test_the_infrared_domain_alone_gives_its_pair_and_renders_no_camera(root: Path) -> None:
    truths = write_archive(root, "mainpy2023", splits=SMALL, poses=POSES[:1])
    _init(root)
    made = _run_all()
    (file,) = made.pair_files("test", find_pair("msi_nir"))
    frame = read_frame(file, find_pair("msi_nir"), camera="cie")
    np.testing.assert_allclose(frame.input, truths["p002_neutral_front"].msi, rtol=0, atol=HALF_A_STEP)
    with pytest.raises(DataError, match=r"needs the cubes vis; the source 'hyperskin' gives nir: take it out"):
        made.pair_files("test", find_pair("rgb_vis"))
    _edit(("cameras: [cie]", "cameras: [cie, nikon_5100_npl]"))
    with pytest.raises(DataError, match=r"no visible cube to render others from; got nikon_5100_npl"):
        render(DATA / "raw", DATA / "cubes", DATA / "inputs")


def test_the_visible_domain_alone_gives_its_pair(root: Path) -> None:
    truths = write_archive(root, splits=SMALL, poses=POSES[:1], without=("msi", "nir"))
    _init(root)
    (file,) = _run_all().pair_files("test", find_pair("rgb_vis"))
    frame = read_frame(file, find_pair("rgb_vis"), camera="cie")
    np.testing.assert_allclose(frame.input, truths["p002_neutral_front"].rgb / np.float32(255), atol=1e-7)


def test_one_broken_capture_costs_no_other(root: Path) -> None:
    truths = write_archive(root, splits=SMALL, poses=POSES[:2])
    path = find_file(root, "VIS", "p001_neutral_front")
    with h5py.File(path, "r+") as file:
        file["cube"][3, 4, 5] = np.nan
    _init(root)
    with pytest.raises(DataError, match=r"1 of 6 captures failed \(p001_neutral_front\).*NaN or infinite"):
        _run_all()
    assert len(list((DATA / "cubes").glob("*/*.h5"))) == len(truths) - 1


def test_a_published_name_on_other_subjects_stops_the_split(root: Path) -> None:
    write_archive(root, splits=SMALL, poses=POSES[:1])
    _init(root)
    _edit(("test_set: own", "test_set: T24"))
    assert Params.read().split.test_set == "T24"
    with pytest.raises(LeakageError, match=r"T24 must be p002, p035, p036, p039; `split` tests on p002: call it `own`"):
        split(DATA / "sources", DATA / "split.json")
    assert not (DATA / "split.json").exists()


def test_other_masks_make_another_examination(root: Path, tmp_path: Path) -> None:
    write_archive(root, "icassp2024", splits=SMALL, poses=POSES[:1])
    _init(root)
    pair = find_pair("rgb_vis")
    first = _run_all().evaluation_fingerprint(pair, metrics={})
    masks = tmp_path / "masks"
    shutil.copytree(next(root.rglob("mask")) / "test", masks)
    _init(root, masks=masks, overwrite=True)
    assert _run_all().evaluation_fingerprint(pair, metrics={}) == first
    (given,) = masks.iterdir()
    Image.new("L", (40, 24), 255).save(given)
    _init(root, masks=masks, overwrite=True)
    assert _run_all().evaluation_fingerprint(pair, metrics={}) != first
