"""The phantom as a source: whom it plans, and how much room it says they take."""

from hyperskin.sources.phantom import CAPTURES, Phantom, counts_bytes


def test_every_subject_is_planned_in_every_capture_and_of_one_skin_type():
    planned = Phantom().plan(subjects=12, captures=CAPTURES, seed=1)
    assert len(planned) == 72
    assert [capture.id.name for capture in planned] == sorted(capture.id.name for capture in planned)
    types = {(capture.id.subject, capture.recipe["skin_type"]) for capture in planned}
    assert len(types) == 12
    assert {skin_type for _, skin_type in types} == {"I", "II", "III", "IV", "V", "VI"}
    assert {(capture.id.expression, capture.id.direction) for capture in planned} == {
        (expression, direction) for expression in ("neutral", "smile") for direction in ("front", "left", "right")
    }


def test_one_more_subject_changes_no_other():
    two, three = (Phantom().plan(subjects=count, captures=("smile_left",), seed=1) for count in (2, 3))
    assert three[:2] == two


def test_room_is_that_of_scene_and_two_references():
    # 1024 lines + 2 x 100 lines, of 1024 px with 448 bands of two bytes
    assert counts_bytes(height_px=1024, width_px=1024, reference_lines=100) == (1024 + 200) * 1024 * 448 * 2
