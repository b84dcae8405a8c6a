"""Maps of a face: cube -> melanin, blood, oxygenation, water and the classic indices, with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.cube import Cube, require_cube
from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.skin.chromophore_regression import InverseModel
from hyperskin.skin.indices import INDICES, absorbance, covers_index, index_weights
from hyperskin.skin.inverse import can_invert, inverse_model
from hyperskin.skin.sampling import default_noise
from hyperskin.skin.typology import individual_typology_angle, sees_colour
from hyperskin.skin.unmixing import FIRST_NM, LAST_NM, can_unmix, unmix, unmixing_noise

Floats = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Columns = dict[str, npt.NDArray[np.floating]]
Spectra32 = npt.NDArray[np.float32]

METHODS = ("inverse", "beer_lambert")
_BLOCK_PX = 16_384


@dataclass(frozen=True)
class MapKind:
    """How a map is shown: the same way for everybody, so that two faces can be compared.

    Attributes:
        name: Its key.
        title: What a person reads above it.
        unit: Of its values.
        low: Where its colours begin.
        high: Where they end.
        is_log: Whether the colours follow the logarithm.
    """

    name: str
    title: str
    unit: str
    low: float
    high: float
    is_log: bool = False


# The ends hold skin of the phantom's types I to VI, at 0.5 to 4 % of blood.
_KINDS = (
    MapKind("melanin_fraction", "Melanin", "share of the epidermis", 0.005, 0.5, is_log=True),
    MapKind("blood_fraction", "Blood", "share of the dermis", 0.0, 0.06),
    MapKind("oxygenation", "Oxygenation", "share of the haemoglobin", 0.4, 1.0),
    MapKind("water_fraction", "Water", "share of the dermis", 0.4, 0.9),
    MapKind("melanin_index", "Melanin index (slope)", "per 100 nm", 0.0, 30.0),
    MapKind("erythema_index", "Erythema index", "", 10.0, 50.0),
    MapKind("erythema_index_dawson", "Erythema index (Dawson)", "", 0.0, 90.0),
    MapKind("water_index", "Water index", "", 0.0, 0.12),
    MapKind("typology_angle", "Individual typology angle", "degrees", -90.0, 70.0),
)
KINDS: Mapping[str, MapKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Every map there may be, by name."""


@dataclass(frozen=True, eq=False)
class SkinMaps:
    """What the skin of one frame is made of.

    Attributes:
        values: (H, W) float32 by name of `KINDS`, those that the bands can give; NaN outside skin and where a pixel
            has no spectrum.
        uncertainty: Standard deviations, (H, W) float32, in the units of the values; not every map has one.
        method: "inverse" or "beer_lambert".
        parameters: Settings of the method, plain values.
        model: The regression that read it; None where the method or the bands had none.
    """

    values: dict[str, Map]
    uncertainty: dict[str, Map]
    method: str
    parameters: dict[str, str | float | int]
    model: InverseModel | None = None


