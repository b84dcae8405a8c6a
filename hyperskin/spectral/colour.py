"""What a standard observer sees: spectra -> XYZ -> sRGB as one (C, 3) operator; no camera."""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from hyperskin.bands import Bands, regular_bands
from hyperskin.cube import Cube
from hyperskin.errors import DataError, UnknownNameError
from hyperskin.spectral.rendering import Clipped, Exposure, Operator, Picture, Transfer, render

_log = logging.getLogger(__name__)

Illuminant = Literal["d50", "d55", "d65", "d75"]
Normalise = Literal["white", "luminance"]
Floats = npt.NDArray[np.float64]

ILLUMINANTS = ("d50", "d55", "d65", "d75")
OBSERVER_BANDS = regular_bands(380.0, 780.0, 5.0)
"""Where the colour matching functions are tabulated; outside they are zero."""

SRGB_FROM_XYZ = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)
SRGB_WHITE = np.array([0.95047, 1.0, 1.08883])
_BRADFORD = np.array(
    [
        [0.8951, 0.2664, -0.1614],
        [-0.7502, 1.7135, 0.0367],
        [0.0389, -0.0685, 1.0296],
    ]
)

_WIDEST_GAP_NM = 20.0  # the coarsest step that tables for colorimetry are made for
_GOOD_COVERAGE = 0.99
_LEAST_COVERAGE = 0.90
_HOPELESS_COVERAGE = 0.05  # no white to normalise by, whatever the caller allows


@dataclass(frozen=True)
class SrgbPicture:
    """A cube as a person would see it.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1]; an invalid pixel is black.
        valid: (H, W) bool, False where a visible band is NaN or infinite.
        clipped: How many channel values lay outside [0, 1].
    """

    rgb: Picture
    valid: npt.NDArray[np.bool_]
    clipped: Clipped


def render_srgb(
    cube: Cube,
    bands: Bands,
    *,
    illuminant: Illuminant = "d65",
    adapt: bool = True,
    normalise: Normalise = "white",
    allow_partial: bool = False,
    exposure: Exposure = "none",
    transfer: Transfer = "srgb",
) -> SrgbPicture:
    """Return the cube as an sRGB picture under a daylight illuminant.

    Args:
        cube: Reflectance, (H, W, C), floats; 1.0 = white reference. Values above 1 and below 0 are clipped only after
            the projection, and NaN spoils its own pixel only.
        bands: The cube's bands.
        illuminant: The light on the scene.
        adapt: Show the scene as an eye adapted to that light sees it, so that white is white. False keeps the tint.
        normalise: See `xyz_operator`.
        allow_partial: Go on although the bands miss more than 10 % of what X, Y or Z weighs.
        exposure: "none" makes a perfect reflector 1; "max" and "p99.9" stretch by the picture itself.
        transfer: "srgb" for a screen, or "linear".

    Returns:
        The picture in [0, 1], its valid pixels and its clipped values.

    Raises:
        ShapeError: The cube is not (H, W, C) of floats with a band for each of `bands`.
        DataError: The bands see too little of the visible range.
        UnknownNameError: An option has none of its values.

    Source:
        Magnusson et al. (2020), "Creating RGB images from hyperspectral images using a color matching function";
        with chromatic adaptation, and the colour matching functions zero outside 380..780 nm.

    Examples:
        >>> from hyperskin.bands import VIS
        >>> render_srgb(np.ones((1, 1, 31), dtype=np.float32), VIS).rgb.round(4).tolist()
        [[[1.0, 1.0, 1.0]]]
    """
    operator = srgb_operator(
        bands, illuminant=illuminant, adapt=adapt, normalise=normalise, allow_partial=allow_partial
    )
    rendering = render(cube, {"srgb": operator}, exposure=exposure, transfer=transfer)
    clipped = rendering.clipped["srgb"]
    if clipped.below_count or clipped.above_count:
        size = rendering.pictures["srgb"].size
        _log.debug(  # a picture a frame would bury what a person waits for
            "clipped %.3g %% of sRGB values below 0 and %.3g %% above 1",
            100 * clipped.below_count / size, 100 * clipped.above_count / size,
        )  # fmt: skip
    return SrgbPicture(rendering.pictures["srgb"], rendering.valid, clipped)


