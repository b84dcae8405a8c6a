"""What one frame costs a model: numbers, products, processor time and memory, measured in this very process."""

from __future__ import annotations

import contextlib
import re
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from hyperskin.data.scaling import is_stretched
from hyperskin.models.baselines import build, parameter_count
from hyperskin.models.products import products_per_px
from hyperskin.models.regression import Regression, feature_count
from hyperskin.models.stretched import Stretched
from hyperskin.pairs import Pair
from hyperskin.steps.evaluate import Reconstruct
from hyperskin.steps.fit import is_channels_last
from hyperskin.steps.unit import is_regression, regression_kind
from hyperskin.training.device import set_threads
from hyperskin.training.reconstruct import reconstruct

_SEED = 1
_ROUNDS = 3
_ENOUGH_S = 30.0
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # of this process alone, since Linux 4.0


@dataclass(frozen=True)
class FrameCost:
    """What a frame costs.

    Attributes:
        parameters: Numbers that are fitted.
        kmac_per_px: Thousands of multiplications with an addition per pixel, of convolutions and matrices.
        frame_s: Processor seconds, the best of some rounds.
        peak_mb: Most resident memory in it beyond what the process had before, in units of 10**6 bytes; the frame that
            comes out is part of it, the one that goes in is not.
    """

    parameters: int
    kmac_per_px: float
    frame_s: float
    peak_mb: float


def measure_frame(
    model: str, pair: Pair, config: Mapping[str, int], recipe: Mapping[str, Any], *, frame_px: int, threads: int
) -> FrameCost:
    """Return what a frame of random numbers costs a model with random weights, for both decide nothing.

    Only a process that has computed nothing yet tells what memory it takes.

    Args:
        model: A network's name, or `regression_<kind>`.
        pair: The reconstruction task.
        config: The network's sizes.
        recipe: Its `input_scale`, or a regression's `transfer`, is read.
        frame_px: Height and width.
        threads: On so many threads.
    """
    set_threads(threads)
    way, parameters, products = _build(model, pair, config, recipe)
    frame = np.random.default_rng(_SEED).random((frame_px, frame_px, pair.in_channels), dtype=np.float32)
    before_bytes = psutil.Process().memory_info().rss
    with contextlib.suppress(OSError), _CLEAR.open("w") as clear:  # a guarded system keeps what loading took
        clear.write(_FORGET_PEAK)
    seconds = [_processor_seconds(way, frame)]
    peak_bytes = _peak_bytes()
    while len(seconds) < _ROUNDS and sum(seconds) < _ENOUGH_S:
        seconds.append(_processor_seconds(way, frame))
    return FrameCost(parameters, products / 1e3, min(seconds), max(0, peak_bytes - before_bytes) / 1e6)


def _build(
    model: str, pair: Pair, config: Mapping[str, int], recipe: Mapping[str, Any]
) -> tuple[Reconstruct, int, float]:
    """Return a way to reconstruct, how many numbers it has, and the products that a pixel costs it."""
    if is_regression(model):
        kind = regression_kind(model)
        shape = (feature_count(kind, pair.in_channels), pair.out_channels)
        weights = np.random.default_rng(_SEED).random(shape)
        regression = Regression(kind, recipe["transfer"], pair.in_channels, weights)
        return regression.reconstruct, regression.parameter_count, float(regression.parameter_count)
    torch.manual_seed(_SEED)
    bare = build(model, in_channels=pair.in_channels, out_channels=pair.out_channels, **config).eval()
    if is_channels_last(model):
        bare = bare.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    network = Stretched(bare) if is_stretched(pair, recipe["input_scale"]) else bare
    count, products = parameter_count(network), products_per_px(network, pair.in_channels)
    return lambda given: reconstruct(network, given, device=torch.device("cpu")), count, products


def _processor_seconds(way: Reconstruct, frame: Any) -> float:
    began = time.process_time()
    way(frame)
    return time.process_time() - began


def _peak_bytes() -> int:
    """Return the most memory this process has had, since the peak was forgotten where the system can forget it."""
    if _STATUS.is_file() and (found := _PEAK.search(_STATUS.read_text())):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes where there is no /proc
