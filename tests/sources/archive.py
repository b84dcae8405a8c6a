"""A tiny archive in the real file layout: five layouts, MATLAB files written byte for byte, and what they hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import savemat

HEIGHT, WIDTH = 24, 40
POSES = tuple(f"{expression}_{side}" for expression in ("neutral", "smile") for side in ("front", "left", "right"))
SPLITS = {"train": ("p001", "p004"), "valid": ("p016",), "test": ("p002", "p035", "p036", "p039")}
VISIBLE, INFRARED = "Hyper-Skin(RGB, VIS)", "Hyper-Skin(MSI, NIR)"
# Where each kind of file lies, {s} = split; written down here once more, so that a slip in the product's table shows.
LAYOUTS = {
    "release2025": {
        "rgb": VISIBLE + "/{s}/RGB",
        "vis": VISIBLE + "/{s}/VIS",
        "msi": INFRARED + "/{s}/MSI",
        "nir": INFRARED + "/{s}/NIR",
    },
    "icassp2024": {
        "rgb": VISIBLE + "/{s}/RGB_CIE",
        "vis": VISIBLE + "/{s}/VIS",
        "msi": INFRARED + "/{s}/MSI_CIE",
        "nir": INFRARED + "/{s}/NIR",
        "mask": INFRARED + "/mask/{s}",
    },
    "mainpy2023": {"nir": "{s}/NIR", "msi": "{s}/MSI/MSI_CIE"},
    "internal2023": {
        "rgb": VISIBLE + "/RGB_CIE/{s}",
        "vis": VISIBLE + "/VIS/{s}",
        "msi": INFRARED + "/MSI/{s}",
        "nir": INFRARED + "/NIR/{s}",
        "mask": "mask/{s}",
    },
    "readme2023": {"rgb": "RGB_CIE/{s}", "vis": "HSI_VIS/{s}", "msi": "MSI/{s}", "nir": "HSI_NIR/{s}"},
}
_ROUNDED = {(0, 0, 0): -3e-9, (1, 2, 3): 1 + 1e-8}  # as an audit of the real files found

Array = npt.NDArray[Any]


@dataclass
class Truth:
    """What one capture holds: cubes and MSI (H, W, C) as written, the picture as its JPEG decodes, a mask."""

    vis: Array
    nir: Array
    msi: Array
    rgb: Array
    mask: Array
    split: str


def write_archive(
    root: Path,
    layout: str = "release2025",
    *,
    splits: dict[str, tuple[str, ...]] | None = None,
    poses: tuple[str, ...] = POSES,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    without: tuple[str, ...] = (),
) -> dict[str, Truth]:
    """Write an archive and return what it holds, by stem; kinds in `without` are left out."""
    truths = {}
    for split, subjects in (splits or SPLITS).items():
        for stem in (f"{subject}_{pose}" for subject in subjects for pose in poses):
            truths[stem] = _draw(stem, split, size)
            folders = {kind: root / where.format(s=split) for kind, where in LAYOUTS[layout].items()}
            for kind, folder in folders.items():
                if kind not in without and (kind != "mask" or split == "test"):
                    truths[stem] = _write(kind, folder, stem, truths[stem])
    return truths


def find_file(root: Path, kind: str, stem: str) -> Path:
    """Return the one file of a capture whose folder's name begins with `kind`, such as VIS."""
    (path,) = [
        path
        for path in root.rglob(f"{stem}.*")
        if any(part.startswith(kind) for part in path.relative_to(root).parts[:-1] if part not in (VISIBLE, INFRARED))
    ]
    return path


def write_v73(path: Path, cube: Array, *, key: str = "cube", **options: Any) -> None:
    """Write (H, W, C) as MATLAB v7.3 does: 512 bytes of its own, then HDF5 with the axes in reverse."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        stored = cube.transpose(2, 1, 0)
        options = options or {"compression": "gzip", "shuffle": True, "chunks": True}
        file.create_dataset(key, data=stored, **options).attrs["MATLAB_class"] = b"double"
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: posix, written by a test".ljust(116) + bytes(8) + b"\x00\x02IM")


def write_v5(path: Path, cube: Array, *, key: str = "cube", compressed: bool = True) -> None:
    """Write (H, W, C) as MATLAB v5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {key: cube}, do_compression=compressed)


def _draw(stem: str, split: str, size: tuple[int, int]) -> Truth:
    """Return a scene that no turn maps to itself: brightness falls to the right and, by other steps, downwards."""
    generator = np.random.default_rng(list(stem.encode()))
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    rows, columns = rows / height, columns / width
    brightness = 0.15 + 0.4 * (1 - columns) ** 2 + 0.25 * rows + 0.1 * generator.random() * np.sin(9 * rows * columns)
    tint = 0.2 * np.exp(-((rows - 0.3) ** 2 + (columns - 0.2) ** 2) / 0.02)
    across = np.linspace(0, 1, 61)
    cube = brightness[..., None] * (0.5 + 0.5 * across) + tint[..., None] * np.sin(np.pi * across)
    cube = np.clip(cube + 0.01 * generator.random((height, width, 61)), 0, 1)
    for place, value in _ROUNDED.items():
        cube[place] = value
    vis, nir = cube[..., :31], cube[..., 30:].copy()
    thirds = [vis[..., 20:].mean(axis=2), vis[..., 10:21].mean(axis=2), vis[..., :11].mean(axis=2)]
    rgb = np.clip(np.stack(thirds, axis=2), 0, 1) ** 0.6
    msi = np.concatenate([rgb, nir[..., 26:27]], axis=2)
    mask = (rows > 0.25) & (columns < 0.7)
    return Truth(vis, nir, msi, np.rint(255 * rgb).astype(np.uint8), mask, split)


def _write(kind: str, folder: Path, stem: str, truth: Truth) -> Truth:
    if kind == "rgb":
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}.jpg"
        Image.fromarray(truth.rgb).save(path, quality=100, subsampling="4:2:0")
        with Image.open(path) as picture:
            truth.rgb = np.asarray(picture)
    elif kind == "mask":
        folder.mkdir(parents=True, exist_ok=True)
        drawn = np.repeat(255 * truth.mask[..., None].astype(np.uint8), 3, axis=2)
        Image.fromarray(drawn).save(folder / f"{stem}.jpg", quality=95)
    else:
        write_v73(folder / f"{stem}.mat", getattr(truth, kind))
    return truth
