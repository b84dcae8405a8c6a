"""`hyperskin init` lists the originals, holds subjects out, and loses nobody's edits."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperskin.commands.choice import PROFILES, Choice
from hyperskin.commands.init import describe_counts, init
from hyperskin.data.split import assign_splits
from hyperskin.errors import DataError, HyperSkinError, MissingFileError, ParamsError
from hyperskin.params import Params, section_values
from hyperskin.sources.phantom import CAPTURES, counts_bytes
from hyperskin.steps.split import split

sys.path.insert(0, str(Path(__file__).parent.parent / "steps"))
from conftest import write_mask, write_scene

SCENES = ("apple_ms", "bread_ms", "cloth_ms", "face_ms")


def _rule(params: Params) -> dict[str, Any]:
    """Return what decides the split; the test set's name does not."""
    return {name: value for name, value in section_values(params.split).items() if name != "test_set"}


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


def test_nobody_else_can_enter_where_people_will_be(scenes: Path) -> None:
    for folder in (Path(".dvc"), Path("data"), Path("reports")):
        folder.mkdir(mode=0o755)
    init(source="cave", path=scenes)
    closed = [Path(name) for name in ("data", "reports", ".cache", ".dvc/cache")]
    assert [folder.stat().st_mode & 0o777 for folder in closed] == [0o700] * 4
    assert Path(".dvc").stat().st_mode & 0o777 == 0o755
    Path("data").chmod(0o755)
    init(rescan=True)
    assert Path("data").stat().st_mode & 0o777 == 0o700


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
    assigned = assign_splits(SCENES[1:], **_rule(Params.read()))
    assert sorted(assigned.values()) == ["test", "train", "valid"]


def test_a_single_scene_can_be_prepared_though_not_trained_on(scenes: Path, caplog: pytest.LogCaptureFixture) -> None:
    init(source="cave", path=scenes / "face_ms")
    assert "1 subject is too few to train" in caplog.text
    assert Path("data/sources/face_ms.json").is_file()


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile_is_read(scenes: Path, profile: str) -> None:
    init(source="cave", path=scenes, profile=profile)  # type: ignore[arg-type]  # parametrised over its values
    train = Params.read().train
    assert train.epochs is not None or train.seconds is not None


