"""What an examination with several cameras' pictures shows in its run."""

from dataclasses import dataclass

import pytest

from hyperskin.steps.examine import _draw_cameras


@dataclass(frozen=True)
class _Unit:
    """What the heat map asks of a unit."""

    title: str = "hrnet on rgb_vis"
    cameras: tuple[str, ...] = ("cie", "nikon")


@pytest.mark.parametrize(
    ("lacking", "key", "cells"),
    [(None, "sam/masked", ["0.100", "0.200", "0.300"]), ("nikon", "sam/full", ["0.500", "0.600", "0.700"])],
    ids=["masks", "no mask"],
)
def test_a_run_shows_its_row_of_the_matrix_and_frames_what_it_was_trained_on(lacking, key, cells):
    masked, full = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    scores = {
        camera: {"sam/full": full[i], **({} if camera == lacking else {"sam/masked": masked[i]})}
        for i, camera in enumerate(("cie", "nikon", "odd"))
    }
    figure = _draw_cameras(_Unit(), scores)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == cells
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cie", "nikon", "odd"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cie + nikon"]
    assert key in axes.get_title() or key in str(figure.get_suptitle())
    framed = [patch for patch in axes.patches if not patch.get_fill()]
    assert len(framed) == 2
