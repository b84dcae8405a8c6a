"""Which device trains, with how many threads, and what it can do."""

from __future__ import annotations

import functools
import logging
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from hyperskin.errors import HyperSkinError, ParamsError
from hyperskin.processor import processor_name

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_PROBE = """
import sys, torch
dtype = getattr(torch, sys.argv[1])
torch.set_num_threads(1)
image = torch.rand(2, 64, 32, 32, dtype=dtype, requires_grad=True)
matrix = torch.rand(256, 256, dtype=dtype, requires_grad=True)
kernel = torch.rand(64, 64, 2, 2, dtype=dtype)
result = torch.conv2d(image, kernel).sum() + torch.conv_transpose2d(image, kernel).sum() + (matrix @ matrix).sum()
result.backward()
"""
_PROBE_SECONDS = 120

_log = logging.getLogger(__name__)


class MemoryShortError(HyperSkinError, MemoryError):
    """The device has too little memory for what was asked."""


def find_device() -> torch.device:
    """Return the first CUDA device where there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def set_threads(count: int) -> None:
    """Let torch use `count` CPU threads within an operation and one across operations.

    The second number can only be set before torch has done parallel work; later it is left as it is.
    """
    if count < 1:
        raise ParamsError(f"The number of threads must be at least 1; got {count}.")
    torch.set_num_threads(count)
    if torch.get_num_interop_threads() != 1:
        try:
            torch.set_num_interop_threads(1)
        except RuntimeError:
            _log.debug("torch already runs %d operations side by side", torch.get_num_interop_threads())


def describe_device(device: torch.device) -> dict[str, str]:
    """Return what a run should remember of its machine, as plain text."""
    facts = {
        "device": str(device),
        "device_name": processor_name(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device_name"] = properties.name
        facts["device_memory_gib"] = f"{properties.total_memory / 2**30:.0f}"
        facts["cuda"] = str(torch.version.cuda)
        facts["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return facts


@functools.cache
def survives_on_cpu(precision: Precision) -> bool:
    """Return whether this CPU computes in `precision`; tried in a child process, which may die of it.

    A virtual machine may advertise matrix instructions (AMX) that it does not let anybody use; the first 16-bit
    matrix product then kills the process with SIGILL.
    """
    if precision == "fp32":
        return True
    name = str(DTYPES[precision]).removeprefix("torch.")
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and our own text
            [sys.executable, "-c", _PROBE, name], capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return child.returncode == 0


@contextmanager
def refuse_short_memory(device: torch.device, advice: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one sentence that ends with `advice`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise MemoryShortError(f"The work must fit into the memory of {device}; it does not: {advice}.") from error
