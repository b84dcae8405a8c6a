"""The regression for given bands, taught by the forward model alone; made once in a process, in half a second."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.errors import DataError, UnknownNameError
from hyperskin.skin.chromophore_regression import LAST_VISIBLE_START_NM, LOG_COUNT, TARGETS, InverseModel, monomials
from hyperskin.skin.sampling import PRIORS, default_noise, draw_samples

Floats = npt.NDArray[np.float64]

_FIRST_NM, _VISIBLE_END_NM, _INFRARED_END_NM, _LAST_NM = 450.0, 700.0, 900.0, 1005.0
_WIDEST_GAP_NM = 20.0
_LEAST_BANDS = 8
_COMPONENTS = 9
_SAMPLES, _SAMPLED_VALUES = 30_000, 4_000_000  # at most so many spectra, and values in them: 32 MB an array
_RIDGE = 1e-6
_BEYOND = 0.001  # of the samples beyond either end of a component's range
_ERROR_BINS = 12


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


@lru_cache(maxsize=16)
def _train(
    wavelength_nm: tuple[float, ...], prior: str, noise: tuple[float, ...], seed: int, samples: int, ridge: float
) -> InverseModel:
    """Fit the regression to spectra of the forward model, in shade and gloss, with noise."""
    nm, every_sd = np.array(wavelength_nm), np.array(noise)
    used = _used_range(nm)
    sd = every_sd[used]
    drawn = draw_samples(prior, samples, nm[used], sd, seed=seed)
    targets = np.stack([np.asarray(getattr(drawn.skin, name)) for name in TARGETS], axis=1)
    targets[:, :LOG_COUNT] = np.log(targets[:, :LOG_COUNT])

    weights = sd**-2 / np.sum(sd**-2)
    shapes, clean_shapes = (spectra / (spectra @ weights)[:, None] for spectra in (drawn.noisy, drawn.clean))
    components = _principal_components(shapes, clean_shapes)
    offset = shapes.mean(axis=0) @ components
    scores = shapes @ components - offset
    bounds = np.quantile(scores, [_BEYOND, 1 - _BEYOND], axis=0)
    rows = monomials(np.clip(scores, *bounds).T)
    gram = rows @ rows.T + ridge * samples * np.eye(len(rows))
    coefficients = np.linalg.solve(gram, rows @ targets)

    found = monomials(np.clip(clean_shapes @ components - offset, *bounds).T).T @ coefficients
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


def _principal_components(shapes: Floats, clean_shapes: Floats) -> Floats:
    """Return the axes, (B, K), of shapes in units of their noise, so that a noisy band is no reason for one."""
    centre = shapes.mean(axis=0)
    unit = np.sqrt(np.mean((shapes - clean_shapes) ** 2, axis=0))
    white = (shapes - centre) / unit
    count = min(_COMPONENTS, shapes.shape[1] - 1)
    _, axes = np.linalg.eigh(white.T @ white)
    axes = axes[:, ::-1][:, :count]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(count)] < 0, -1, 1)
    components = axes / unit[:, None]
    components /= ((shapes - centre) @ components).std(axis=0)
    return np.asarray(components)


def _own_error(found: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return the errors' root mean squares in equally filled bins of estimated melanin, and the bins' means."""
    order = np.array_split(np.argsort(found[:, 0], kind="stable"), _ERROR_BINS)
    at = np.array([found[part, 0].mean() for part in order])
    sd = np.array([np.sqrt(np.mean((found[part] - targets[part]) ** 2, axis=0)) for part in order])
    return at, sd


def _used_range(nm: Floats) -> slice:
    """Return which bands count."""
    last_nm = _VISIBLE_END_NM if nm[-1] < _INFRARED_END_NM else _LAST_NM
    inside = np.flatnonzero((nm >= _FIRST_NM) & (nm <= last_nm + 1e-6))
    reached = nm[inside]
    covers = len(inside) >= _LEAST_BANDS and np.diff(reached).max() <= _WIDEST_GAP_NM
    visible = covers and reached[0] <= LAST_VISIBLE_START_NM and reached[-1] >= 650.0
    infrared = covers and reached[0] <= 750.0 and reached[-1] >= _INFRARED_END_NM
    if not (visible or infrared):
        raise DataError(
            f"`bands` must cover 520 to 650 nm or 750 to 900 nm with {_LEAST_BANDS} bands or more, "
            f"{_WIDEST_GAP_NM:g} nm apart at most; got {len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm."
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)
