import numpy as np
import pytest

from hyperskin.errors import ShapeError
from hyperskin.metrics.pixels import bounding_box, require_comparable, row_blocks, selected_spectra


def test_the_box_is_cut_at_the_frame():
    selected = np.zeros((24, 32), dtype=bool)
    selected[2, 20] = selected[9, 30] = True
    rows, columns = bounding_box(selected, margin_px=5)
    assert (rows.start, rows.stop) == (0, 15)
    assert np.arange(32)[columns].tolist() == list(range(15, 32))


def test_nothing_selected_has_no_box():
    assert bounding_box(np.zeros((24, 32), dtype=bool), margin_px=5) is None


@pytest.mark.parametrize("shape", [(24, 32), (1, 9000), (5000, 3)])
def test_row_blocks_cover_every_row_once(shape):
    rows = [row for block in row_blocks(*shape) for row in range(shape[0])[block]]
    assert rows == list(range(shape[0]))


def test_selected_spectra_are_those_under_the_mask_with_their_weights(phantom):
    weights = np.where(phantom.mask, np.linspace(0.1, 1.0, 32), 0.0)
    parts = list(selected_spectra(phantom.estimate, phantom.reference, weights))
    estimated, measured, weight = (np.concatenate([part[i] for part in parts]) for i in range(3))
    assert np.array_equal(estimated, phantom.estimate[phantom.mask])
    assert np.array_equal(measured, phantom.reference[phantom.mask])
    assert np.array_equal(weight, weights[phantom.mask])


def test_selected_spectra_are_copies(phantom):
    for estimated, measured, _ in selected_spectra(phantom.estimate, phantom.reference, None):
        assert not np.shares_memory(estimated, phantom.estimate)
        assert not np.shares_memory(measured, phantom.reference)


def test_arrays_that_do_not_fit_are_refused(phantom):
    with pytest.raises(ShapeError, match=r"`estimate` must have shape \(24, 32, 31\) like `reference`; got \(24, 31"):
        require_comparable(phantom.estimate[:, :31], phantom.reference, None)
    with pytest.raises(ShapeError, match=r"`mask` must have shape \(24, 32\) like the cube; got \(32, 24\)"):
        require_comparable(phantom.estimate, phantom.reference, phantom.mask.T)
    with pytest.raises(ShapeError, match=r"`reference` must be a cube"):
        require_comparable(phantom.estimate, phantom.reference[0], None)
    with pytest.raises(ShapeError, match=r"`mask` must be bool or float weights"):
        require_comparable(phantom.estimate, phantom.reference, phantom.mask.astype(np.uint8) * 255)