def skin_maps(
    reflectance: Cube,
    bands: Bands,
    skin: Bools | None = None,
    *,
    method: str = "inverse",
    noise: npt.ArrayLike | None = None,
    binning: int = 1,
) -> SkinMaps:
    """Return the maps that a cube can give.

    Chromophores and all indices but the typology angle do not depend on how brightly a pixel is lit.

    Args:
        reflectance: (H, W, C), any floating type; not clipped.
        bands: The cube's bands.
        skin: Which pixels are skin, (H, W) bool; all if None.
        method: "inverse", a regression trained on the forward model (`hyperskin.skin.inverse`), or "beer_lambert",
            linear unmixing, whose uncertainty is that of the noise alone (`hyperskin.skin.unmixing`). The indices are
            the same.
        noise: Standard deviation of reflectance in each band, (C,), without binning; that of
            `hyperskin.skin.sampling.default_noise` if None.
        binning: Pixels on a side that are averaged before; every one of them gets the mean's values. Noise falls by as
            much, detail too.

    Returns:
        The maps of all frames' size, float32.

    Raises:
        ShapeError: Cube, bands, mask and noise do not fit together.
        DataError: The bands give no map at all, or the binning is not 1 or more.
        UnknownNameError: The method is not a known one.
    """
    sd = _check(reflectance, bands, skin, method, noise, binning)
    estimators = _estimators(bands, tuple((sd / binning).tolist()), method)
    parameters: dict[str, str | float | int] = {"binning": binning, "noise": "default" if noise is None else "given"}
    for estimator in estimators:
        parameters |= estimator.parameters
    frame = reflectance.shape[:2]
    values: dict[str, Map] = {}
    uncertainty: dict[str, Map] = {}
    nothing = np.empty((0, len(bands)), dtype=np.float32)
    for estimator in estimators:
        for maps, columns in zip((values, uncertainty), estimator.run(nothing), strict=True):
            maps |= {name: np.full(frame, np.nan, dtype=np.float32) for name in columns}
    for place, spectra in _blocks(reflectance, skin, binning):
        for estimator in estimators:
            for maps, columns in zip((values, uncertainty), estimator.run(spectra), strict=True):
                for name, column in columns.items():
                    place(maps[name], column)
    model = next((estimator.model for estimator in estimators if estimator.model is not None), None)
    return SkinMaps(_in_order(values), _in_order(uncertainty), method, parameters, model)


@dataclass(frozen=True, eq=False)
class _Estimator:
    """Something that gives values and standard deviations by name for spectra (P, C)."""

    run: Callable[[Spectra32], tuple[Columns, Columns]]
    parameters: dict[str, str | float | int]
    model: InverseModel | None = None


@lru_cache(maxsize=16)
def _estimators(bands: Bands, noise_sd: tuple[float, ...], method: str) -> list[_Estimator]:
    """Return what these bands allow; made once in a process, for every frame of an evaluation asks for the same."""
    noise, found = np.array(noise_sd), []
    if method == "inverse" and can_invert(bands):
        found.append(_inverse(bands, noise))
    if method == "beer_lambert" and can_unmix(bands):
        found.append(_beer_lambert(bands, noise))
    names = [name for name in INDICES if name in KINDS and covers_index(name, bands)]
    if names:
        found.append(_indices(names, bands, noise))
    if sees_colour(bands):
        found.append(_angle(bands))
    if not found:
        nm = bands.centres_nm()
        raise DataError(
            "`bands` must cover what a skin map needs, such as 520 to 650 nm or 870 to 980 nm; "
            f"got {len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm."
        )
    return found


def _inverse(bands: Bands, noise: Floats) -> _Estimator:
    model = inverse_model(bands, noise=noise)

    def run(spectra: Spectra32) -> tuple[Columns, Columns]:
        found = model.estimate(spectra)
        return dict(found.values), dict(found.uncertainty)

    return _Estimator(run, {f"inverse_{name}": value for name, value in model.parameters().items()}, model)


def _beer_lambert(bands: Bands, noise: Floats) -> _Estimator:
    names = {"melanin": "melanin_fraction", "blood": "blood_fraction", "oxygenation": "oxygenation"}

    def run(spectra: Spectra32) -> tuple[Columns, Columns]:
        found = unmix(spectra, bands)
        deviations = unmixing_noise(found, spectra, bands, noise)
        return {names[key]: getattr(found, key) for key in names}, {names[key]: deviations[key] for key in names}

    return _Estimator(run, {"beer_lambert_first_nm": FIRST_NM, "beer_lambert_last_nm": LAST_NM})


def _indices(names: list[str], bands: Bands, noise: Floats) -> _Estimator:
    """Return an estimator of indices; each is a weighted sum of absorbances, and so is the variance of its noise."""
    every = np.stack([index_weights(name, bands) for name in names])
    counting = np.flatnonzero(every.any(axis=0))
    weights = {name: row[counting] for name, row in zip(names, every, strict=True)}
    relative = (noise[counting, None] / np.log(10)).astype(np.float32)

    def run(spectra: Spectra32) -> tuple[Columns, Columns]:
        reflectance = np.ascontiguousarray(spectra[:, counting].T)
        log = absorbance(reflectance)
        reflectance[reflectance <= 0] = np.nan
        variance = np.square(relative / reflectance)
        values, uncertainty = {}, {}
        for name, row in weights.items():
            own = np.flatnonzero(row)
            values[name] = row[own].astype(np.float32) @ log[own]
            uncertainty[name] = np.sqrt(np.square(row[own]).astype(np.float32) @ variance[own])
        return values, uncertainty

    return _Estimator(run, {})


