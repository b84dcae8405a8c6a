"""A regression comes back from its file as it was, and what is no such file is told of."""

import numpy as np
import pytest

from hyperskin.bands import NIR, VIS
from hyperskin.errors import DataError, MissingFileError
from hyperskin.skin.inverse import inverse_model
from hyperskin.skin.inverse_file import read_inverse, write_inverse


@pytest.mark.parametrize("bands", [VIS, NIR], ids=["vis", "nir"])
def test_it_reads_spectra_as_before_to_the_last_bit(bands, tmp_path):
    model = inverse_model(bands)
    write_inverse(tmp_path / "inverse.npz", model)
    again = read_inverse(tmp_path / "inverse.npz")
    assert again.parameters() == model.parameters()
    assert again.names == model.names
    spectra = np.random.default_rng(0).uniform(0.2, 0.6, (20, len(bands))).astype(np.float32)
    before, after = model.estimate(spectra), again.estimate(spectra)
    for name, values in before.values.items():
        np.testing.assert_array_equal(after.values[name], values)
        np.testing.assert_array_equal(after.uncertainty[name], before.uncertainty[name])


def test_any_reader_of_npz_finds_what_made_it(tmp_path):
    write_inverse(tmp_path / "inverse.npz", inverse_model(VIS, seed=3))
    with np.load(tmp_path / "inverse.npz", allow_pickle=False) as file:
        assert (file["prior"].item(), file["seed"].item()) == ("extended", 3)
        np.testing.assert_array_equal(file["wavelength_nm"], VIS.wavelength_nm)
        assert file["coefficients"].shape[1] == 4


def test_files_that_hold_none_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.npz must be a regression of skin; there is no such file"):
        read_inverse(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(DataError, match=r"text\.npz must be a regression of skin; it cannot be read"):
        read_inverse(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", form=1, weights=np.ones(3))
    with pytest.raises(DataError, match=r"of form 1; it lacks wavelength_nm, first, "):
        read_inverse(tmp_path / "other.npz")
    write_inverse(tmp_path / "whole.npz", inverse_model(VIS))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cut\.npz must be a regression of skin; it cannot be read"):
        read_inverse(tmp_path / "cut.npz")