def srgb_operator(
    bands: Bands,
    *,
    illuminant: Illuminant = "d65",
    adapt: bool = True,
    normalise: Normalise = "white",
    allow_partial: bool = False,
) -> Operator:
    """Return what turns reflectance on `bands` into linear sRGB.

    Args:
        bands: The cube's bands.
        illuminant: The light on the scene.
        adapt: Adapt (Bradford) from the white these bands see to the white of sRGB, so that greys stay grey.
        normalise: See `xyz_operator`.
        allow_partial: Go on although the bands miss more than 10 % of what X, Y or Z weighs.

    Returns:
        (C, 3) float64: `spectra @ operator` is linear red, green, blue; a perfect reflector is (1, 1, 1) if adapted.

    Raises:
        DataError: The bands see too little of the visible range.
        UnknownNameError: An option has none of its values.

    Source:
        IEC 61966-2-1; the matrix to seven digits by B. Lindbloom; Bradford: Lam (1985).
    """
    xyz = xyz_operator(bands, illuminant=illuminant, normalise=normalise, allow_partial=allow_partial)
    if adapt:
        xyz = xyz @ adaptation(xyz.sum(axis=0), SRGB_WHITE).T
    operator: Operator = xyz @ SRGB_FROM_XYZ.T
    return operator


def xyz_operator(
    bands: Bands,
    *,
    illuminant: Illuminant = "d65",
    normalise: Normalise = "white",
    allow_partial: bool = False,
) -> Operator:
    """Return what turns reflectance on `bands` into CIE 1931 XYZ, Y of a perfect reflector = 1.

    Colour matching functions and light are interpolated to the bands and integrated there by the trapezoid rule.

    Args:
        bands: The cube's bands, evenly spaced or not.
        illuminant: The light on the scene.
        normalise: "white" scales X and Z so that a perfect reflector has the illuminant's own white point whatever the
            bands; on 31 bands that halves the worst ColorChecker error, from 0.35 to 0.18 (CIEDE2000). "luminance"
            scales all three by Y alone, as first published. On a sensor's fine bands both stay below 0.15.
        allow_partial: Go on although the bands miss more than 10 % of what X, Y or Z weighs.

    Returns:
        (C, 3) float64: `spectra @ operator` is X, Y, Z. Bands outside 380..780 nm weigh nothing.

    Raises:
        DataError: The bands see too little of the visible range.
        UnknownNameError: `illuminant` or `normalise` has none of its values.

    Source:
        CIE 15; Magnusson et al. (2020), eq. 1-3.
    """
    if normalise not in ("white", "luminance"):
        raise UnknownNameError(f"`normalise` must be 'white' or 'luminance'; got {normalise!r}.")
    _warn_or_refuse(coverage(bands, illuminant=illuminant), bands, allow_partial)
    operator = _weigh_observer(bands, illuminant)
    operator /= operator[:, 1].sum()
    if normalise == "white":
        operator *= white_point(illuminant) / operator.sum(axis=0)
    return operator


def white_point(illuminant: Illuminant) -> Floats:
    """Return XYZ of a perfect reflector under the illuminant, (3,) float64, Y = 1."""
    white: Floats = _weigh_observer(OBSERVER_BANDS, illuminant).sum(axis=0)
    white /= white[1]
    return white


def adaptation(from_white: Floats, to_white: Floats) -> Floats:
    """Return the Bradford matrix, (3, 3) float64, that takes XYZ seen under one white to another.

    Source:
        Lam, K. M., "Metamerism and colour constancy", University of Bradford (1985).
    """
    gains = (_BRADFORD @ to_white) / (_BRADFORD @ from_white)
    matrix: Floats = np.linalg.solve(_BRADFORD, gains[:, None] * _BRADFORD)
    return matrix


def coverage(bands: Bands, *, illuminant: Illuminant = "d65") -> dict[str, float]:
    """Return the share of X, Y and Z of a white reflector that lies where the bands see, each in [0, 1]."""
    fine_nm = np.arange(380.0, 781.0)
    weights = _observer_at(fine_nm) * illuminant_power(illuminant, fine_nm)[:, None]
    return dict(zip("XYZ", covered_share(bands, fine_nm, weights).tolist(), strict=True))


