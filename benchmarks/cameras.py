"""28 cameras' RGB beside what people would pick instead: colour-science `msds_to_XYZ`, once per camera.

All variants render the same synthetic cube in one process on one thread, in turns; imports and operators are made
beforehand, except ours, which are made inside the time. Read the ratios, above all of CPU time.

    python benchmarks/cameras.py                    # 512 x 512 px x 31 bands
    python benchmarks/cameras.py --height 1024 --width 1024 --rounds 3
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import colour
import numpy as np
import numpy.typing as npt

from hyperskin.bands import VIS
from hyperskin.data.encoding import to_8bit
from hyperskin.spectral.camera import camera_operator, find_cameras, render_cameras
from hyperskin.spectral.rendering import project
from hyperskin.spectral.responses import CameraResponse

Cube = npt.NDArray[np.float32]
Pictures = list[npt.NDArray[np.floating]]

SHAPE = colour.SpectralShape(400, 700, 10)
CAMERAS = [camera for camera in find_cameras(["sim28"]) if isinstance(camera, CameraResponse)]
SENSITIVITIES = [
    colour.MultiSpectralDistributions(camera.sensitivity[:31], camera.wavelength_nm[:31], labels=["r", "g", "b"])
    for camera in CAMERAS
]
LIGHT = colour.SDS_ILLUMINANTS["D65"].copy().align(SHAPE)
MATRICES = [camera_operator(camera, VIS).astype(np.float32) for camera in CAMERAS]


def make_cube(height: int, width: int) -> Cube:
    """Return smooth spectra of three parts, in noise."""
    rng = np.random.default_rng(7)
    nm = np.linspace(-1, 1, len(VIS))
    parts = np.stack([np.ones_like(nm), 0.5 + 0.4 * nm, np.exp(-4 * nm**2)]).astype(np.float32)
    cube = rng.random((height, width, 3), dtype=np.float32) @ parts / 3
    return cube + rng.normal(0, 0.002, cube.shape).astype(np.float32)


def peer(cube: Cube) -> Pictures:
    """One camera after the other, each in the place of the observer; white set to 1 afterwards."""
    pictures = []
    for sensitivity in SENSITIVITIES:
        rgb = colour.msds_to_XYZ(cube, sensitivity, LIGHT, method="Integration", shape=SHAPE)
        white = (sensitivity.values * LIGHT.values[:, None]).sum(axis=0)
        pictures.append(rgb * (white[1] / white / 100))
    return pictures


def plain(cube: Cube) -> Pictures:
    """What a person writes in a minute: a matrix product per camera."""
    return [cube @ matrix for matrix in MATRICES]


def ours_linear(cube: Cube) -> Pictures:
    """The same linear pictures by one stacked operator."""
    return list(project(cube, [camera_operator(camera, VIS) for camera in CAMERAS])[0])


def ours_to_the_end(cube: Cube) -> Pictures:
    """Colour correction, clipping and the sRGB curve on top."""
    options = {"illuminant": "d65", "colour_correction": True, "exposure": "none", "transfer": "srgb"}
    return list(render_cameras(cube, VIS, CAMERAS, **options).pictures.values())


def ours_in_8_bits(cube: Cube) -> Pictures:
    """And eight bits."""
    return [to_8bit(picture) for picture in ours_to_the_end(cube)]


VARIANTS: dict[str, Callable[[Cube], Pictures]] = {
    "colour-science, per camera": peer,
    "one matrix product per camera": plain,
    "hyperskin, linear": ours_linear,
    "hyperskin, corrected, sRGB": ours_to_the_end,
    "hyperskin, corrected, sRGB, 8 bits": ours_in_8_bits,
}


def main() -> None:
    """Measure the variants in turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # colour-science tells of every alignment

    cube = make_cube(arguments.height, arguments.width)
    corner = cube[:32, :32]
    # the peer sums where we use the trapezoid rule, which differ in the outermost bands
    apart = max(np.abs(a - b).max() for a, b in zip(peer(corner), ours_linear(corner), strict=True))
    print(f"{len(CAMERAS)} cameras, {arguments.height} x {arguments.width} px x {len(VIS)} bands; apart by {apart:.1e}")

    cpu_s: dict[str, list[float]] = {name: [] for name in VARIANTS}
    wall_s: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(arguments.rounds):
        for name, variant in VARIANTS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            variant(cube)
            cpu_s[name].append(time.process_time() - cpu)
            wall_s[name].append(time.perf_counter() - wall)

    first = next(iter(VARIANTS))
    print(
        f"{'variant':36} {'cpu s':>8} {'wall s':>8} {'ratio cpu':>10} {'ratio wall':>10}   median of {arguments.rounds}"
    )
    for name in VARIANTS:
        cpu, wall = statistics.median(cpu_s[name]), statistics.median(wall_s[name])
        ratios = statistics.median(cpu_s[first]) / cpu, statistics.median(wall_s[first]) / wall
        print(f"{name:36} {cpu:8.3f} {wall:8.3f} {ratios[0]:10.1f} {ratios[1]:10.1f}")


if __name__ == "__main__":
    main()
