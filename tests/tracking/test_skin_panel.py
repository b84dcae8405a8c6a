"""Maps are drawn on scales that no face changes, with gaps left out; a change is centred on nothing changed."""

import math

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from hyperskin.errors import ConsentError, DataError
from hyperskin.pictures import save_figure
from hyperskin.skin.maps import KINDS
from hyperskin.tracking.skin_panel import COLOURS, change, change_limit, draw_difference, draw_panel

H, W = 24, 32


def maps_of(seed=0, names=tuple(KINDS)):
    generator = np.random.default_rng(seed)
    made = {}
    for name in names:
        kind = KINDS[name]
        made[name] = (kind.low + (kind.high - kind.low) * generator.random((H, W))).astype(np.float32)
        made[name][:4] = np.nan
        made[name][:, :6] = np.nan
    return made


def nose():
    mask = np.zeros((H, W), dtype=np.bool_)
    mask[10:14, 14:20] = True
    return mask


def draw(maps, **changes):
    picture = np.random.default_rng(1).random((H, W, 3))
    words = {"title": "t", "picture_title": "colours", "captions": {"oxygenation": "face: 0.7"}} | changes
    return draw_panel(picture, maps, {"nose": nose(), "face": nose()}, **words)


def panels(figure):
    """Return the panels with an image by their title; colour bars have none."""
    return {axes.get_title(): axes for axes in figure.axes if axes.images}


@pytest.mark.parametrize("seed", [0, 1])
def test_scales_follow_the_kind_and_not_the_face(seed):
    maps = {name: values * (1 + seed) for name, values in maps_of(seed).items()}
    found = panels(draw(maps))
    assert list(found) == ["colours", *(kind.title for kind in KINDS.values())]
    for name, kind in KINDS.items():
        image = found[kind.title].images[0]
        assert (image.norm.vmin, image.norm.vmax) == (kind.low, kind.high)
        assert isinstance(image.norm, LogNorm) == kind.is_log
        assert image.get_cmap().name == COLOURS[name]


def test_every_kind_of_map_has_colours_and_bars_name_units():
    assert set(COLOURS) == set(KINDS)
    labels = {axes.get_ylabel() for axes in draw(maps_of()).axes}
    assert {kind.unit for kind in KINDS.values() if kind.unit} <= labels


def test_where_there_is_no_value_nothing_is_drawn_and_the_rest_is_shown_large():
    image = panels(draw(maps_of(names=("oxygenation",))))["Oxygenation"].images[0].get_array()
    values = maps_of(names=("oxygenation",))["oxygenation"]
    np.testing.assert_array_equal(image.mask.sum(), np.isnan(values[2:, 3:]).sum())  # 8 % of 20 x 26 px around
    assert image.shape == (H - 2, W - 3)


def test_regions_are_outlined_and_named_but_not_the_whole_face():
    axes = panels(draw(maps_of()))["colours"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["nose"]
    assert len(axes.collections) == 1


def test_captions_and_notes_are_written():
    figure = draw(maps_of(), note="From a photo. " * 20)
    assert panels(figure)["Oxygenation"].get_xlabel() == "face: 0.7"
    notes = [text.get_text() for text in figure.texts if "From a photo" in text.get_text()]
    assert notes[0].count("\n") >= 1, "a long note is broken into lines"


def test_a_panel_shows_a_face_and_asks_for_consent(tmp_path):
    with pytest.raises(ConsentError, match="save_picture"):
        save_figure(draw(maps_of()), path=tmp_path / "a.png")


def test_nothing_to_draw_is_refused():
    with pytest.raises(DataError, match="at least one map"):
        draw({})
    with pytest.raises(DataError, match="no map has one"):
        draw({"oxygenation": np.full((H, W), np.nan)})


def test_ends_of_a_logarithmic_scale_are_numbered():
    figure = draw(maps_of(names=("melanin_fraction",)))
    bar = next(axes for axes in figure.axes if axes.get_label() == "<colorbar>")
    figure.draw_without_rendering()
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]