def covered_share(bands: Bands, wavelength_nm: Floats, weights: Floats) -> Floats:
    """Return the share of each column of `weights` (K, N), given at evenly spaced wavelengths, that the bands see.

    The bands see what lies between two neighbours at most 20 nm apart. Of a column of zeros they see nothing.
    """
    centres_nm = bands.centres_nm()
    right = np.searchsorted(centres_nm, wavelength_nm).clip(1, max(1, len(bands) - 1))
    gap_nm = np.diff(centres_nm, append=np.inf)[right - 1]
    is_inside = (wavelength_nm >= centres_nm[0]) & (wavelength_nm <= centres_nm[-1])
    is_seen = is_inside & (gap_nm <= _WIDEST_GAP_NM + 1e-6)
    whole: Floats = weights.sum(axis=0)
    share: Floats = np.zeros_like(whole)
    np.divide(weights[is_seen].sum(axis=0), whole, out=share, where=whole > 0)
    return share


def trapezoid_weights(bands: Bands, last_nm: float = OBSERVER_BANDS.wavelength_nm[-1]) -> Floats:
    """Return the width in nm that each band stands for in a trapezoid sum over the bands up to `last_nm`, (C,)."""
    centres_nm = bands.centres_nm()
    half_steps = np.diff(centres_nm[centres_nm <= last_nm]) / 2
    weights = np.zeros(len(bands))
    weights[: half_steps.size] += half_steps
    weights[1 : half_steps.size + 1] += half_steps
    return weights


def illuminant_power(illuminant: Illuminant, wavelength_nm: Floats) -> Floats:
    """Return the relative power of a daylight illuminant at wavelengths in nm, 100 at 560 nm, 0 outside 300..780."""
    if illuminant not in ILLUMINANTS:
        raise UnknownNameError(f"`illuminant` must be one of {', '.join(ILLUMINANTS)}; got {illuminant!r}.")
    table = read_table("illuminants.csv")
    return interpolate(table["wavelength_nm"], table[illuminant], wavelength_nm)


def interpolate(wavelength_nm: Floats, values: Floats, at_nm: Floats) -> Floats:
    """Return tabulated values (K,) or (K, N) at other wavelengths by monotone cubics (PCHIP), 0 outside the table."""
    result: Floats = PchipInterpolator(wavelength_nm, values, extrapolate=False)(at_nm)
    result[np.isnan(result)] = 0
    return result


@cache
def read_table(name: str) -> dict[str, Floats]:
    """Return the columns of a table of numbers that ships with the package, read-only."""
    text = (files("hyperskin.spectral") / "tables" / name).read_text(encoding="utf-8")
    header, *rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    columns = np.array(rows, dtype=np.float64).T
    columns.flags.writeable = False
    return dict(zip(header, columns, strict=True))


def _observer_at(wavelength_nm: Floats) -> Floats:
    table = read_table("cie_1931_2deg.csv")
    values = np.stack([table[name] for name in "xyz"], axis=1)
    return interpolate(table["wavelength_nm"], values, wavelength_nm)


def _weigh_observer(bands: Bands, illuminant: Illuminant) -> Operator:
    centres_nm = bands.centres_nm()
    light = illuminant_power(illuminant, centres_nm) * trapezoid_weights(bands)
    return _observer_at(centres_nm) * light[:, None]


def _warn_or_refuse(shares: dict[str, float], bands: Bands, allow_partial: bool) -> None:
    least = min(shares.values())
    if least >= _GOOD_COVERAGE:
        return
    found = describe_coverage(shares, bands)
    if least < _HOPELESS_COVERAGE or (least < _LEAST_COVERAGE and not allow_partial):
        advice = "such a cube has no colour" if least < _HOPELESS_COVERAGE else "add bands or set `allow_partial`"
        raise DataError(f"A colour needs bands that see {_LEAST_COVERAGE:.0%} of X, Y and Z; {found}: {advice}.")
    _log.warning("colours are a little off: %s", found)


def describe_coverage(shares: dict[str, float], bands: Bands) -> str:
    """Return a clause like "bands from 450 to 650 nm see X 86 %, Y 98 %, Z 57 %"."""
    first_nm, last_nm = bands.wavelength_nm[0], bands.wavelength_nm[-1]
    listed = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    return f"bands from {first_nm:g} to {last_nm:g} nm see {listed}"
