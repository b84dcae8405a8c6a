"""`hyperskin init` lists the originals, holds subjects out, and loses nobody's edits."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from hyperskin.commands.init import PROFILES, init
from hyperskin.data.split import assign_splits
from hyperskin.errors import DataError, MissingFileError, ParamsError
from hyperskin.params import Params, section_values

sys.path.insert(0, str(Path(__file__).parent.parent / "steps"))
from conftest import write_mask, write_scene

SCENES = ("apple_ms", "bread_ms", "cloth_ms", "face_ms")


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate(SCENES):
        write_scene(tmp_path / "scenes", name, seed)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "scenes"


def test_it_writes_parameters_and_lists_every_file_with_its_hash(scenes: Path) -> None:
    init(source="cave", path=scenes, test=("face_ms",), valid=("bread_ms",))
    params = Params.read()
    assert (params.source.name, params.source.path) == ("cave", str(scenes))
    assert (params.split.test, params.split.valid) == (("face_ms",), ("bread_ms",))
    listed = json.loads(Path("data/sources/face_ms.json").read_text())
    files = listed["captures"]["face_ms"]
    assert len(files) == 31
    assert {len(file["sha256"]) for file in files} == {64}


def test_given_masks_travel_with_their_capture(scenes: Path, tmp_path: Path) -> None:
    write_mask(tmp_path / "masks", "face_ms_skin")
    write_mask(tmp_path / "masks", "face_ms_print")
    init(source="cave", path=scenes, masks=tmp_path / "masks")
    files = json.loads(Path("data/sources/face_ms.json").read_text())["captures"]["face_ms"]
    assert [file["name"] for file in files if file["name"].startswith("mask/")] == [
        "mask/face_ms_print.png",
        "mask/face_ms_skin.png",
    ]


def test_a_small_set_still_gets_all_three_parts(scenes: Path) -> None:
    shutil.rmtree(scenes / "apple_ms")
    init(source="cave", path=scenes)
    assigned = assign_splits(SCENES[1:], **section_values(Params.read().split))
    assert sorted(assigned.values()) == ["test", "train", "valid"]


def test_a_single_scene_can_be_prepared_though_not_trained_on(scenes: Path, caplog: pytest.LogCaptureFixture) -> None:
    init(source="cave", path=scenes / "face_ms")
    assert "1 subjects are too few to train" in caplog.text
    assert Path("data/sources/face_ms.json").is_file()


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile_is_read(scenes: Path, profile: str) -> None:
    init(source="cave", path=scenes, profile=profile)  # type: ignore[arg-type]  # parametrised over its values
    train = Params.read().train
    assert train.epochs is not None or train.seconds is not None


def test_edits_are_not_lost(scenes: Path) -> None:
    init(source="cave", path=scenes)
    edited = Path("params.yaml").read_text().replace("crop_px: 64", "crop_px: 32")
    Path("params.yaml").write_text(edited)
    with pytest.raises(ParamsError, match="may hold edits: add `--overwrite`"):
        init(source="cave", path=scenes)
    assert Path("params.yaml").read_text() == edited
    init(rescan=True)
    assert Path("params.yaml").read_text() == edited
    init(source="cave", path=scenes, overwrite=True)
    assert Path("params.yaml").read_text() != edited


def test_a_rescan_finds_what_came_and_went(scenes: Path) -> None:
    init(source="cave", path=scenes)
    write_scene(scenes, "extra_ms", 9)
    init(rescan=True)
    assert Path("data/sources/extra_ms.json").is_file()


def test_a_path_with_blanks_colons_and_braces_survives(scenes: Path, tmp_path: Path) -> None:
    odd = tmp_path / "Hyper-Skin(RGB, VIS): {a}"
    scenes.rename(odd)
    init(source="cave", path=odd)
    assert Params.read().source.path == str(odd)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": Path("nowhere")}, MissingFileError, "`--path` must be a folder with captures; got 'nowhere'"),
        ({"test": ("nobody",)}, DataError, "`--test` must name subjects of the source .*got 'nobody'"),
        ({"test": ("face_ms",), "valid": ("face_ms",)}, Exception, "face_ms"),
        ({"masks": Path("nowhere")}, MissingFileError, "`--masks` must be a folder with masks"),
        ({"path": None}, ParamsError, "needs `--source` and `--path`"),
    ],
)
def test_a_slip_is_told_and_nothing_is_written(
    scenes: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        init(**{"source": "cave", "path": scenes, **arguments})  # type: ignore[arg-type]  # wrong on purpose
    assert not any(Path.cwd().iterdir())


def test_an_empty_path_is_not_the_working_folder(scenes: Path) -> None:
    init(source="cave", path=scenes)
    params = Path("params.yaml")
    params.write_text(params.read_text().replace(f'"{scenes}"', '""'))
    with pytest.raises(ParamsError, match=r"`source\.path` must name the folder"):
        init(rescan=True)


def test_our_own_copies_are_no_originals(scenes: Path) -> None:
    shutil.copytree(scenes, "data/raw")
    with pytest.raises(DataError, match="Originals must lie outside"):
        init(source="cave", path=Path())
    assert not Path("params.yaml").exists()


@pytest.mark.parametrize(
    ("test", "valid", "left"),
    [(SCENES[:2], SCENES[2:], "none"), (SCENES[:3], (), SCENES[3]), ((), SCENES[:3], SCENES[3])],
)
def test_someone_must_be_left_for_each_part(
    scenes: Path, test: tuple[str, ...], valid: tuple[str, ...], left: str
) -> None:
    with pytest.raises(DataError, match=f"of 4 they leave {left}"):
        init(source="cave", path=scenes, test=test, valid=valid)


def test_a_path_that_holds_a_comment_mark_survives(scenes: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a  # b"
    scenes.rename(odd)
    init(source="cave", path=odd)
    assert Params.read().source.path == str(odd)
