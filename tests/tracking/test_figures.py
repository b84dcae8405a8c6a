from dataclasses import dataclass, field

import numpy as np
import pytest

from hyperskin.errors import ConsentError, ShapeError
from hyperskin.pictures import save_figure, save_picture
from hyperskin.tracking.figures import SMALLEST_REGION, draw_bands, draw_sheet, draw_spectra

BANDS = [400.0 + 10 * i for i in range(31)]
H, W = 24, 32


@dataclass
class Spectra:
    subject: str = "p003"
    region: str = "subject"
    pixel_count: int = SMALLEST_REGION
    measured_mean: np.ndarray = field(default_factory=lambda: np.linspace(0.2, 0.6, 31))
    measured_std: np.ndarray = field(default_factory=lambda: np.full(31, 0.02))
    reconstructed_mean: np.ndarray = field(default_factory=lambda: np.linspace(0.25, 0.55, 31))
    reconstructed_std: np.ndarray = field(default_factory=lambda: np.full(31, 0.03))


def _rows(*keys):
    return [{"wavelength_nm": nm, **{key: nm / 1000 + i for i, key in enumerate(keys)}} for nm in BANDS]


def _sheet(**changes):
    rng = np.random.default_rng(0)
    pictures = {name: rng.random((H, W, 3)) for name in ("input_rgb", "measured_rgb", "reconstructed_rgb")}
    return draw_sheet(**(pictures | {"angle_rad": rng.random((H, W))} | changes), title="p003_neutral_front")


def test_bands_are_drawn_masked_and_with_background():
    upper, lower = draw_bands(_rows("ssim/masked", "ssim/full", "rmse/masked", "rmse/full"), title="t").axes
    assert [line.get_label() for line in upper.lines] == ["masked", "with background"]
    assert lower.lines[0].get_xdata().tolist() == BANDS
    assert upper.lines[1].get_ydata().tolist() == [nm / 1000 + 1 for nm in BANDS]


def test_scores_without_a_mask_give_one_curve():
    upper, lower = draw_bands(_rows("ssim/full", "rmse/full"), title="t").axes
    assert [len(axes.lines) for axes in (upper, lower)] == [1, 1]


def test_spectra_show_mean_and_spread(tmp_path):
    spectra = Spectra()
    figure = draw_spectra(spectra, BANDS, title="t")
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert np.array_equal(curves["measured"], spectra.measured_mean)
    assert np.array_equal(curves["reconstructed"], spectra.reconstructed_mean)
    low, high = figure.axes[0].collections[1].get_datalim(figure.axes[0].transData).intervaly
    assert (low, high) == pytest.approx((0.18, 0.62))
    save_figure(figure, path=tmp_path / "spectra.png")


def test_spectrum_of_a_few_pixels_is_refused():
    with pytest.raises(ConsentError, match="at least 1000 pixels; p003 has 999"):
        draw_spectra(Spectra(pixel_count=999), BANDS, title="t")


def test_sheet_may_be_saved_only_as_a_picture(tmp_path):
    with pytest.raises(ConsentError, match="save_picture"):
        save_figure(_sheet(), path=tmp_path / "a.png")
    save_picture(_sheet(), subjects=["p003"], publishable=["p003"], path=tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_sheet_shows_four_pictures_of_one_size():
    picture = np.full((H, W, 3), 0.25)
    strip = _sheet(reconstructed_rgb=picture, measured_rgb=4 * picture).axes[0]
    names = ["input", "measured", "reconstructed", "spectral angle"]
    assert [text.get_text() for text in strip.texts] == names
    shown, step = strip.images[0].get_array(), W + 1
    assert shown.shape == (H, 4 * W + 3, 3)
    assert (shown[:, W::step] == 1.0).all()  # white between them
    assert (shown[:, step : step + W] == 1.0).all()  # clipped
    assert (shown[:, 2 * step : 2 * step + W] == 0.25).all()
    with pytest.raises(ShapeError, match="`measured_rgb` must have shape"):
        _sheet(measured_rgb=np.zeros((W, H, 3)))