def test_edits_are_not_lost(scenes: Path) -> None:
    init(source="cave", path=scenes)
    edited = Path("params.yaml").read_text().replace("crop_px: 32", "crop_px: 24")
    Path("params.yaml").write_text(edited)
    with pytest.raises(ParamsError, match=r"may hold edits: `--overwrite` would lose `train\.crop_px: 24`; add it"):
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_said_is_the_phantom_for_a_demo(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    init()
    params = Params.read()
    assert (params.source.name, params.source.path) == ("phantom", "")
    assert params.train.pairs == ("rgb_vis", "msi_nir")
    assert params.mask.make
    assert params.phantom.captures == CAPTURES
    assert len(list(Path("data/sources").glob("p*.json"))) == params.phantom.subjects == 12
    for line in (
        "phantom: 12 subjects x 6 captures of 64 x 64 px listed in data/sources, seed 1",
        "to make: 72 captures, about 0.4 GB of counts",
        "params.yaml: profile demo",
        "next: make demo, or dvc repro",
    ):
        assert line in caplog.text


def test_one_is_told_as_one(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    init(subjects=1, captures=("smile_left",))
    assert "phantom: 1 subject x 1 capture of 64 x 64 px" in caplog.text
    assert "to make: 1 capture, about 6 MB of counts" in caplog.text
    init(subjects=6, captures=("smile_left",), overwrite=True)
    split(Path("data/sources"), Path("data/split.json"))
    assert "split: 4 subjects train, 1 subject valid, 1 subject test" in caplog.text


def test_the_repository_ships_the_captures_that_it_lists(folder: Path) -> None:
    init()
    shipped = Path(__file__).parent.parent.parent / "data/sources"
    assert {path.name: path.read_text() for path in shipped.iterdir()} == {
        path.name: path.read_text() for path in Path("data/sources").iterdir()
    }


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_profile_sizes_the_phantom_and_its_parts_know_light_and_dark(folder: Path, profile: str) -> None:
    init(profile=profile)  # type: ignore[arg-type]  # parametrised over its values
    params = Params.read()
    listed = [json.loads(path.read_text()) for path in sorted(Path("data/sources").iterdir())]
    types = {person["subject"]: next(iter(person["captures"].values()))["skin_type"] for person in listed}
    assert len(types) == PROFILES[profile].subjects
    assert params.phantom.height_px == params.phantom.width_px == PROFILES[profile].size_px
    held_out = {types[subject] for subject in (*params.split.test, *params.split.valid)}
    assert held_out == {"I", "II", "III", "IV", "V", "VI"}
    sides = assign_splits(types, **_rule(params))
    assert {types[subject] for subject, side in sides.items() if side == "train"} == held_out


def test_the_help_tells_what_every_profile_costs() -> None:
    told = " ".join((init.__doc__ or "").split())
    of_profiles = told.partition("A recipe says")[0]
    for name, profile in PROFILES.items():
        count = profile.subjects * len(CAPTURES)
        size_bytes = counts_bytes(
            height_px=profile.size_px, width_px=profile.size_px, reference_lines=profile.reference_lines
        )
        (line,) = (line for line in of_profiles.split(" - ") if line.startswith(f"{name}:"))
        assert describe_counts(count, count * size_bytes) in line
        assert str(profile.subjects) in told
        assert str(profile.size_px) in told


def test_the_study_takes_an_hour_or_two_and_has_seeds_lights_and_cameras(folder: Path) -> None:
    init(profile="study")
    params = Params.read()
    train = params.train
    assert set(train.models) == {"hscnn_plus", "hrnet", "mst_plus_plus", "basal"}
    assert (params.study.seeds, train.test_exposures, train.test_cameras) == ((1, 2, 3), (0.7, 0.5, 0.25), "all")
    assert (len(params.render.cameras), train.cameras) == (4, ("cie",))
    assert train.seed in params.study.seeds
    units = len(train.models) * len(train.pairs) * len(train.cameras) * len(params.study.seeds)
    assert train.seconds is not None
    assert 1 < units / train.slots * (train.seconds + 60) / 3600 < 1.8  # what is left is for data and costs


def test_a_study_at_the_size_of_the_paper_needs_no_other_parameters() -> None:
    params = Params.parse_text(Choice.bare("paper", "ours").fill(((), ())), "x")
    assert set(params.train.models) == {"hscnn_plus", "hrnet", "mst_plus_plus", "basal"}
    assert (params.study.seeds, params.train.test_exposures) == ((1, 2, 3), (0.7, 0.5, 0.25))


def test_given_pictures_are_those_of_the_archive_whatever_the_profile_renders() -> None:
    choice = replace(Choice.bare("study", "ours"), cameras=("iphone",))
    assert Params.parse_text(choice.fill(((), ())), "x").render.cameras == ("iphone",)


def test_the_phantom_is_as_one_says(folder: Path) -> None:
    init(profile="study", subjects=4, captures=("smile_left",), size=40, seed=9)
    params = Params.read()
    assert params.phantom.subjects == 4
    assert params.phantom.captures == ("smile_left",)
    assert (params.phantom.height_px, params.phantom.width_px, params.phantom.seed) == (40, 40, 9)
    assert params.train.crop_px == 40  # a crop of the profile's 48 px would not fit
    captures = json.loads(Path("data/sources/p004.json").read_text())["captures"]
    assert captures == {"p004_smile_left": {"seed": 9, "skin_type": "III"}}


def test_named_subjects_of_the_phantom_are_held_out(folder: Path) -> None:
    init(test=("p004", "p012"))
    split = Params.read().split
    assert split.test == ("p004", "p012")
    assert split.valid
    assert not set(split.valid) & set(split.test)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": Path()}, "`--path` must be left out: the phantom has no files"),
        ({"masks": Path()}, "`--masks` must be left out: the phantom has no files"),
        (
            {"source": "lumo", "subjects": 3},
            "`--subjects` must be left out: it sizes the phantom, and the source 'lumo'",
        ),
        ({"source": "cave", "size": 32}, "`--size` must be left out"),
        ({"source": "cave", "seed": 0}, "`--seed` must be left out"),
        ({"source": "cave", "captures": ("smile_left",)}, "`--captures` must be left out"),
        ({"source": "lumo"}, "needs `--source` and `--path`"),
        ({"rescan": True, "subjects": 3}, "`--subjects` must be left out: `--rescan` goes by params.yaml alone"),
        ({"subjects": 0}, "must have 1 to 999 subjects; got 0"),
        ({"captures": ("smile_up",)}, "`--captures` must be some of neutral_front neutral_left .*; got 'smile_up'"),
        ({"captures": ("smile_left,smile_up",)}, "with blanks between them; got 'smile_left,smile_up'"),
        ({"captures": ("smile_left", "smile_left")}, "`phantom.captures`: .*once; one stands twice"),
        ({"size": 8}, "`phantom.height_px`: .*got 8"),
        ({"seed": -1}, "`phantom.seed`: .*got -1"),
        ({"test": ("p013",)}, "`--test` must name subjects of the source .*got 'p013'"),
        ({"valid": ("p001,p002",)}, "`--valid` .*with blanks between them; got 'p001,p002'"),
    ],
)
def test_what_a_source_does_not_take_is_refused(folder: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(HyperSkinError, match=message):
        init(**arguments)  # type: ignore[arg-type]  # wrong on purpose
    assert not any(folder.iterdir())


def test_a_profile_that_nobody_edited_gives_way_and_an_edited_one_says_what_is_lost(folder: Path) -> None:
    init(profile="study")
    init()
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("crop_px: 32", "crop_px: 24").replace("loss: l1", "loss: mrae"))
    with pytest.raises(ParamsError, match=r'would lose `train\.crop_px: 24`, `train\.loss: "mrae"`; add it'):
        init(profile="paper")
    params.write_text("nonsense")
    with pytest.raises(ParamsError, match="would lose all that it holds"):
        init()
    init(overwrite=True)
    params.write_text(params.read_text() + "# mine\n")
    with pytest.raises(ParamsError, match="would lose comments or layout of yours"):
        init()


def test_a_rescan_goes_by_the_parameters_and_touches_nobody_else(folder: Path) -> None:
    init()
    before = {path.name: path.read_bytes() for path in Path("data/sources").iterdir()}
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("subjects: 12", "subjects: 14"))
    init(rescan=True)
    after = {path.name: path.read_bytes() for path in Path("data/sources").iterdir()}
    assert {name: content for name, content in after.items() if name in before} == before
    assert set(after) - set(before) == {"p013.json", "p014.json"}


def test_a_disk_without_room_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "hyperskin.commands.init.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 0, 7 * 10**9)
    )
    init()
    assert "this disk has room" not in caplog.text
    init(profile="paper")
    assert "this disk has room for 7.0 GB" in caplog.text