def _angle(bands: Bands) -> _Estimator:
    def run(spectra: Spectra32) -> tuple[Columns, Columns]:
        return {"typology_angle": individual_typology_angle(spectra, bands)}, {}

    return _Estimator(run, {})


def _blocks(
    reflectance: Cube, skin: Bools | None, binning: int
) -> Iterator[tuple[Callable[[Map, npt.NDArray[np.floating]], None], Spectra32]]:
    """Yield spectra of some lines' skin, (P, C) float32, and what puts P numbers back into a map."""
    height, width, _ = reflectance.shape
    lines = max(1, _BLOCK_PX // width // binning) * binning
    for first in range(0, height, lines):
        rows = slice(first, min(first + lines, height))
        chosen = np.ones((rows.stop - first, width), dtype=np.bool_) if skin is None else skin[rows]
        if not chosen.any():
            continue
        block = reflectance[rows]
        if binning == 1:
            spectra = block[chosen] if skin is not None else block.reshape(-1, block.shape[2])
            yield _put(rows, chosen, None), spectra.astype(np.float32, copy=False)
        else:
            means, groups = _bin(block, chosen, binning)
            yield _put(rows, chosen, groups), means


def _put(
    rows: slice, chosen: Bools, groups: npt.NDArray[np.intp] | None
) -> Callable[[Map, npt.NDArray[np.floating]], None]:
    def put(target: Map, column: npt.NDArray[np.floating]) -> None:
        target[rows][chosen] = column if groups is None else column[groups]

    return put


def _bin(block: Cube, chosen: Bools, binning: int) -> tuple[Spectra32, npt.NDArray[np.intp]]:
    """Return the means of each bin's skin, (bins, C), and which of them every pixel of skin belongs to.

    A pixel without a spectrum does not count; a bin of nothing else is NaN.
    """
    across = -(-chosen.shape[1] // binning)
    row, column = np.nonzero(chosen)
    bins, groups = np.unique(row // binning * across + column // binning, return_inverse=True)
    spectra = block[chosen].astype(np.float64)
    good = np.isfinite(spectra).all(axis=1)
    sums = np.zeros((len(bins), spectra.shape[1]))
    np.add.at(sums, groups[good], spectra[good])
    counts = np.bincount(groups[good], minlength=len(bins))[:, None]
    with np.errstate(invalid="ignore"):
        return (sums / counts).astype(np.float32), groups


def _in_order(maps: dict[str, Map]) -> dict[str, Map]:
    return {name: maps[name] for name in KINDS if name in maps}


def _check(
    reflectance: Cube, bands: Bands, skin: Bools | None, method: str, noise: npt.ArrayLike | None, binning: int
) -> Floats:
    """Refuse what does not fit together; return the noise of each band."""
    require_cube("reflectance", reflectance)
    if reflectance.shape[2] != len(bands):
        raise ShapeError(f"`reflectance` must have {len(bands)} bands like `bands`; got shape {reflectance.shape}.")
    if skin is not None and (skin.shape != reflectance.shape[:2] or skin.dtype != np.bool_):
        raise ShapeError(
            f"`skin` must be bool of shape {reflectance.shape[:2]} like the cube; got {skin.dtype} {skin.shape}."
        )
    if method not in METHODS:
        raise UnknownNameError(f"`method` must be one of {', '.join(METHODS)}; got {method!r}.")
    if binning < 1:
        raise DataError(f"`binning` must be 1 or more; got {binning!r}.")
    sd = default_noise(bands.centres_nm()) if noise is None else np.asarray(noise, dtype=np.float64)
    if sd.shape != (len(bands),):
        raise ShapeError(f"`noise` must be ({len(bands)},) like `bands`; got shape {sd.shape}.")
    return sd
