"""`hyperskin skin-maps` writes its files and prints the medians; a slip is one sentence and exit code 1."""

import logging

import pytest

from hyperskin.cli import main
from hyperskin.commands.skin_maps import skin_maps
from hyperskin.errors import ConsentError, DataError
from tests.faces import make_repository, write_cube

NAME, SMILE, OTHER = "p004_neutral_front", "p004_smile_front", "p001_neutral_front"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("repository"), [NAME, SMILE, OTHER])


@pytest.fixture
def root(repository, monkeypatch):
    monkeypatch.chdir(repository)
    return repository


def test_a_capture_is_mapped_and_its_medians_are_printed(root, capsys, caplog):
    with caplog.at_level(logging.INFO, logger="hyperskin"):
        skin_maps(NAME)
    folder = root / "reports" / "skin" / NAME
    names = ["about.json", "inverse.npz", "maps.npz", "panel.png", "regions.csv"]
    assert sorted(path.name for path in folder.iterdir()) == names
    printed = capsys.readouterr().out.splitlines()
    headings = [cell.strip() for cell in printed[0].strip("| ").split("|")]
    assert headings == ["median", "unit", "face", "forehead", "right cheek", "left cheek", "nose", "chin"]
    assert len(printed) == 2 + 9
    assert (
        f"written to reports/skin/{NAME}: panel.png, regions.csv, maps.npz, inverse.npz, about.json" in caplog.messages
    )


def test_two_visits_go_where_they_are_asked_to(root, tmp_path):
    skin_maps(SMILE, against=NAME, out=tmp_path / "mine", format=("tiff",))
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert {"panel.png", "melanin_fraction.tif", f"change_since_{NAME}.csv", f"change_since_{NAME}.png"} <= names
    assert [name for name in names if name.endswith(".npz")] == ["inverse.npz"]


def test_a_stray_cube_stays_below_data(root, tmp_path):
    cube = write_cube(tmp_path / f"{NAME}_2.h5", NAME)
    skin_maps(str(cube), against=NAME)
    folder = root / "data" / "skin" / f"{NAME}_2"
    assert (folder / f"change_since_{NAME}.csv").is_file(), "p004 by its name, as the other is"


def test_what_changed_since_a_visit_that_may_not_be_shown_stays_below_data(root, tmp_path):
    cube = write_cube(tmp_path / f"{NAME}_3.h5", NAME)
    skin_maps(SMILE, against=str(cube))
    stem = f"change_since_{NAME}_3"
    kept = {path.name for path in (root / "data" / "skin" / SMILE).iterdir()}
    assert {"panel.png", "maps.npz", f"{stem}.png", f"{stem}.npz", f"{stem}.csv"} <= kept
    assert not [path for path in root.rglob(f"{stem}*") if not path.is_relative_to(root / "data")]
    with pytest.raises(ConsentError, match="Maps of p004, who is not in"):
        skin_maps(SMILE, against=str(cube), out=tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_another_file_of_the_same_name_does_not_replace_results(root, tmp_path):
    for folder in ("monday", "friday"):
        (tmp_path / folder).mkdir()
        write_cube(tmp_path / folder / "visit.h5", NAME)
    skin_maps(str(tmp_path / "monday" / "visit.h5"))
    kept = (root / "data" / "skin" / "visit" / "maps.npz").read_bytes()
    with pytest.raises(DataError, match=r"holds the maps of .*monday.*; those of .*friday.* must go elsewhere"):
        skin_maps(str(tmp_path / "friday" / "visit.h5"), method="beer_lambert")
    assert (root / "data" / "skin" / "visit" / "maps.npz").read_bytes() == kept


def test_visits_of_two_people_write_nothing(root):
    with pytest.raises(DataError, match="must be of one subject"):
        skin_maps(SMILE, against=OTHER, out=root / "two")
    assert not (root / "two").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nobody",), 1, "hyperskin: Skin maps need a cube file, a photo or a capture in data/manifest.json; 'nobody'"),
        ((NAME, "--against-mask", "m.png"), 1, "hyperskin: `--against-mask` must come with `--against`"),
        ((NAME, "--calibrate-photo", "a.png"), 1, "hyperskin: `--calibrate-photo` must come with `--calibrate`"),
        ((NAME, "--mask", "nowhere.png"), 1, "hyperskin: A picture must be at nowhere.png; there is none."),
        ((NAME, "--binning", "0"), 1, "hyperskin: `binning` must be 1 or more"),
        ((NAME, "--method", "magic"), 2, "inverse"),
        ((NAME, "--format", "jpeg"), 2, "tiff"),
    ],
)
def test_a_slip_is_one_sentence_and_an_exit_code(root, capsys, arguments, code, message):
    with pytest.raises(SystemExit) as ended:
        main(["skin-maps", *arguments])
    assert ended.value.code == code
    told = capsys.readouterr()
    assert message in told.err + told.out


def test_help_teaches(root, capsys):
    with pytest.raises(SystemExit):
        main(["skin-maps", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for words in ("NaN outside bare skin", "Oxygenation cannot be read from a photo", "Right and left are the subject"):
        assert words in told
