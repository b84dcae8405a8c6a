"""`hyperskin init --source hyperskin` finds the archive, takes its folders for the split, and names the test set."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from PIL import Image

from hyperskin.commands.init import init
from hyperskin.errors import DataError, HyperSkinError, LeakageError, MissingFileError, ParamsError
from hyperskin.params import Params
from tests.sources.archive import INFRARED, POSES, SPLITS, VISIBLE, find_file, write_archive

EVERYONE = ("p001", "p002", "p003", "p012", "p016", "p030", "p035", "p036", "p039", "p040", "p041")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    caplog.set_level(logging.INFO)
    return tmp_path / "Hyper-Skin"


def test_the_archives_folders_give_split_test_set_and_pairs(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_archive(root)
    init(source="hyperskin", path=root)
    params = Params.read()
    assert (params.source.name, params.source.path) == ("hyperskin", str(root))
    assert (params.split.test_set, params.split.test, params.split.valid) == ("T24", SPLITS["test"], SPLITS["valid"])
    assert (params.split.test_fraction, params.split.valid_fraction) == (0, 0)
    assert (params.train.pairs, params.render.cameras, params.train.cameras) == (
        ("rgb_vis", "msi_nir"),
        ("cie",),
        ("cie",),
    )
    assert "test set T24, the archive as it is handed out since 2025: p002, p035, p036, p039" in caplog.text


def test_every_original_is_listed_with_its_hash_and_layout(root: Path) -> None:
    write_archive(root)
    init(source="hyperskin", path=root)
    listed = json.loads(Path("data/sources/p002.json").read_text())
    assert listed["layout"] == "release2025"
    files = listed["captures"]["p002_smile_left"]
    assert [file["name"] for file in files] == [
        "rgb_cie/p002_smile_left.jpg",
        "vis/p002_smile_left.mat",
        "msi_cie/p002_smile_left.mat",
        "nir/p002_smile_left.mat",
    ]
    assert {len(file["sha256"]) for file in files} == {64}
    assert files[1]["path"] == str(root / VISIBLE / "test" / "VIS" / "p002_smile_left.mat")


def test_one_domain_gives_its_own_pair(root: Path) -> None:
    write_archive(root, without=("rgb", "vis"))
    init(source="hyperskin", path=root)
    assert Params.read().train.pairs == ("msi_nir",)


def test_another_published_set_may_be_asked_for(root: Path) -> None:
    write_archive(root, splits={"train": (*EVERYONE[:1], *EVERYONE[2:4], *EVERYONE[5:6], *EVERYONE[10:]),
                                "valid": ("p016", "p040"), "test": SPLITS["test"]}, poses=POSES)  # fmt: skip
    init(source="hyperskin", path=root, test_set="T54")
    split = Params.read().split
    assert (split.test_set, split.test, split.valid) == ("T54", EVERYONE[:9], ("p040",))


def test_a_layout_without_valid_folder_gets_the_one_that_was_published(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_archive(root, "icassp2024", splits={"train": ("p001", "p016"), "test": SPLITS["test"]})
    init(source="hyperskin", path=root, test_set="T24")
    assert Params.read().split.valid == ("p016",)
    assert "of the subjects that choose the epoch beside it only p016 is published" in caplog.text


def test_own_subjects_are_held_out_as_named(root: Path) -> None:
    write_archive(root)
    init(source="hyperskin", path=root, test_set="own", test=("p001",), valid=("p004",))
    split = Params.read().split
    assert (split.test_set, split.test, split.valid) == ("own", ("p001",), ("p004",))
    init(source="hyperskin", path=root, test=("p016",), overwrite=True)
    assert (Params.read().split.test_set, Params.read().split.test) == ("own", ("p016",))


def test_a_part_of_the_test_folder_is_no_published_set(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_archive(root)
    for kind in ("RGB", "VIS", "MSI", "NIR"):
        find_file(root, kind, "p002_smile_left").unlink()
    init(source="hyperskin", path=root)
    assert Params.read().split.test_set == "own"
    assert "test set own: 23 captures of p002, p035, p036, p039, none of the published ones" in caplog.text


def test_given_masks_replace_those_of_the_archive(root: Path, tmp_path: Path) -> None:
    truths = write_archive(root, "icassp2024", splits={"train": ("p001", "p004"), "test": ("p002",)}, poses=POSES[:1])
    (tmp_path / "masks").mkdir()
    Image.fromarray(truths["p001_neutral_front"].mask).save(tmp_path / "masks" / "p001_neutral_front_skin.png")
    for masks, expected in ((None, {"p002": ["mask/p002_neutral_front.jpg"]}),
                            (tmp_path / "masks", {"p001": ["mask/p001_neutral_front_skin.png"]})):  # fmt: skip
        init(source="hyperskin", path=root, masks=masks, overwrite=True)
        found = {}
        for path in Path("data/sources").iterdir():
            (files,) = json.loads(path.read_text())["captures"].values()
            if names := [file["name"] for file in files if file["name"].startswith("mask/")]:
                found[path.stem] = names
        assert found == expected


def test_a_copy_that_was_completed_says_who_is_trained_on_though_the_folders_test_them(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_archive(root)
    away = root.parent / "away"
    for path in sorted(root.rglob("p036_*")):
        (away / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        path.rename(away / path.relative_to(root))
    init(source="hyperskin", path=root)
    init(rescan=True)
    assert "elsewhere" not in caplog.text
    shutil.copytree(away, root, dirs_exist_ok=True)
    init(rescan=True)
    assert "params.yaml puts subjects elsewhere than the archive's folders: p036 train (folder test)" in caplog.text


def test_a_subject_in_two_folders_is_a_leak_unless_one_says_who_is_tested(root: Path) -> None:
    write_archive(root, "icassp2024", splits={"train": ("p001", "p004", "p016"), "test": ("p002",)}, poses=POSES[:2])
    for path in sorted(root.rglob("p001_neutral_left*")):
        path.rename(str(path).replace("/train/", "/test/"))
    shutil.rmtree(root / INFRARED / "mask")
    with pytest.raises(LeakageError, match=r"p001 is in train and in test .*say who is tested with `--test-set`"):
        init(source="hyperskin", path=root)
    init(source="hyperskin", path=root, test_set="own", test=("p001",))
    assert Params.read().split.test == ("p001",)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": Path("nowhere")}, MissingFileError, "`--path` must be a folder with captures; got 'nowhere'"),
        ({"path": Path()}, DataError, "must be the archive's folder.*holds nothing"),
        ({"path": None}, ParamsError, "needs `--source` and `--path`"),
        ({"test_set": "T30"}, DataError, "T30 .* is p005 and 4 subjects that nobody published"),
        ({"test_set": "T54"}, DataError, r"T54 must be p001, .*; p003, p012, p030 are not there: copy the rest"),
        ({"test_set": "T24", "test": ("p001",)}, ParamsError, "`--test` must be left out: T24 says who is tested"),
        ({"source": "lumo", "test_set": "T24"}, ParamsError, "`--test-set` must be left out.*add `--source hyperskin`"),
        ({"test": ("p099",)}, DataError, "`--test` must name subjects of the source .*got 'p099'"),
    ],
)
def test_a_slip_is_told_and_nothing_is_written(
    root: Path, arguments: dict[str, object], error: type[HyperSkinError], message: str
) -> None:
    write_archive(root, splits={"train": ("p001", "p016"), "test": SPLITS["test"]}, poses=POSES[:1])
    with pytest.raises(error, match=message):
        init(**{"source": "hyperskin", "path": root, **arguments})  # type: ignore[arg-type]  # wrong on purpose
    assert not any(Path.cwd().iterdir())


def test_params_refuse_a_set_that_is_not_the_sources_or_unknown() -> None:
    text = Path(__file__).parent.parent.parent.joinpath("params.yaml").read_text()
    for name, message in (
        ("T24", "`split.test_set` T24 is one of the source 'hyperskin'.*write own"),
        ("T30", r"split\.test_set.*p005 and 4 subjects that nobody published"),
        ("T25", "the test set must be one of own, T24, T54, T30; got 'T25': write"),
    ):
        with pytest.raises(ParamsError, match=message):
            Params.parse_text(text.replace("test_set: own", f"test_set: {name}"), "params.yaml")
