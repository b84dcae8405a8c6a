"""How many trainings run at once on this machine, and which GPU or core each of them uses."""

from __future__ import annotations

import contextlib
import queue
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from hyperskin.environment import visible_gpus

Slot = Mapping[str, str]
"""What a process must find in its environment to use one GPU, or one core."""

_LIST_GPUS = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
_PATIENCE_S = 60


def find_slots(cpu_slots: int) -> list[Slot]:
    """Return one slot per GPU, or `cpu_slots` of one thread each where there is no GPU."""
    gpus = find_gpus()
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]
    return [{"OMP_NUM_THREADS": "1"}] * cpu_slots


def find_gpus() -> tuple[str, ...]:
    """Return the names that CUDA knows our GPUs by, without loading CUDA.

    The driver is asked for UUIDs, because it and CUDA may count the same GPUs in different orders.
    """
    visible = visible_gpus()
    if visible is not None:
        return visible
    try:
        listed = subprocess.run(  # noqa: S603 - fixed words, no shell
            _LIST_GPUS, capture_output=True, text=True, check=True, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(listed.stdout.split())


class Slots:
    """Slots that threads take and give back; whoever finds none free waits."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    @contextlib.contextmanager
    def taken(self) -> Iterator[Slot]:
        """Hold one slot."""
        slot = self._free.get()
        try:
            yield slot
        finally:
            self._free.put(slot)
