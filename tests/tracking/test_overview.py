"""The one sheet: a row a capture, its pictures, its maps and its spectra."""

import numpy as np
import pytest

from hyperskin.errors import ConsentError
from hyperskin.pictures import save_figure
from hyperskin.tracking.overview import Curve, OverviewRow, draw_overview

NM = np.linspace(400, 700, 31)


def _row(title: str, *, angle: float = 0.1) -> OverviewRow:
    picture = np.full((24, 32, 3), 0.5, dtype=np.float32)
    mask = np.zeros((24, 32), dtype=bool)
    mask[6:18, 8:24] = True
    return OverviewRow(
        title,
        {"camera picture": picture, "measured": 3 * picture},
        mask,
        {"angle": np.full((24, 32), angle)},
        measured=[Curve(NM, NM / 1000)],
        true=[Curve(NM, NM / 1001)],
        reconstructed={"reconstructed": [Curve(NM, NM / 900)]},
    )


def test_a_row_is_a_capture_and_a_column_is_named_once():
    figure = draw_overview([_row("p001"), _row("p002")], title="two people")
    grid = np.array(figure.axes).reshape(2, 4)
    assert [axes.get_title() for axes in grid[0]][:3] == ["camera picture", "measured", "angle"]
    assert [axes.get_title() for axes in grid[1]] == [""] * 4
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["p001", "p002"]


def test_the_mask_is_outlined_in_the_first_picture_alone():
    figure = draw_overview([_row("p001")], title="one")
    first, second, *_ = figure.axes
    assert len(first.collections) == 1
    assert not second.collections


def test_curves_are_those_given_and_pictures_are_clipped():
    figure = draw_overview([_row("p001")], title="one")
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[-1].lines}
    np.testing.assert_array_equal(lines["measured"], NM / 1000)
    np.testing.assert_array_equal(lines["without noise"], NM / 1001)
    np.testing.assert_array_equal(lines["reconstructed"], NM / 900)
    assert figure.axes[1].images[0].get_array().max() == 1


def test_a_larger_angle_is_brighter_up_to_the_last_colour():
    shown = [
        draw_overview([_row("p001", angle=angle)], title="one").axes[2].images[0].get_array().sum()
        for angle in (0.0, 0.1, 0.3, 0.9)
    ]
    assert shown[0] < shown[1] < shown[2] == shown[3]


def test_it_shows_faces_and_so_needs_consent(tmp_path):
    with pytest.raises(ConsentError):
        save_figure(draw_overview([_row("p001")], title="one"), path=tmp_path / "sheet.png")
