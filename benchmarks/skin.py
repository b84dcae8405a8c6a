"""Skin maps beside what people would pick instead: scipy once per pixel, for non-negative unmixing and for inversion.

Ours runs on all pixels; the peer runs on a few and its time is scaled to as many. One thread; read the ratios, the
seconds belong to this machine. Most skin lies inside the constraints, where unmixing is one product; the harder case is
one in which half of all pixels ends at a border.

    python benchmarks/skin.py                    # 1024 x 1024 px
    python benchmarks/skin.py --size 512 --peer-pixels 2000
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, nnls

from hyperskin.bands import VIS, regular_bands
from hyperskin.skin.inverse import inverse_model
from hyperskin.skin.maps import skin_maps
from hyperskin.skin.nnls import solve_nonnegative
from hyperskin.skin.optics import Skin, skin_reflectance
from hyperskin.skin.sampling import draw_skin

Floats = npt.NDArray[np.float64]
T = TypeVar("T")

BANDS = regular_bands(460.0, 700.0, 10.0)  # 25
START = Skin(0.05, 0.012, 0.68, 0.65)


def main() -> None:
    parser = argparse.ArgumentParser(description="Race skin maps against scipy, one pixel at a time.")
    parser.add_argument("--size", type=int, default=1024, help="height and width of the frame in px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-pixels", type=int, default=10_000, help="pixels the peer of unmixing works on")
    parser.add_argument("--fitted-pixels", type=int, default=40, help="pixels the peer of inversion works on")
    options = parser.parse_args()
    count = options.size**2
    print(f"{count} pixels, 1 thread")
    print(f"{'work':<44}{'ours s':>8}  {'peer':<32}{'peer s':>9}{'ratio':>9}{'|difference|':>14}")
    for work, right_sides in (
        ("NNLS, 25 bands, inside the constraints", make_right_sides(count, least=0.2)),
        ("NNLS, 25 bands, half at a border", make_right_sides(count, least=-0.2)),
    ):
        race_unmixing(work, right_sides, options.rounds, options.peer_pixels)
    race_inversion(options.size, options.rounds, options.fitted_pixels)


def columns() -> Floats:
    """Return four columns like those of melanin, two bloods and shading."""
    nm = BANDS.centres_nm()
    return np.stack(
        [
            9.3 * (nm / 500) ** -3.5,
            30 * np.exp(-(((nm - 542) / 14) ** 2)) + 32 * np.exp(-(((nm - 577) / 10) ** 2)) + 2,
            32 * np.exp(-(((nm - 556) / 24) ** 2)) + 4,
            np.ones(len(nm)),
        ],
        axis=1,
    )


def make_right_sides(count: int, *, least: float) -> Floats:
    """Return sums of the columns with amounts from `least` to 1 of the usual, in noise."""
    stream = np.random.default_rng(0)
    amounts = stream.uniform(least, 1.0, (count, 4)) * np.array([0.3, 0.02, 0.02, 1.0])
    return amounts @ columns().T + 0.01 * stream.standard_normal((count, len(BANDS)))


def race_unmixing(work: str, right_sides: Floats, rounds: int, peer_pixels: int) -> None:
    matrix = columns()
    ours_s, ours = best(lambda: solve_nonnegative(matrix, right_sides, free_count=1).coefficients, rounds)
    both_signs = np.hstack([matrix, -matrix[:, 3:]])
    few = right_sides[:peer_pixels]
    peer_s, peer = best(lambda: np.array([nnls(both_signs, one)[0] for one in few]), rounds)
    peer[:, 3] -= peer[:, 4]
    show(
        work,
        ours_s,
        "scipy nnls",
        peer_s * len(right_sides) / len(few),
        float(np.abs(peer[:, :4] - ours[: len(few)]).max()),
    )


def race_inversion(size: int, rounds: int, fitted_pixels: int) -> None:
    """Race all maps, their uncertainty included, against a fit of the forward model at each pixel."""
    truth = draw_skin("basic", 4096, np.random.default_rng(0))
    spectra = skin_reflectance(truth, VIS.centres_nm(), dtype=np.float32)
    cube = np.resize(spectra, (size, size, len(VIS)))
    inverse_model(VIS)
    ours_s, _ = best(lambda: skin_maps(cube, VIS), rounds)
    few = spectra[:fitted_pixels].astype(np.float64)
    peer_s, fitted = best(lambda: np.array([fit(one) for one in few]), 1)
    found = inverse_model(VIS).estimate(few).values["melanin_fraction"]
    peer_s *= size**2 / len(few)
    show(
        "all maps, 31 bands",
        ours_s,
        "scipy least_squares of the model",
        peer_s,
        float(np.median(np.abs(found - fitted))),
    )
    started = time.process_time()
    skin_maps(cube, VIS, method="beer_lambert")
    print(f"{'all maps, 31 bands, by linear unmixing':<44}{time.process_time() - started:>8.3f}")


def fit(spectrum: Floats) -> float:
    """Return the melanin of the skin whose spectrum, in any light, is nearest."""
    nm = VIS.centres_nm()[5:]
    target = np.log(spectrum[5:]) - np.log(spectrum[5:]).mean()

    def miss(values: Floats) -> Floats:
        skin = replace(
            START,
            melanin_fraction=float(np.exp(values[0])),
            blood_fraction=float(np.exp(values[1])),
            oxygenation=float(values[2]),
            scattering_power=float(values[3]),
        )
        model = np.log(skin_reflectance(skin, nm)[0])
        return np.asarray(model - model.mean() - target)

    bounds = ([np.log(0.002), np.log(0.001), 0.0, 0.5], [np.log(0.8), np.log(0.2), 1.0, 3.0])
    return float(np.exp(least_squares(miss, [np.log(0.05), np.log(0.012), 0.68, 1.6], bounds=bounds).x[0]))


def best(function: Callable[[], T], rounds: int) -> tuple[float, T]:
    """Return the least processor time in s, and what came back."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        value = function()
        times.append(time.process_time() - started)
    return min(times), value


def show(work: str, ours_s: float, peer: str, peer_s: float, difference: float) -> None:
    print(f"{work:<44}{ours_s:>8.3f}  {peer:<32}{peer_s:>9.1f}{peer_s / ours_s:>8.0f}x{difference:>14.1e}")


if __name__ == "__main__":
    main()
