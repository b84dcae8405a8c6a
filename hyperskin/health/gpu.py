"""Whether torch can use the GPUs that are here, and whether somebody else uses them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from hyperskin.environment import visible_gpus
from hyperskin.health.finding import Finding

_SMI = "nvidia-smi"
_PATIENCE_S = 7.0
_BUSY_MIB = 1024
_CAN_USE = "import torch; print(torch.cuda.is_available())"


def look(root: Path) -> Iterator[Finding]:  # noqa: ARG001 - every check is asked alike
    """Ask the driver; without one there is no GPU, and nothing to look at."""
    if shutil.which(_SMI) is None:
        return
    try:
        gpus = _ask("--query-gpu=name,memory.used,memory.total")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stdout", "") or str(error)
        what = f"The driver of the GPUs must answer; {_SMI} does not ({said.strip().splitlines()[-1].rstrip('.')})."
        yield Finding("gpu", "broken", what, _SMI)
        return
    if not gpus:
        return
    yield from _torch(gpus[0][0])
    if visible_gpus() == ():
        what = f"CUDA_VISIBLE_DEVICES hides all {len(gpus)} GPUs, so that trainings use the CPU."
        yield Finding("gpu", "warning", what, "unset CUDA_VISIBLE_DEVICES")
    yield from _others()


def _torch(gpu: str) -> Iterator[Finding]:
    """Find a torch that was built without CUDA, or whose CUDA does not get along with the driver."""
    try:
        plain = version("torch").partition("+")[0]
    except PackageNotFoundError:
        return  # another check says so
    if _is_cpu_build():
        what = f"torch must be a CUDA build to train on the {gpu}; the one installed is for CPUs alone."
        yield Finding("gpu", "warning", what, f"pip install --force-reinstall torch=={plain}")
        return
    command = [sys.executable, "-c", _CAN_USE]
    try:
        said = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
    except subprocess.TimeoutExpired:
        return  # a busy machine; nothing is known
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        yield Finding("gpu", "broken", f"torch must be loadable; it is not ({reason}).", "python -c 'import torch'")
        return
    if said.stdout.strip() != "True" and visible_gpus() != ():
        hint = "its driver may be too old for this torch" if "driver" in said.stderr else "CUDA does not find it"
        what = f"torch must be able to use the {gpu}; it cannot: {hint}."
        yield Finding("gpu", "broken", what, "python -m torch.utils.collect_env")


def _is_cpu_build() -> bool:
    """Tell what torch was built for, without loading it."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    built = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b.*=\s*None\s*$", built, re.MULTILINE) is not None


def _others() -> Iterator[Finding]:
    """Find processes not of ours that hold much of a GPU's memory."""
    for number, memory, *_ in _ask("--query-compute-apps=pid,used_memory"):
        used = int(re.sub(r"\D", "", memory) or 0)
        if used >= _BUSY_MIB and not _is_ours(number):
            what = f"{_name(number)} holds {used / 1024:.1f} GiB of a GPU's memory, which trainings may lack."
            yield Finding("gpu", "warning", what, f"ps -fp {number}")


def _is_ours(number: str) -> bool:
    try:
        words = psutil.Process(int(number)).cmdline()
        return any(Path(word).name == "hyperskin" or word.startswith("hyperskin.") for word in words)
    except (psutil.Error, ValueError):
        return False


def _name(number: str) -> str:
    try:
        return f"{psutil.Process(int(number)).name()} (process {number})"
    except (psutil.Error, ValueError):
        return f"The process {number}"


def _ask(query: str) -> list[list[str]]:
    command = [_SMI, query, "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S)  # noqa: S603 - ours
    return [[word.strip() for word in line.split(",")] for line in said.stdout.splitlines() if line.strip()]