def test_a_large_frame_gets_a_larger_sheet_and_small_ones_the_same():
    def width_px(size):
        values = {"oxygenation": np.full((size, size), 0.7, dtype=np.float32)}
        figure = draw_panel(np.zeros((size, size, 3)), values, {}, title="t", picture_title="p", captions={})
        axes = panels(figure)["Oxygenation"]
        return axes.get_position().width * figure.get_size_inches()[0] * 120

    assert width_px(24) == pytest.approx(width_px(64))
    assert width_px(300) >= 300, "no pixel of it is skipped"
    assert width_px(2000) < 400


def test_a_pixel_without_a_value_is_grey_in_the_picture_too():
    picture = np.full((H, W, 3), 0.5)
    picture[10, 10, 1] = np.nan
    figure = draw_panel(picture, maps_of(), {}, title="t", picture_title="colours", captions={})
    shown = np.asarray(panels(figure)["colours"].images[0].get_array())
    np.testing.assert_allclose(shown[10 - 2, 10 - 3], 217 / 255, atol=1e-3)  # of a window that begins at (2, 3)
    assert (shown == 0.5).all(axis=2).sum() == shown.shape[0] * shown.shape[1] - 1


# Two visits


def test_a_change_is_a_ratio_where_the_scale_is_one():
    before, after = np.array([[0.02, 0.0, np.nan]]), np.array([[0.04, 0.1, 0.1]])
    np.testing.assert_allclose(change(before, after, KINDS["melanin_fraction"]), [[math.log(2), np.nan, np.nan]])
    np.testing.assert_allclose(change(before, after, KINDS["blood_fraction"]), [[0.02, 0.1, np.nan]])


def test_there_and_back_is_no_change():
    first, second = maps_of(2), maps_of(3)
    for name, kind in KINDS.items():
        both = change(first[name], second[name], kind) + change(second[name], first[name], kind)
        np.testing.assert_allclose(both[np.isfinite(both)], 0, atol=1e-12)


def test_changes_are_centred_on_none_and_share_their_scale():
    pictures = (np.zeros((H, W, 3)), np.ones((H, W, 3)))
    figure = draw_difference(
        pictures, maps_of(4), maps_of(5), names=("first", "second"), labels=("before", "after"), title="t", captions={}
    )
    found = panels(figure)
    assert {"first", "second"} <= set(found)
    for kind in KINDS.values():
        image = found[f"{kind.title}: change"].images[0]
        assert (image.norm.vmin, image.norm.vmax) == (-change_limit(kind), change_limit(kind))
    assert change_limit(KINDS["melanin_fraction"]) == pytest.approx(math.log(2))
    assert change_limit(KINDS["oxygenation"]) == pytest.approx(0.15)


@pytest.mark.parametrize(("names", "rows", "columns"), [(tuple(KINDS), 5, 6), (tuple(KINDS)[:3], 4, 3)])
def test_every_map_is_a_row_of_before_after_and_change(names, rows, columns):
    pictures = (np.zeros((H, W, 3)), np.ones((H, W, 3)))
    visits = maps_of(4, names), maps_of(5, names)
    figure = draw_difference(
        pictures, *visits, names=("n" * 100, "second"), labels=("before", "after"), title="t", captions={}
    )
    found = panels(figure)
    places = {title: axes.get_position() for title, axes in found.items()}
    assert len({round(place.y0, 6) for place in places.values()}) == rows
    assert len({round(place.x0, 6) for place in places.values()}) == columns
    for name in names:
        title = KINDS[name].title
        left, middle, right = (places[f"{title}{end}"] for end in (", before", ", after", ": change"))
        assert left.x0 < middle.x0 < right.x0
        assert left.y0 == middle.y0 == right.y0
    assert max(len(title) for title in found) < 42, "a long name is shortened"
    key = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert "red is more after than before" in " ".join(key.split())


def test_only_what_both_visits_have_is_compared():
    pictures = (np.zeros((H, W, 3)), np.ones((H, W, 3)))
    before = maps_of(4, ("oxygenation", "melanin_index"))
    figure = draw_difference(
        pictures,
        before,
        maps_of(5, ("melanin_index",)),
        names=("a", "b"),
        labels=("before", "after"),
        title="t",
        captions={},
    )
    assert [title for title in panels(figure) if "change" in title] == ["Melanin index (slope): change"]
