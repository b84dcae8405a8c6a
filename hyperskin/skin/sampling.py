"""Random skin and how a sensor sees it, in shade, gloss and noise: all that the regression of `inverse` ever sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperskin.skin.optics import Skin, skin_reflectance

Floats = npt.NDArray[np.float64]

_LAST_NM = 1005.0  # of the tables; a sensor's last band may lie just beyond
# Ranges, means and spreads that skin is drawn from; "uniform", "log" (uniform in the logarithm), "normal", "lognormal"
# (mean of the logarithm as a factor, spread) and "folded" (the absolute value of a normal).
_BASIC: dict[str, tuple[str, float, float]] = {
    "melanin_fraction": ("log", 0.004, 0.6),  # a third beyond type VI, whose moles are there
    "blood_fraction": ("log", 0.003, 0.07),
    "oxygenation": ("uniform", 0.35, 0.95),
    "water_fraction": ("uniform", 0.45, 0.85),
    "scattering_amplitude": ("normal", 36.0, 5.0),
    "scattering_power": ("normal", 1.6, 0.15),
}
PRIORS: dict[str, dict[str, tuple[str, float, float]]] = {
    "basic": _BASIC,
    "extended": {
        **_BASIC,
        "scattering_power": ("normal", 1.6, 0.25),
        "melanin_exponent": ("normal", 3.5, 0.3),
        "bloodless_factor": ("lognormal", 1.0, 0.3),
        "carotenoid": ("folded", 0.6, 0.5),
        "lipid_fraction": ("uniform", 0.0, 0.25),
        "vessel_radius_cm": ("lognormal", 1e-3, 0.4),
        "surface_reflectance": ("normal", 0.045, 0.008),
    },
}
"""What skin may be made of: "basic" varies six properties, "extended" all twelve."""

_SHADING = (0.25, 1.1)
_GLOSS = 0.006  # mean of an exponential
# Real skin is not quite what the model says: a smooth factor, its spread and how far in nm it stays alike. Without it
# the regression trusts details of 61 bands that measured skin does not share: melanin of a hundred forearms then
# follows their colour (ITA) with a rank correlation of -0.75, with it -0.83. On phantoms it costs a fifth of the
# accuracy from 61 bands and none from visible ones.
_MISFIT, _MISFIT_NM = 0.01, 80.0
_COMMON_NOISE = 0.25  # of the noise, in all bands alike: a dark level that has drifted


@dataclass(frozen=True, eq=False)
class Samples:
    """N pixels of random skin.

    Attributes:
        skin: What they are made of.
        clean: What they reflect in the light they get, (N, C).
        noisy: The same as measured, (N, C).
    """

    skin: Skin
    clean: Floats
    noisy: Floats


def draw_samples(prior: str, count: int, wavelength_nm: Floats, noise_sd: Floats, *, seed: int) -> Samples:
    """Return random skin in random light.

    Args:
        prior: What it may be made of, one of `PRIORS`.
        count: How many pixels.
        wavelength_nm: Bands in nm, (C,).
        noise_sd: Standard deviation of reflectance in each, (C,).
        seed: Of all that is random.
    """
    stream = np.random.default_rng(seed)
    skin = draw_skin(prior, count, stream)
    clean = skin_reflectance(skin, np.minimum(wavelength_nm, _LAST_NM)).astype(np.float64)
    clean *= _draw_misfit(stream, count, wavelength_nm)
    clean *= stream.uniform(*_SHADING, (count, 1))
    clean += stream.exponential(_GLOSS, (count, 1))
    own, common = stream.standard_normal(clean.shape), stream.standard_normal((count, 1))
    return Samples(skin, clean, clean + noise_sd * (own + _COMMON_NOISE * common))


def draw_skin(prior: str, count: int, stream: np.random.Generator) -> Skin:
    """Return skin of `count` pixels drawn from a prior."""
    return Skin(**{name: _draw(stream, count, *how) for name, how in PRIORS[prior].items()})


def default_noise(wavelength_nm: Floats) -> Floats:
    """Return the noise of calibrated reflectance that is assumed where nobody says otherwise.

    Args:
        wavelength_nm: Wavelengths in nm, (C,).

    Returns:
        Standard deviations, (C,), float64: 0.040 at 400 nm, 0.0045 at 450, 0.0017 at 550, 0.0030 at 1000. Within a
        fifth of what skin of a phantom shows after linear resampling to 10 nm, and so an assumption about a halogen
        lamp, a blue-blind lens and 170,000 electrons a pixel.
    """
    nm = np.asarray(wavelength_nm, dtype=np.float64)
    blue = 0.030 * np.exp(-(nm - 400) / 10) + 0.009 * np.exp(-(nm - 400) / 45)
    return np.asarray(0.0014 + blue + 0.0016 * np.exp((nm - 1000) / 60))


def _draw(stream: np.random.Generator, count: int, kind: str, first: float, second: float) -> Floats:
    if kind == "uniform":
        return stream.uniform(first, second, count)
    if kind == "log":
        return np.asarray(np.exp(stream.uniform(np.log(first), np.log(second), count)))
    normal = np.clip(stream.standard_normal(count), -4, 4)
    if kind == "lognormal":
        return np.asarray(first * np.exp(second * normal))
    return np.abs(first + second * normal)


def _draw_misfit(stream: np.random.Generator, count: int, nm: Floats) -> Floats:
    """Draw smooth factors about 1, (count, B): normal numbers at knots, with Gaussians between them."""
    knots_nm = np.arange(nm[0] - _MISFIT_NM, nm[-1] + 2 * _MISFIT_NM, _MISFIT_NM)
    bumps = np.exp(-0.5 * np.square((nm - knots_nm[:, None]) / _MISFIT_NM))
    bumps *= _MISFIT / np.sqrt(np.square(bumps).sum(axis=0))
    return np.asarray(np.exp(stream.standard_normal((count, len(knots_nm))) @ bumps))
