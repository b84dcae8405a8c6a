"""A Dask cluster that makes captures: workers of other machines that see the same folders and run the same code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hyperskin.atomic import temporary_path
from hyperskin.environment import plugin_path
from hyperskin.errors import DataError, ServiceError
from hyperskin.steps.captures import package_version

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

_TALKERS = ("distributed", "distributed.client", "tornado.application")
"""Who tells of a lost scheduler in tracebacks, where we do in a sentence."""

_CONNECT_S = 10
_LOOK_S = 2.0
_PATIENCE_S = 60.0  # a worker that is restarted needs some of it
"""How long a cluster may have no worker at all."""


def make_on_cluster(make: Callable[[T], R], items: Sequence[T], *, address: str, shared: Path) -> Iterator[tuple[T, R]]:
    """Yield each item with what `make` returned for it, in the order in which they are finished.

    What a worker that dies was making is made by another one.

    Args:
        make: A module's function, or a partial of one, that a worker can import; it may be called again for an item
            whose worker died.
        items: Small and picklable: absolute paths and numbers, never cubes.
        address: Of the scheduler, `tcp://host:port` or `tls://host:port`.
        shared: An absolute folder that the workers must see as this process sees it.

    Raises:
        ServiceError: The scheduler does not answer, has no worker, or goes away; or a worker runs other code, or does
            not see the folder.
        DataError: One item killed several workers.
    """
    with _connected(address) as client, _token(shared) as token:
        _await_left_over(client)
        terms = Terms(token, versions())
        with client.get_executor(pure=False) as pool:  # type: ignore[no-untyped-call]
            try:
                waiting = {pool.submit(_make_there, make, item, terms): item for item in items}
                while waiting:
                    for future in _next(client, address, waiting):
                        yield waiting.pop(future), _result(future, address)
            except BaseException:
                pool.shutdown(wait=False)
                raise


@dataclass(frozen=True)
class Terms:
    """What a worker must have in common with the process that asks.

    Attributes:
        token: A file that is there as long as the process that asks.
        versions: What decides the bytes of a capture, by name.
    """

    token: Path
    versions: Mapping[str, str]

    def require_here(self) -> None:
        """Refuse to work where a result would be lost, or another one.

        Raises:
            ServiceError: The token is not seen, or something is of another version.
        """
        here, there = platform.node(), versions()
        if not self.token.is_file():
            raise ServiceError(
                f"A Dask worker must see the folder {self.token.parent} as the process that asks; the one on {here} "
                "does not: let both mount the same disk at the same place."
            )
        other = [name for name, asked in self.versions.items() if there.get(name) != asked]
        if other:
            differences = "; ".join(f"{name} {there.get(name)!r} for {self.versions[name]!r}" for name in other)
            raise ServiceError(
                f"A Dask worker must run what the process that asks runs; the one on {here} has {differences}: "
                "start it anew, from the same code, as docs/keeper.md says."
            )


@cache
def versions() -> dict[str, str]:
    """Return what decides the bytes of a capture, as this process has loaded it."""
    libraries = {name: version(name) for name in ("numpy", "scipy", "h5py", "pillow")}
    return {
        "hyperskin's code": package_version()[:12],
        "python": ".".join(platform.python_version_tuple()[:2]),
        "HDF5_PLUGIN_PATH": plugin_path(),
        **libraries,
    }


def _make_there(make: Callable[[T], R], item: T, terms: Terms) -> R:
    """Make one item in a worker."""
    terms.require_here()
    return make(item)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise ServiceError(
            "`execution.dask` needs the package distributed; it is not installed: pip install 'hyperskin[cluster]', or "
            "leave `execution.dask` empty."
        ) from None
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        asyncio.run(_require_scheduler(address))
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (
        OSError,
        ValueError,
        TimeoutError,
    ) as error:  # nobody there, another protocol, a certificate that is missing
        reason = str(error).partition("\n")[0] or f"no word within {_CONNECT_S} s"
        raise ServiceError(
            f"A Dask scheduler must answer at {address}, which `execution.dask` names; none does ({reason}): start it "
            "with `dask scheduler`, or leave `execution.dask` empty."
        ) from error
    with client:
        _require_worker(client, address)
        yield client


async def _require_scheduler(address: str) -> None:
    """Ask who is there; a client waits for ever for the first word of something that is no scheduler."""
    from distributed.core import rpc

    async def ask() -> None:
        async with rpc(address) as scheduler:  # type: ignore[no-untyped-call]
            await scheduler.identity(n_workers=0)

    await asyncio.wait_for(ask(), _CONNECT_S)


def _require_worker(client: Client, address: str) -> None:
    """Wait for the first worker; tasks would wait for it without a word."""
    from distributed import TimeoutError as NoneInTime

    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except NoneInTime:
        raise ServiceError(
            f"The Dask cluster at {address} must have a worker; it has none: start one with "
            f"`HDF5_PLUGIN_PATH=:: dask worker {address} --nthreads 1`."
        ) from None


@contextlib.contextmanager
def _token(shared: Path) -> Iterator[Path]:
    """Put a file into the folder for the meantime, named so that it is swept when we are killed."""
    token = temporary_path(shared / "token")
    token.touch(mode=0o600)
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def _await_left_over(client: Client) -> None:
    """Wait for captures that a process which is gone has asked for; they would be written beside ours."""
    while any(client.run(_at_work).values()):
        time.sleep(_LOOK_S)


def _at_work(dask_worker: object) -> bool:
    """Tell, in a worker, whether it makes a capture."""
    executing = dask_worker.state.executing  # type: ignore[attr-defined]
    return any(task.key.startswith(_make_there.__name__) for task in executing)


def _next(client: Client, address: str, waiting: Mapping[Future[R], T]) -> set[Future[R]]:
    """Return what is finished by now, at least one."""
    lonely_since = None
    while True:
        finished, _ = wait(waiting, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
        if finished:
            return finished
        if client.scheduler_info(n_workers=1)["workers"]:
            lonely_since = None
            continue
        lonely_since = lonely_since or time.monotonic()
        if time.monotonic() - lonely_since > _PATIENCE_S:
            raise ServiceError(
                f"The Dask cluster at {address} must keep a worker; all ended and none came for {_PATIENCE_S:.0f} s. "
                "What is finished is kept: start workers and run this again."
            )


def _result(future: Future[R], address: str) -> R:
    """Return what a worker made, or say why none could."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        return future.result()
    except CancelledError:
        raise ServiceError(
            f"The Dask scheduler at {address} must stay; it went away. What is finished is kept: start it and its "
            "workers, and run this again."
        ) from None
    except KilledWorker as error:
        raise DataError(
            "A capture must fit in memory and on the disk; it killed several Dask workers, the last "
            f"{error.last_worker.address}: give them more memory and try again."
        ) from None
