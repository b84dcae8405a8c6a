"""Raw capture -> 62 bands beside what people would pick instead: Spectral Python with interp1d or CubicSpline.

Every round runs each variant in a process of its own on the same synthetic capture; imports are not timed. Read the
ratios, above all of CPU time: the seconds belong to this machine.

    python benchmarks/preprocess.py                 # a quarter of a capture: 256 lines of 1024 px x 448 bands
    python benchmarks/preprocess.py --lines 1024 --variants floor ours_linear ours_cubic
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hyperskin.bands import FX10, NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import write_cubes
from hyperskin.envi import open_envi, write_envi
from hyperskin.sources.lumo import Lumo
from hyperskin.spectral.develop import Development, develop

NAME = "p001_neutral_front"
TARGETS = {"vis": VIS, "nir": NIR}
WANTED_NM = np.concatenate([VIS.centres_nm(), NIR.centres_nm()])


def make_capture(folder: Path, lines: int, width: int, reference_lines: int) -> None:
    """Write a capture with smooth spectra and the noise of a sensor."""
    rng = np.random.default_rng(7)
    lamp = 60 + 3200 * np.exp(-(((FX10.centres_nm() - 680) / 190) ** 2))
    vignette = 1 - 0.18 * np.linspace(-1, 1, width) ** 2
    dark = 270 + rng.normal(0, 4, (width, len(FX10)))
    white = vignette[:, None] * lamp

    def blocks(count: int, reflectance: float) -> Iterator[np.ndarray]:
        for first in range(0, count, 16):
            shade = reflectance * (0.8 + 0.2 * np.sin(np.arange(first, min(first + 16, count)) / 40))
            counts = dark + shade[:, None, None] * white
            yield np.rint(counts + rng.normal(0, 4, counts.shape)).astype(np.uint16)

    for prefix, count, reflectance in (
        ("", lines, 0.6),
        ("DARKREF_", reference_lines, 0.0),
        ("WHITEREF_", reference_lines, 1.0),
    ):
        path = folder / "capture" / f"{prefix}{NAME}.hdr"
        write_envi(path, blocks(count, reflectance), wavelength_nm=FX10.wavelength_nm, fields={"tint": 8.0})


def ours(folder: Path, kind: str) -> Development:
    raw = Lumo().open_raw(folder, CaptureId.parse(NAME))
    return develop(
        raw.line_blocks, raw.white_lines, raw.dark_lines, raw.bands, TARGETS,
        kind=kind, fwhm_nm=10.0, full_scale=raw.full_scale,
    )  # fmt: skip


def ours_to_npy(folder: Path, kind: str) -> None:
    header = open_envi(folder / "capture" / f"{NAME}.hdr").header
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"ours_{kind}_{name}.npy").open("wb")) for name in TARGETS}
        for name, file in files.items():
            shape = (header.lines, header.samples, len(TARGETS[name]))
            form = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, form)
        for block in ours(folder, kind):
            for name, cube in block.cubes.items():
                files[name].write(cube.data)


def ours_to_cube_file(folder: Path) -> None:
    raw = open_envi(folder / "capture" / f"{NAME}.hdr").header
    with write_cubes(folder / "cube.h5", height=raw.lines, width=raw.samples, bands=TARGETS, attributes={}) as writer:
        for block in ours(folder, "linear"):
            writer.append(block.cubes, block.valid)


def peer(folder: Path, kind: str) -> None:
    import spectral
    from scipy.interpolate import CubicSpline, interp1d

    def load(prefix: str) -> np.ndarray:
        return np.asarray(spectral.open_image(str(folder / "capture" / f"{prefix}{NAME}.hdr")).load())

    white, dark = load("WHITEREF_").mean(axis=0), load("DARKREF_").mean(axis=0)
    reflectance = (load("") - dark) / (white - dark)
    if kind == "linear":
        cube = interp1d(FX10.centres_nm(), reflectance, kind="linear", axis=2)(WANTED_NM)
    else:
        pieces = [reflectance[first : first + 32] for first in range(0, len(reflectance), 32)]  # else 50 MB a line
        cube = np.concatenate([CubicSpline(FX10.centres_nm(), piece, axis=2)(WANTED_NM) for piece in pieces])
    np.save(folder / f"peer_{kind}.npy", cube.astype(np.float32))


def floor(folder: Path) -> None:
    """Read what must be read and write what must be written, and nothing else."""
    with (folder / "floor.npy").open("wb") as file:
        for counts in open_envi(folder / "capture" / f"{NAME}.hdr").line_blocks(16):
            file.write(np.zeros((*counts.shape[:2], WANTED_NM.size), dtype=np.float32).data)
    for prefix in ("DARKREF_", "WHITEREF_"):
        for _ in open_envi(folder / "capture" / f"{prefix}{NAME}.hdr").line_blocks(16):
            pass


VARIANTS: dict[str, Callable[[Path], None]] = {
    "floor": floor,
    "ours_linear": lambda folder: ours_to_npy(folder, "linear"),
    "ours_cubic": lambda folder: ours_to_npy(folder, "cubic"),
    "ours_gaussian": lambda folder: ours_to_npy(folder, "gaussian"),
    "ours_stored": ours_to_cube_file,
    "peer_linear": lambda folder: peer(folder, "linear"),
    "peer_cubic": lambda folder: peer(folder, "cubic"),
}


def run_here(variant: str, folder: Path) -> dict[str, float]:
    if variant.startswith("peer"):
        import spectral  # noqa: F401 - imported before the clock starts
    wall, cpu = time.perf_counter(), time.process_time()
    VARIANTS[variant](folder)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": int(peak.split()[1]) / 1000}


def run_apart(variant: str, folder: Path) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--run", variant, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def compare(folder: Path, variants: list[str], rounds: int) -> None:
    results = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            results[variant].append(run_apart(variant, folder))
    print(f"{'variant':14} {'wall s':>8} {'cpu s':>8} {'peak MB':>8}   cpu / wall of the peer over this")
    medians = {
        variant: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for variant, runs in results.items()
    }
    for variant, own in medians.items():
        other = medians.get("peer_cubic" if variant == "ours_cubic" else "peer_linear")
        has_ratio = other is not None and not variant.startswith("peer")
        ratio = f"{other['cpu_s'] / own['cpu_s']:.0f}x / {other['wall_s'] / own['wall_s']:.0f}x" if has_ratio else ""
        print(f"{variant:14} {own['wall_s']:8.3f} {own['cpu_s']:8.3f} {own['peak_mb']:8.0f}   {ratio}")
    for kind in ("linear", "cubic"):
        paths = [folder / f"{stem}.npy" for stem in (f"peer_{kind}", f"ours_{kind}_vis", f"ours_{kind}_nir")]
        if all(path.exists() for path in paths):
            whole, vis, nir = (np.load(path, mmap_mode="r") for path in paths)
            difference = max(float(np.abs(whole[..., :31] - vis).max()), float(np.abs(whole[..., 31:] - nir).max()))
            print(f"{kind}: largest difference {difference:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=256)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--reference-lines", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--run", nargs=2, metavar=("VARIANT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_here(options.run[0], Path(options.run[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_capture(Path(folder), options.lines, options.width, options.reference_lines)
        print(f"{options.lines} lines x {options.width} px x {len(FX10)} bands, {options.rounds} rounds")
        compare(Path(folder), options.variants, options.rounds)


if __name__ == "__main__":
    main()
