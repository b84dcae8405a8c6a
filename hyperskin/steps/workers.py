"""Processes of this machine that make captures, and end with the one that asked."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from hyperskin.errors import DataError

_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


def make_here(make: Callable[[T], R], items: Sequence[T], *, workers: int) -> Iterator[tuple[T, R]]:
    """Yield each item with what `make` returned for it, in the order in which they are finished.

    Args:
        make: A module's function, or a partial of one, that another process can import; it may be called again for an
            item whose worker was killed.
        items: Small and picklable.
        workers: Processes to use; 0 = one per core, 1 = this one.

    Raises:
        DataError: Two pools were broken by a worker that was killed.
    """
    left = dict(enumerate(items))
    if len(left) <= 1 or workers == 1:
        yield from ((item, make(item)) for item in items)
        return
    for is_last in (False, True):
        try:
            for place, result in _in_pool(make, left, workers):
                yield left.pop(place), result
            return
        except BrokenProcessPool as error:
            if is_last:
                raise DataError(
                    f"Every capture must fit in memory and on the disk; with {len(left)} left to make, a worker "
                    "process was killed twice: make room, set `execution.workers: 1` and try again."
                ) from error
            _log.warning("a worker process was killed; what is unfinished starts again (captures: %d)", len(left))


def _in_pool(make: Callable[[T], R], items: dict[int, T], workers: int) -> Iterator[tuple[int, R]]:
    """Yield results by their items' places from one pool, which is gone when this is left, for whatever reason."""
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers or None, context, _end_with_parent)
    try:
        places = {pool.submit(make, item): place for place, item in items.items()}
        for future in as_completed(places):
            yield places[future], future.result()
    except BaseException:
        for process in multiprocessing.active_children():  # else their captures are finished first
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let this worker end when its parent is killed; else it waits for work for ever, or writes beside the next run."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()
