from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hyperskin.errors import ConsentError, DataError, ShapeError
from hyperskin.pictures import colour_map, keep_picture, require_consent, save_figure, save_mask, save_picture

H, W = 24, 32


def _face() -> np.ndarray:
    return np.random.default_rng(0).random((H, W, 3), dtype=np.float32)


def _picture_figure() -> Figure:
    figure = Figure()
    figure.subplots().imshow(_face())
    return figure


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_picture_of_a_consenting_subject_is_written_with_its_subjects_and_run(tmp_path):
    path = tmp_path / "face.png"
    save_picture(_face(), subjects=["p012", "p003"], publishable={"p003", "p012"}, path=path, run_id="r1")
    with Image.open(path) as picture:
        assert picture.size == (W, H)
        assert picture.text == {"Software": "hyperskin", "Subjects": "p003 p012", "Run": "r1"}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("picture", [_face(), np.ones((H, W), bool), np.zeros((H, W), np.uint8), _picture_figure()])
def test_picture_of_anyone_else_is_refused_and_nothing_is_written(tmp_path, picture):
    with pytest.raises(ConsentError, match="p004 not among them"):
        save_picture(picture, subjects=["p003", "p004"], publishable=["p003"], path=tmp_path / "face.png")
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_publishable_by_default():
    with pytest.raises(ConsentError, match="p003"):
        require_consent(["p003"], [])


@pytest.mark.parametrize("picture", [_face(), _picture_figure()])
def test_picture_without_consent_is_kept_among_the_data_alone(tmp_path, picture):
    data = tmp_path / "data"
    keep_picture(picture, subjects=["p004"], path=data / "skin" / "face.png", data=data)
    with Image.open(data / "skin" / "face.png") as kept:
        assert (kept.text["Subjects"], kept.text["Consent"]) == ("p004", "none")
    (data / "way_out").symlink_to(tmp_path)
    for path in (tmp_path / "face.png", data / ".." / "face.png", data / "way_out" / "face.png"):
        with pytest.raises(ConsentError, match="must stay below"):
            keep_picture(picture, subjects=["p004"], path=path, data=data)
    assert not list(tmp_path.glob("*.png"))
    with pytest.raises(ConsentError, match="everyone it shows"):
        keep_picture(picture, subjects=[], path=data / "face.png", data=data)


@pytest.mark.parametrize("subjects", [[], (), "p003"])
def test_picture_that_names_nobody_is_refused(subjects):
    with pytest.raises(ConsentError, match="everyone it shows"):
        require_consent(subjects, ["p003", "p", "0", "3"])


def test_floats_are_clipped_and_scaled_to_eight_bits(tmp_path):
    save_picture(
        np.array([[-1.0, 0.0, 0.5, 1.0, 7.0, np.nan]]), subjects=["p1"], publishable=["p1"], path=tmp_path / "a.png"
    )
    assert _read(tmp_path / "a.png").tolist() == [[0, 0, 128, 255, 255, 128]]


def test_bytes_are_written_as_they_are(tmp_path):
    picture = np.arange(H * W, dtype=np.uint32).reshape(H, W).astype(np.uint8)
    save_picture(picture, subjects=["p1"], publishable=["p1"], path=tmp_path / "a.png")
    assert np.array_equal(_read(tmp_path / "a.png"), picture)


def test_curves_as_svg_are_the_same_bytes_every_time_and_a_picture_is_refused(tmp_path):
    for name in ("a.svg", "b.svg"):
        figure = Figure()
        figure.subplots().plot([0, 1], [1, 0], label="one")
        figure.legend()
        save_figure(figure, path=tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"dc:date" not in (tmp_path / "a.svg").read_bytes()
    with pytest.raises(ConsentError, match="must name its subjects"):
        save_figure(_picture_figure(), path=tmp_path / "c.svg")
    assert not (tmp_path / "c.svg").exists()


def test_mask_is_written_black_and_white(tmp_path):
    save_picture(np.array([[True, False]]), subjects=["p1"], publishable=["p1"], path=tmp_path / "a.png")
    assert _read(tmp_path / "a.png").tolist() == [[255, 0]]


def test_mask_kept_as_data_is_the_same_file_every_time(tmp_path):
    mask = np.random.default_rng(2).random((H, W)) > 0.5
    save_mask(mask, tmp_path / "a.png")
    save_mask(mask, tmp_path / "b.png")
    assert np.array_equal(_read(tmp_path / "a.png"), np.where(mask, 255, 0))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_mask_kept_as_data_is_nothing_but_a_mask(tmp_path):
    with pytest.raises(ShapeError, match=r"`mask` must be \(H, W\) bool"):
        save_mask(_face(), tmp_path / "a.png")


@pytest.mark.parametrize("picture", [np.zeros((H, W, 31)), np.zeros(W), np.zeros((0, W)), np.zeros((H, W), np.int64)])
def test_what_is_no_picture_is_refused(tmp_path, picture):
    with pytest.raises(ShapeError, match="A picture must"):
        save_picture(picture, subjects=["p1"], publishable=["p1"], path=tmp_path / "a.png")


def test_only_png_is_written(tmp_path):
    with pytest.raises(DataError, match=r"\.png"):
        save_picture(_face(), subjects=["p1"], publishable=["p1"], path=tmp_path / "a.jpg")


def test_curves_need_nobody(tmp_path):
    figure = Figure()
    figure.subplots().plot([1, 2, 3])
    save_figure(figure, path=tmp_path / "curve.png", run_id="r1")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.text["Run"] == "r1"


def test_figure_with_an_image_is_refused_as_curves(tmp_path):
    with pytest.raises(ConsentError, match="save_picture"):
        save_figure(_picture_figure(), path=tmp_path / "a.png")


def test_figure_with_a_colour_mesh_is_refused_as_curves(tmp_path):
    figure = Figure()
    figure.subplots().pcolormesh(_face()[..., 0])
    with pytest.raises(ConsentError, match="save_picture"):
        save_figure(figure, path=tmp_path / "a.png")


def test_colour_map_runs_from_first_to_last_colour_and_stays_there():
    colours = colour_map(np.array([[-9.0, 0.0, 2.0, 9.0]]), low=0.0, high=2.0)
    assert colours.dtype == np.uint8
    assert colours[0, 0].tolist() == colours[0, 1].tolist() == [68, 1, 84]
    assert colours[0, 2].tolist() == colours[0, 3].tolist() == [253, 231, 36]


def test_colour_map_does_not_depend_on_the_unit():
    values = np.random.default_rng(1).random((H, W))
    assert np.array_equal(colour_map(values, low=0, high=1), colour_map(1000 * values, low=0, high=1000))


def test_colour_map_refuses_an_empty_range_and_a_cube():
    with pytest.raises(DataError, match="`low` must be below"):
        colour_map(np.zeros((H, W)), low=1.0, high=1.0)
    with pytest.raises(ShapeError, match=r"\(H, W\)"):
        colour_map(np.zeros((H, W, 3)), low=0.0, high=1.0)
