"""What skin is made of, by a regression that has seen the forward model only: spectra -> chromophores, with errors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.atomic import atomic_path
from hyperskin.bands import Bands
from hyperskin.cube import Spectra
from hyperskin.errors import DataError, MissingFileError, ShapeError, UnknownNameError
from hyperskin.skin.optics import Skin, skin_reflectance

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

TARGETS = ("melanin_fraction", "blood_fraction", "oxygenation", "water_fraction")
"""What is estimated; the first two by their logarithm."""

_LOG_COUNT = 2
_FIRST_NM, _VISIBLE_END_NM, _LAST_NM = 450.0, 700.0, 1005.0
_WIDEST_GAP_NM = 20.0
_LEAST_BANDS = 8
_COMPONENTS, _CUBED = 9, 5  # of the principal components; the first of them also to the third power
_SAMPLES, _SAMPLED_VALUES = 30_000, 4_000_000  # at most so many spectra, and values in them: 32 MB an array
_RIDGE = 1e-6
_COMMON_NOISE = 0.25  # of the noise, in all bands alike: a dark level that has drifted
_BEYOND = 0.001  # of the samples beyond either end of a component's range
_ERROR_BINS = 12
_BLOCK_PX = 4096
_FORMAT = 1

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


@dataclass(frozen=True)
class Estimates:
    """What N spectra of skin are made of.

    Attributes:
        values: (N,) float32 by name; NaN where a spectrum is NaN or has no light.
        uncertainty: Standard deviations, (N,) float32 by name, in the values' units.
    """

    values: dict[str, Floats32]
    uncertainty: dict[str, Floats32]


@dataclass(frozen=True, eq=False)
class InverseModel:
    """A regression from spectra on fixed bands to chromophores.

    A spectrum is divided by its own weighted mean, so that shading cancels; what is left is projected on principal
    components, and a polynomial of these gives the estimates.

    Attributes:
        wavelength_nm: The bands of the spectra, (C,).
        first: The first of the B bands used, as an index into them.
        noise_sd: Noise of reflectance in each of the C bands that it was trained with and is judged by.
        weights: What the mean weighs the used bands with, (B,), their sum 1.
        components: (B, K).
        offset: What is taken from the components, (K,).
        bounds: Components are held within these, (2, K).
        coefficients: Of the polynomial, (monomials, 4).
        limits: Estimates are held within these, (2, 4): the ends of the prior.
        error_at: Estimates of the logarithm of melanin, (bins,), at which the model's own error is known.
        error_sd: The model's own error there, without noise: what the shape of a spectrum does not tell, or tells
            otherwise of real skin, (bins, 4).
        prior: Name of the prior.
        seed: Of the random samples.
        samples: How many.
        ridge: Penalty on squared coefficients.
    """

    wavelength_nm: Floats
    first: int
    noise_sd: Floats
    weights: Floats
    components: Floats
    offset: Floats
    bounds: Floats
    coefficients: Floats
    limits: Floats
    error_at: Floats
    error_sd: Floats
    prior: str
    seed: int
    samples: int
    ridge: float

    @property
    def names(self) -> tuple[str, ...]:
        """What these bands tell.

        Visible bands tell melanin, blood and its oxygenation; water needs 900 to 980 nm. Infrared bands alone hardly
        tell blood: on calibrated phantoms its median error is 0.22, that of a constant 0.30, and it is left out. Their
        melanin is a quarter off (r = 0.98), and their oxygenation, with r = 0.50, off as much as a constant would be.
        """
        nm = self.used_nm
        names = ["melanin_fraction", "blood_fraction", "oxygenation"]
        if nm[0] > _LAST_VISIBLE_START_NM:
            names.remove("blood_fraction")
        if sees_water(nm):
            names.append("water_fraction")
        return tuple(names)

    @property
    def used_nm(self) -> Floats:
        """The bands that count, in nm, (B,)."""
        return self.wavelength_nm[self.first : self.first + len(self.weights)]

    def estimate(self, spectra: Spectra) -> Estimates:
        """Return what skin with these spectra is made of.

        Args:
            spectra: Reflectance, (N, C), on the model's bands; scaling a spectrum changes nothing.

        Returns:
            Values and standard deviations for `names`. The deviation holds the noise, to first order through the
            polynomial's gradient, and the model's own error.

        Raises:
            ShapeError: `spectra` is not (N, C).
        """
        if spectra.ndim != 2 or spectra.shape[1] != len(self.wavelength_nm):
            raise ShapeError(f"`spectra` must be (N, {len(self.wavelength_nm)}) like the bands; got {spectra.shape}.")
        evaluator = _Evaluator.of(self)
        found = np.empty((2, len(TARGETS), len(spectra)), dtype=np.float32)
        with np.errstate(all="ignore"):  # what has no spectrum ends as NaN
            for start in range(0, len(spectra), _BLOCK_PX):
                block = slice(start, start + _BLOCK_PX)
                evaluator.run(spectra[block], found[0, :, block], found[1, :, block])
        np.exp(found[0, :_LOG_COUNT], out=found[0, :_LOG_COUNT])
        found[1, :_LOG_COUNT] *= found[0, :_LOG_COUNT]
        places = {name: TARGETS.index(name) for name in self.names}
        return Estimates(
            {name: found[0, place] for name, place in places.items()},
            {name: found[1, place] for name, place in places.items()},
        )

    def parameters(self) -> dict[str, str | float | int]:
        """Return what makes this model as plain values, and a digest of its arrays."""
        values: dict[str, str | float | int] = {
            "prior": self.prior,
            "seed": self.seed,
            "samples": self.samples,
            "ridge": self.ridge,
            "first_nm": float(self.used_nm[0]),
            "last_nm": float(self.used_nm[-1]),
            "band_count": len(self.weights),
            "noise_sd_median": float(np.median(self.noise_sd[self.first : self.first + len(self.weights)])),
        }
        for name, (kind, low, high) in PRIORS[self.prior].items():
            values[f"prior_{name}"] = f"{kind} {low:g} {high:g}"
        values["digest"] = self.digest()
        return values

    def digest(self) -> str:
        """Return 16 hexadecimal digits that change with any number of the model, to nine digits."""
        state = hashlib.sha256(f"{_FORMAT} {self.prior} {self.seed} {self.samples} {self.ridge:g}".encode())
        for name in _ARRAYS:
            state.update(b" ".join(b"%.8e" % value for value in np.ravel(getattr(self, name)).tolist()))
        return state.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the model to `path`, a .npz file without pickle."""
        arrays = {name: getattr(self, name) for name in (*_ARRAYS, *_SCALARS)}
        with atomic_path(path) as temporary, temporary.open("wb") as temporary_file:
            np.savez(temporary_file, format=_FORMAT, **arrays)

    @classmethod
    def load(cls, path: Path) -> InverseModel:
        """Return the model at `path`.

        Raises:
            MissingFileError: There is no such file.
            DataError: It is not a model of this form.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = dict(file)
        except FileNotFoundError as error:
            raise MissingFileError(f"{path} must be a model of skin; there is no such file.") from error
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} must be a model of skin; it cannot be read: {error}.") from error
        return cls(**_take_fields(path, stored))


_ARRAYS = (
    "wavelength_nm",
    "noise_sd",
    "weights",
    "components",
    "offset",
    "bounds",
    "coefficients",
    "limits",
    "error_at",
    "error_sd",
)
_SCALARS = ("first", "prior", "seed", "samples", "ridge")
_LAST_VISIBLE_START_NM = 520.0
_WATER_FROM_NM, _WATER_TO_NM = 900.0, 980.0


def sees_water(nm: Floats) -> bool:
    """Return whether wavelengths reach over water's band."""
    return bool(nm[0] <= _WATER_FROM_NM and nm[-1] >= _WATER_TO_NM)


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


