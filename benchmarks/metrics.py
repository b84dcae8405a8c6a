"""Our SSIM and SAM beside the same numbers from scikit-image, plain scipy, plain numpy and torch, in one run.

Every line is the processor time of the best of some rounds, ours and the peer's in turn, on one thread; only the ratio
travels between machines. The torch lines compute what torchmetrics computes, in the same way: a depthwise 11 x 11
convolution over five stacked fields, and an arccos of the cosine, both in float32. Ours works in float64 throughout.

    python benchmarks/metrics.py                    # 512 x 512 px x 31 bands
    python benchmarks/metrics.py --size 1024
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim
from hyperskin.metrics.summary import score_capture

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

C1, C2 = 1e-4, 9e-4


class Line(NamedTuple):
    """One comparison: what is computed, by us and by whom else."""

    work: str
    ours: Callable[[], float]
    peer_name: str
    peer: Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description="Ratios of our metrics against their peers.")
    parser.add_argument("--size", type=int, default=512, help="height and width of the frame in px")
    parser.add_argument("--bands", type=int, default=31)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    estimate, reference, mask = draw_scene(options.size, options.bands)
    print(f"{options.size} x {options.size} x {options.bands}, float32, mask covers {mask.mean():.0%}, 1 thread")
    print(f"{'work':<22}{'ours s':>8}  {'peer':<40}{'peer s':>8}{'ratio':>7}{'|difference|':>14}{'ours MB':>9}")
    for line in lines(estimate, reference, mask):
        (ours_s, ours), (peer_s, peer) = race(line, options.rounds)
        print(
            f"{line.work:<22}{ours_s:>8.3f}  {line.peer_name:<40}{peer_s:>8.3f}{peer_s / ours_s:>6.1f}x"
            f"{abs(ours - peer):>14.1e}{peak_bytes(line.ours) / 1e6:>9.0f}"
        )

    def every_score() -> float:
        known = {"capture": "scene", "subject": "scene", "expression": None, "direction": None}
        valid = np.ones_like(mask)
        return score_capture(estimate, reference, **known, mask=mask, valid=valid).values["sam/masked"]

    started = time.process_time()
    every_score()
    print(f"{'all scores, once':<22}{time.process_time() - started:>8.3f}{'':<71}{peak_bytes(every_score) / 1e6:>9.0f}")


def lines(estimate: Float32, reference: Float32, mask: Bool) -> list[Line]:
    planar = [torch.from_numpy(np.ascontiguousarray(cube.transpose(2, 0, 1)))[None] for cube in (estimate, reference)]
    double = [cube.astype(np.float64) for cube in (estimate, reference)]

    def full_ssim() -> float:
        return ssim(estimate, reference, data_range=1.0).value

    def masked_ssim() -> float:
        return ssim(estimate, reference, mask, data_range=1.0).value

    def full_sam() -> float:
        return sam(estimate, reference).value

    def masked_sam() -> float:
        return sam(estimate, reference, mask).value

    return [
        Line("SSIM, whole frame", full_ssim, "scikit-image, float64", lambda: skimage_ssim(*double)),
        Line("SSIM, whole frame", full_ssim, "scikit-image, float32", lambda: skimage_ssim(estimate, reference)),
        Line("SSIM, whole frame", full_ssim, "torch depthwise convolution, float32", lambda: torch_ssim(*planar)),
        Line("SSIM, under the mask", masked_ssim, "scipy, float64, masked", lambda: scipy_ssim(*double, mask)),
        Line("SSIM, under the mask", masked_ssim, "torch, unmasked: another number", lambda: torch_ssim(*planar)),
        Line("SAM, whole frame", full_sam, "numpy arccos, float64", lambda: numpy_sam(*double)),
        Line("SAM, whole frame", full_sam, "numpy arccos, float32", lambda: numpy_sam(estimate, reference)),
        Line("SAM, whole frame", full_sam, "torch arccos, float32", lambda: torch_sam(*planar)),
        Line("SAM, under the mask", masked_sam, "torch, unmasked: another number", lambda: torch_sam(*planar)),
    ]


def draw_scene(size: int, bands: int) -> tuple[Float32, Float32, Bool]:
    """Return estimate and reference, (size, size, bands), and an ellipse like a face in its frame."""
    generator = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(generator.random((size, size)), 2.0)[..., np.newaxis]
    reference = (0.2 + 0.8 * texture * np.linspace(0.5, 1.0, bands)).astype(np.float32)
    noise = generator.standard_normal((2, size, size, bands), dtype=np.float32)
    reference += np.float32(0.01) * noise[0]
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    return reference + np.float32(0.02) * noise[1], reference, (rows / 0.38) ** 2 + (columns / 0.28) ** 2 < 1


def race(line: Line, rounds: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the least processor time, in s, and the value of ours and of the peer's."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    values = {}
    for _ in range(rounds):
        for name, function in (("ours", line.ours), ("peer", line.peer)):
            started = time.process_time()
            values[name] = function()
            times[name].append(time.process_time() - started)
    return (min(times["ours"]), values["ours"]), (min(times["peer"]), values["peer"])


def peak_bytes(function: Callable[[], float]) -> int:
    """Return the most memory numpy held while `function` ran, above what was there before."""
    tracemalloc.start()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def skimage_ssim(estimate: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> float:
    return float(
        structural_similarity(
            estimate,
            reference,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=2,
        )
    )


def scipy_ssim(estimate: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], mask: Bool) -> float:
    """Return the masked index as one would write it with `scipy.ndimage`: six filtered fields a band, whole frame."""

    def smooth(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return ndimage.gaussian_filter(field, 1.5, truncate=3.5)[5:-5, 5:-5]

    reached = ndimage.maximum_filter(mask, size=11)[5:-5, 5:-5]
    weight = np.where(reached, smooth(mask.astype(np.float64)), 1.0)
    bands = []
    for band in range(reference.shape[2]):
        x, y = np.where(mask, reference[..., band], 0.0), np.where(mask, estimate[..., band], 0.0)
        x_mean, y_mean = smooth(x) / weight, smooth(y) / weight
        x_variance, y_variance = smooth(x * x) / weight - x_mean**2, smooth(y * y) / weight - y_mean**2
        covariance = smooth(x * y) / weight - x_mean * y_mean
        index = (2 * x_mean * y_mean + C1) * (2 * covariance + C2)
        index /= (x_mean**2 + y_mean**2 + C1) * (x_variance + y_variance + C2)
        bands.append(index[reached].mean())
    return float(np.mean(bands))


def torch_ssim(estimate: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the index of two (1, C, H, W) tensors."""
    bands = reference.shape[1]
    axis = torch.exp(-(torch.arange(-5.0, 6.0) ** 2) / (2 * 1.5**2))
    axis /= axis.sum()
    window = torch.outer(axis, axis).expand(bands, 1, 11, 11).contiguous()
    fields = torch.cat([estimate, reference, estimate**2, reference**2, estimate * reference])
    y_mean, x_mean, yy, xx, xy = torch.nn.functional.conv2d(fields, window, groups=bands)
    numerator = (2 * x_mean * y_mean + C1) * (2 * (xy - x_mean * y_mean) + C2)
    denominator = (x_mean**2 + y_mean**2 + C1) * (xx - x_mean**2 + yy - y_mean**2 + C2)
    return float((numerator / denominator).mean())


def numpy_sam(estimate: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> float:
    lengths = np.linalg.norm(estimate, axis=2) * np.linalg.norm(reference, axis=2)
    return float(np.arccos(np.clip((estimate * reference).sum(axis=2) / lengths, -1, 1)).mean())


def torch_sam(estimate: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the mean angle between two (1, C, H, W) tensors."""
    cosine = (estimate * reference).sum(dim=1) / (estimate.norm(dim=1) * reference.norm(dim=1))
    return float(torch.clamp(cosine, -1, 1).acos().mean())


if __name__ == "__main__":
    main()
