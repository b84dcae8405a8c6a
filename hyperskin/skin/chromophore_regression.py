"""Spectra -> what skin is made of, with errors: a polynomial of principal components; noise is followed through it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Spectra
from hyperskin.errors import ShapeError
from hyperskin.skin.sampling import PRIORS

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

TARGETS = ("melanin_fraction", "blood_fraction", "oxygenation", "water_fraction")
"""What is estimated."""
LOG_COUNT = 2
"""So many of them, the first, by their logarithm."""
LAST_VISIBLE_START_NM = 520.0
"""Bands that begin later do not tell blood."""

_WATER_NM = (900.0, 980.0)
_CUBED = 5  # so many of the components also to the third power
_BLOCK_PX = 4096


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
        if nm[0] > LAST_VISIBLE_START_NM:
            names.remove("blood_fraction")
        if nm[0] <= _WATER_NM[0] and nm[-1] >= _WATER_NM[1]:
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
        np.exp(found[0, :LOG_COUNT], out=found[0, :LOG_COUNT])
        found[1, :LOG_COUNT] *= found[0, :LOG_COUNT]
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
        state = hashlib.sha256(f"{self.prior} {self.seed} {self.samples} {self.ridge:g}".encode())
        for name in _ARRAYS:
            state.update(b" ".join(b"%.8e" % value for value in np.ravel(getattr(self, name)).tolist()))
        return state.hexdigest()[:16]


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


# The polynomial


def _index_sets(count: int) -> list[tuple[int, ...]]:
    """Return which components each monomial multiplies, in the order of `monomials`."""
    pairs = [(i, j) for i in range(count) for j in range(i + 1)]
    cubes = [(i, *pair) for i in range(min(_CUBED, count)) for pair in pairs[: (i + 1) * (i + 2) // 2]]
    return [(), *((i,) for i in range(count)), *pairs, *cubes]


def monomials(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
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
        rows = monomials(scores)
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
