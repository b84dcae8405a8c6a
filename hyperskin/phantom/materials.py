"""What everything but skin reflects: hair, eyes, teeth, cloth and wall, with the infrared that colours do not tell."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hyperskin.skin.chromophores import lipid_absorption, oxyhaemoglobin_absorption, water_absorption

Spectrum = npt.NDArray[np.float64]

# Absorption bands of dyes: centre and half width in nm on the short side, then on the long side, where most end at an
# edge. What the eye sees fixes amounts, not the edges: two blacks alike in the visible differ beyond 700 nm.
_DYES = {
    "yellow": (430.0, 55.0, 42.0),
    "orange": (480.0, 60.0, 40.0),
    "magenta": (540.0, 55.0, 32.0),
    "violet": (570.0, 60.0, 35.0),
    "cyan": (640.0, 70.0, 38.0),
    "blue": (610.0, 65.0, 45.0),
    "navy": (600.0, 140.0, 70.0),
}


def hair(eumelanin: float, phaeomelanin: float, grey: float, oil_cm: float, wavelength_nm: Spectrum) -> Spectrum:
    """Return the reflectance of a tuft of hair, (C,): pigments that fade into the infrared, keratin, sebum on it.

    Source:
        Pigments as powers of the wavelength: R. R. Anderson, "Melanin: the organised perspective" as used for hair by
        S. R. Marschner et al., ACM Trans. Graph. 22 (2003) for colours; amounts chosen to give black to blond.
    """
    short = wavelength_nm / 550.0
    pigment = 1.15 * eumelanin * short**-2.2 + 0.85 * phaeomelanin * short**-4.8
    coloured = 0.018 + 0.46 * np.exp(-pigment)
    white = 0.55 * np.exp(-0.10 * short**-4)
    oil = np.exp(-oil_cm * lipid_absorption(wavelength_nm) - 0.02 * water_absorption(wavelength_nm))
    return np.asarray(((1 - grey) * coloured + grey * white) * oil)


def iris(melanin: float, blueness: float, wavelength_nm: Spectrum) -> Spectrum:
    """Return the reflectance of an iris, (C,): a dark ground behind pigment and, in light eyes, scattering fibres."""
    short = wavelength_nm / 550.0
    stroma = 0.06 + 0.11 * blueness * short**-2.5
    return np.asarray(stroma * np.exp(-0.35 * melanin * short**-3.3) + 0.12 * np.exp(-1.6 * melanin * short**-3.3))


def sclera(wavelength_nm: Spectrum) -> Spectrum:
    """Return the reflectance of the white of the eye, (C,): collagen with a trace of blood, moist."""
    absorbed = 1e-4 * 3.0 * oxyhaemoglobin_absorption(wavelength_nm) + 0.25 * water_absorption(wavelength_nm)
    return np.asarray(0.60 * (1 - 0.25 * np.exp(-(wavelength_nm - 390) / 55.0)) * np.exp(-absorbed))


def teeth(wavelength_nm: Spectrum) -> Spectrum:
    """Return the reflectance of enamel over dentine, (C,): yellowish, fading slowly into the infrared."""
    yellow = np.exp(-0.85 * np.exp(-(wavelength_nm - 390) / 85.0))
    fading = 1 - 0.30 * np.clip((wavelength_nm - 600) / 400, 0, 1)
    return np.asarray(0.62 * yellow * fading * np.exp(-0.25 * water_absorption(wavelength_nm)))


def fabric(stream: np.random.Generator, wavelength_nm: Spectrum) -> Spectrum:
    """Return the reflectance of a dyed cloth, (C,), drawn from `stream`.

    Fibres reflect much; one or two dyes absorb in the visible and let go at an edge of their own; some blacks are soot
    and absorb everywhere; the fibres' moisture takes a share near 970 nm.
    """
    fibre = stream.uniform(0.60, 0.82) * (1 - 0.18 * np.exp(-(wavelength_nm - 390) / 60.0))
    depth = np.zeros_like(wavelength_nm)
    names = list(_DYES)
    for _ in range(int(stream.integers(1, 3))):
        centre, short, long = _DYES[names[int(stream.integers(len(names)))]]
        centre += stream.normal(0, 12)
        width = np.where(wavelength_nm < centre, short, long * stream.uniform(0.7, 2.2))
        tail = stream.uniform(0.0, 0.10) * np.exp(-np.clip(wavelength_nm - centre, 0, None) / stream.uniform(60, 260))
        depth += stream.gamma(2.0, 0.75) * (np.exp(-0.5 * ((wavelength_nm - centre) / width) ** 2) + tail)
    if stream.random() < 0.30:  # black: reactive dyes end between 680 and 820 nm, soot never does
        edge = stream.uniform(680, 820)
        depth += stream.uniform(1.5, 2.8) / (1 + np.exp((wavelength_nm - edge) / stream.uniform(10, 30)))
    depth += stream.exponential(0.08)
    moisture = np.exp(-stream.uniform(0.05, 0.5) * water_absorption(wavelength_nm))
    overtone = 1 - stream.uniform(0.0, 0.06) * np.exp(-0.5 * ((wavelength_nm - 920) / 18.0) ** 2)
    return np.asarray(fibre * np.exp(-depth) * moisture * overtone + 0.012)


def wall(stream: np.random.Generator, wavelength_nm: Spectrum) -> Spectrum:
    """Return the reflectance of a matt paint, (C,): from nearly black to pale, its pigments alive in the infrared."""
    level = math.exp(stream.uniform(math.log(0.04), math.log(0.45)))
    tint = stream.normal(0, 0.16) * np.tanh((wavelength_nm - stream.uniform(480, 640)) / stream.uniform(40, 120))
    infrared = stream.normal(0.25, 0.35) / (
        1 + np.exp(-(wavelength_nm - stream.uniform(690, 860)) / stream.uniform(15, 60))
    )
    return np.asarray(np.clip(level * np.exp(tint + infrared), 0.01, 0.85))
