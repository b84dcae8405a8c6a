"""Bare skin is where the visible bands show it, whatever the pair; without them the mask has to do."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from hyperskin.bands import NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.frames import Frame
from hyperskin.data.truth import SUBJECT_LABELS
from hyperskin.phantom.face import LABELS
from hyperskin.phantom.recipe import Recipe
from hyperskin.phantom.scene import Scene
from hyperskin.steps.bare_skin import find_bare_skin

SIZE = 64


@dataclass(frozen=True)
class Seen:
    """What two pairs see of one face."""

    visible: Frame
    infrared: Frame
    labels: npt.NDArray[np.str_]


@pytest.fixture(scope="module")
def seen() -> Seen:
    name = CaptureId.parse("p004_neutral_front")
    lines = Scene.of(name, Recipe(1, "III", SIZE, SIZE)).lines(0, SIZE)
    labels = np.array(LABELS)[lines.labels]
    mask, valid = np.isin(labels, SUBJECT_LABELS), np.ones((SIZE, SIZE), dtype=np.bool_)
    nothing = np.zeros((SIZE, SIZE, 3), dtype=np.float32)
    visible, infrared = (Frame(name, nothing, cube, mask, valid) for cube in (lines.vis, lines.nir))
    return Seen(visible, infrared, labels)


def test_every_pair_is_judged_on_the_same_pixels(seen):
    one = find_bare_skin(seen.visible, VIS, seen.visible.reference)
    other = find_bare_skin(seen.infrared, NIR, seen.visible.reference)
    np.testing.assert_array_equal(one.regions.skin, other.regions.skin)
    assert one.regions.landmarks == other.regions.landmarks
    assert one.regions.landmarks.found_by == "features"
    assert not np.isin(seen.labels[other.regions.skin], ("iris", "sclera", "teeth")).any()
    assert (one.ita_deg, one.skin_type) == (other.ita_deg, other.skin_type)
    assert one.skin_type in ("light", "intermediate", "tan")  # the phantom's type III is intermediate on average


def test_without_visible_bands_the_mask_has_to_do_and_there_is_no_type(seen):
    found = find_bare_skin(seen.infrared, NIR, None)
    assert (found.ita_deg, found.skin_type) == (None, None)
    assert found.regions.landmarks.found_by == "outline"
    np.testing.assert_array_equal(found.regions.skin, ndimage.binary_erosion(seen.infrared.mask, border_value=1))


def test_what_was_not_measured_is_no_skin(seen):
    valid = np.arange(SIZE)[:, None] < 40 + np.zeros(SIZE)
    found = find_bare_skin(Frame(seen.visible.capture, seen.visible.input, seen.visible.reference, seen.visible.mask,
                                 valid), VIS, seen.visible.reference)  # fmt: skip
    assert not found.regions.skin[40:].any()
    assert found.regions.skin[:40].any()


def test_a_scene_without_a_mask_or_with_one_of_nothing_has_no_skin(seen):
    frame = seen.visible
    for mask in (None, np.zeros((SIZE, SIZE), dtype=np.bool_)):
        assert find_bare_skin(Frame(frame.capture, frame.input, frame.reference, mask, frame.valid), VIS, None) is None


def test_too_little_skin_has_no_type_but_a_place(seen):
    frame = seen.visible
    mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask[30:38, 26:36] = True
    found = find_bare_skin(Frame(frame.capture, frame.input, frame.reference, mask, frame.valid), VIS, frame.reference)
    assert found is not None
    assert (found.ita_deg, found.skin_type) == (None, None)