def inverse_model(
    bands: Bands, *, prior: str = "extended", noise: npt.ArrayLike | None = None, seed: int = 0
) -> InverseModel:
    """Return the regression for spectra on `bands`; made once in a process, in half a second.

    Of bands that end in the visible those from 450 to 700 nm count, else all from 450 nm on.

    Args:
        bands: Bands of the spectra: visible, infrared or both.
        prior: What skin may be made of, one of `PRIORS`.
        noise: Standard deviation of reflectance in each band, (C,); `default_noise` if None. It decides how far the
            regression trusts a band, and the uncertainty.
        seed: Of the random samples.

    Raises:
        DataError: The bands cover neither 520 to 650 nm nor 750 to 900 nm, or a noise is not above 0.
        UnknownNameError: The prior is not a known one.
    """
    if prior not in PRIORS:
        raise UnknownNameError(f"`prior` must be one of {', '.join(PRIORS)}; got {prior!r}.")
    sd = default_noise(bands.centres_nm()) if noise is None else np.asarray(noise, dtype=np.float64)
    if sd.shape != (len(bands),) or not np.all(np.isfinite(sd) & (sd > 0)):
        raise DataError(f"`noise` must be {len(bands)} deviations above 0, one for each band; got shape {sd.shape}.")
    samples = min(_SAMPLES, _SAMPLED_VALUES // len(bands))
    return _train(bands.wavelength_nm, prior, tuple(sd.tolist()), seed, samples, _RIDGE)


def can_invert(bands: Bands) -> bool:
    """Return whether `inverse_model` takes these bands."""
    try:
        _used_range(bands.centres_nm())
    except DataError:
        return False
    return True


def draw_skin(prior: str, count: int, stream: np.random.Generator) -> Skin:
    """Return skin of `count` pixels drawn from a prior."""
    return Skin(**{name: _draw(stream, count, *how) for name, how in PRIORS[prior].items()})


@lru_cache(maxsize=16)
def _train(
    wavelength_nm: tuple[float, ...], prior: str, noise: tuple[float, ...], seed: int, samples: int, ridge: float
) -> InverseModel:
    """Fit the regression to spectra of the forward model, in shade and gloss, with noise."""
    nm, every_sd = np.array(wavelength_nm), np.array(noise)
    used = _used_range(nm)
    sd = every_sd[used]
    stream = np.random.default_rng(seed)
    skin = draw_skin(prior, samples, stream)
    clean = skin_reflectance(skin, np.minimum(nm[used], _LAST_NM)).astype(np.float64)
    clean *= _draw_misfit(stream, samples, nm[used])
    clean *= stream.uniform(*_SHADING, (samples, 1))
    clean += stream.exponential(_GLOSS, (samples, 1))
    noisy = clean + sd * (
        stream.standard_normal(clean.shape) + _COMMON_NOISE * stream.standard_normal((samples, 1))
    )  # fmt: skip
    targets = np.stack([np.asarray(getattr(skin, name)) for name in TARGETS], axis=1)
    targets[:, :_LOG_COUNT] = np.log(targets[:, :_LOG_COUNT])

    weights = sd**-2 / np.sum(sd**-2)
    shapes, clean_shapes = (spectra / (spectra @ weights)[:, None] for spectra in (noisy, clean))
    centre = shapes.mean(axis=0)
    # Components are those of shapes in units of their noise, so that a noisy band is no reason for one.
    unit = np.sqrt(np.mean((shapes - clean_shapes) ** 2, axis=0))
    white = (shapes - centre) / unit
    count = min(_COMPONENTS, len(sd) - 1)
    _, axes = np.linalg.eigh(white.T @ white)
    axes = axes[:, ::-1][:, :count]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(count)] < 0, -1, 1)
    components = axes / unit[:, None]
    components /= ((shapes - centre) @ components).std(axis=0)
    offset = centre @ components

    scores = shapes @ components - offset
    bounds = np.quantile(scores, [_BEYOND, 1 - _BEYOND], axis=0)
    rows = _monomials(np.clip(scores, *bounds).T)
    gram = rows @ rows.T + ridge * samples * np.eye(len(rows))
    coefficients = np.linalg.solve(gram, rows @ targets)

    found = _monomials(np.clip(clean_shapes @ components - offset, *bounds).T).T @ coefficients
    limits = np.stack([targets.min(axis=0), targets.max(axis=0)])
    error_at, error_sd = _own_error(np.clip(found, *limits), targets)
    return InverseModel(
        wavelength_nm=nm,
        first=used.start,
        noise_sd=every_sd,
        weights=weights,
        components=components,
        offset=offset,
        bounds=bounds,
        coefficients=coefficients,
        limits=limits,
        error_at=error_at,
        error_sd=error_sd,
        prior=prior,
        seed=seed,
        samples=samples,
        ridge=ridge,
    )


def _own_error(found: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return the errors' root mean squares in equally filled bins of estimated melanin, and the bins' means."""
    order = np.array_split(np.argsort(found[:, 0], kind="stable"), _ERROR_BINS)
    at = np.array([found[part, 0].mean() for part in order])
    sd = np.array([np.sqrt(np.mean((found[part] - targets[part]) ** 2, axis=0)) for part in order])
    return at, sd


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


def _used_range(nm: Floats) -> slice:
    """Return which bands count."""
    last_nm = _VISIBLE_END_NM if nm[-1] < _WATER_TO_NM - 80 else _LAST_NM
    inside = np.flatnonzero((nm >= _FIRST_NM) & (nm <= last_nm + 1e-6))
    reached = nm[inside]
    covers = len(inside) >= _LEAST_BANDS and np.diff(reached).max() <= _WIDEST_GAP_NM
    visible = covers and reached[0] <= _LAST_VISIBLE_START_NM and reached[-1] >= 650.0
    infrared = covers and reached[0] <= 750.0 and reached[-1] >= 900.0
    if not (visible or infrared):
        raise DataError(
            f"`bands` must cover 520 to 650 nm or 750 to 900 nm with {_LEAST_BANDS} bands or more, "
            f"{_WIDEST_GAP_NM:g} nm apart at most; got {len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm."
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


# The polynomial


def _index_sets(count: int) -> list[tuple[int, ...]]:
    """Return which components each monomial multiplies, in the order of `_monomials`."""
    pairs = [(i, j) for i in range(count) for j in range(i + 1)]
    cubes = [(i, *pair) for i in range(min(_CUBED, count)) for pair in pairs[: (i + 1) * (i + 2) // 2]]
    return [(), *((i,) for i in range(count)), *pairs, *cubes]


def _monomials(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return 1, all components, their products and the products of three of the first, (monomials, P) for (K, P)."""
    count = len(scores)
    rows = np.empty((len(_index_sets(count)), scores.shape[1]), dtype=scores.dtype)
    rows[0] = 1
    rows[1 : count + 1] = scores
    pairs = rows[count + 1 :]
    at = count + 1
    for i in range(count):
        np.multiply(scores[i], scores[: i + 1], out=rows[at : at + i + 1])
        at += i + 1
    for i in range(min(_CUBED, count)):
        width = (i + 1) * (i + 2) // 2
        np.multiply(scores[i], pairs[:width], out=rows[at : at + width])
        at += width
    return rows


def _gradient(coefficients: Floats, count: int) -> Floats:
    """Return the coefficients of every estimate's derivative by every component, (4 K, monomials of degree <= 2)."""
    sets = _index_sets(count)
    place = {tuple(sorted(one)): i for i, one in enumerate(sets)}
    squares = 1 + count + count * (count + 1) // 2
    gradient = np.zeros((coefficients.shape[1], count, squares))
    for one, row in zip(sets, coefficients, strict=True):
        for k in set(one):
            rest = list(one)
            rest.remove(k)
            gradient[:, k, place[tuple(sorted(rest))]] += one.count(k) * row
    return gradient.reshape(-1, squares)


@dataclass(frozen=True, eq=False)
class _Evaluator:
    """A model's arrays as blocks of spectra need them, float32: it moves an estimate by a thousandth of its error."""

    used: slice
    projection: Floats32  # (1 + K, B)
    offset: Floats32  # (K, 1)
    bounds: Floats32  # (2, K, 1)
    coefficients: Floats32  # (4, monomials)
    limits: Floats32  # (2, 4, 1)
    gradient: Floats32  # (4 K, monomials of degree <= 2)
    covariance: Floats32  # of the components' noise, (K, K), of a spectrum whose mean is 1
    with_mean: Floats32  # covariance of their noise with the mean's, (K, 1)
    of_mean: float  # variance of the mean's noise
    error_at: Floats
    error_variance: Floats

    @classmethod
    def of(cls, model: InverseModel) -> _Evaluator:
        """Return a model's evaluator."""
        used = slice(model.first, model.first + len(model.weights))
        variance = model.noise_sd[used] ** 2
        weighed = variance * model.weights
        count = model.components.shape[1]

        def cast(array: Floats) -> Floats32:
            return np.ascontiguousarray(array, dtype=np.float32)

        return cls(
            used=used,
            projection=cast(np.vstack([model.weights, model.components.T])),
            offset=cast(model.offset[:, None]),
            bounds=cast(model.bounds[:, :, None]),
            coefficients=cast(model.coefficients.T),
            limits=cast(model.limits[:, :, None]),
            gradient=cast(_gradient(model.coefficients, count)),
            covariance=cast(model.components.T @ (variance[:, None] * model.components)),
            with_mean=cast((model.components.T @ weighed)[:, None]),
            of_mean=float(model.weights @ weighed),
            error_at=model.error_at,
            error_variance=model.error_sd**2,
        )

    def run(self, spectra: Spectra, values: Floats32, deviations: Floats32) -> None:
        """Fill values and standard deviations, (4, P) each, of spectra (P, C)."""
        projected = self.projection @ spectra[:, self.used].astype(np.float32).T
        mean = projected[0]
        has_light = mean > 0
        mean[~has_light] = np.nan
        raw = projected[1:]
        raw /= mean
        scores = np.clip(raw - self.offset, *self.bounds)
        rows = _monomials(scores)
        np.clip(self.coefficients @ rows, *self.limits, out=values)
        slopes = (self.gradient @ rows[: self.gradient.shape[1]]).reshape(len(values), len(scores), -1)
        by_mean = np.einsum("tkp,kp->tp", slopes, raw)
        variance = np.einsum("tkp,tkp->tp", slopes, np.matmul(self.covariance, slopes))
        variance -= 2 * by_mean * np.einsum("tkp,kq->tp", slopes, self.with_mean)
        variance += np.float32(self.of_mean) * by_mean**2
        variance /= mean**2
        np.maximum(variance, 0, out=variance)  # rounding
        melanin = values[0].astype(np.float64)
        for target, own in zip(variance, self.error_variance.T, strict=True):
            target += np.interp(melanin, self.error_at, own)
        np.sqrt(variance, out=deviations)


def _take_fields(path: Path, stored: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Return a model's fields from a file's arrays."""
    missing = [name for name in ("format", *_ARRAYS, *_SCALARS) if name not in stored]
    if missing or int(stored["format"]) != _FORMAT:
        raise DataError(f"{path} must be a model of skin of form {_FORMAT}; it lacks {', '.join(missing) or 'that'}.")
    fields: dict[str, Any] = {name: np.asarray(stored[name], dtype=np.float64) for name in _ARRAYS}
    return fields | {
        "first": int(stored["first"]),
        "prior": str(stored["prior"]),
        "seed": int(stored["seed"]),
        "samples": int(stored["samples"]),
        "ridge": float(stored["ridge"]),
    }
