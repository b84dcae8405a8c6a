"""The Prefect workers of this machine: one per GPU or core in the pool `gpu`, which is the slot; one in `control`."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import platform
import sys
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.alive import crash_stale_runs
from flows.slots import Slot, find_slots
from flows.units import silence_of
from hyperskin.commands.up import WORKERS_READY
from hyperskin.environment import apply_closed_settings, child_environment, repository_root
from hyperskin.errors import HyperSkinError, ServiceError
from hyperskin.params import FILE_NAME, Params
from hyperskin.processes import Children, deaf_to_signals, interrupted_by_signals
from hyperskin.steps.search import worker_key

CONTROL, GPU = "control", "gpu"
_CONTROL_LIMIT = 10  # flows that only wait for others
_MARK = "HYPERSKIN_WORKERS"  # in the environment of all that a worker starts, to find what outlived it
_PATIENCE_S = (10.0, 5.0)  # a flow that is asked to stop first stops its training
_START_UP_S = 300.0  # seconds each on an idle machine, a minute on a busy small one
_LOOK_S = 1.0
_POLL_S = 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """One `prefect worker start`.

    Attributes:
        name: What the server knows it by.
        pool: Where it asks for runs.
        limit: How many runs it takes at a time.
        slot: What its runs find in their environment.
    """

    name: str
    pool: str
    limit: int
    slot: Slot

    def command(self) -> list[str]:
        """Return the command that starts it."""
        words = ["worker", "start", "--pool", self.pool, "--type", "process", "--name", self.name]
        return [sys.executable, "-m", "prefect", *words, "--limit", str(self.limit), "--install-policy", "never"]


def choose_workers(slots: Sequence[Slot], *, host: str, join: bool) -> list[Worker]:
    """Return the workers of a machine: one per slot, and first the one for flows that wait, unless it only joins."""
    ours = [Worker(f"{host}-{GPU}{place}", GPU, 1, slot) for place, slot in enumerate(slots)]
    return ours if join else [Worker(f"{host}-{CONTROL}", CONTROL, _CONTROL_LIMIT, {}), *ours]


def work(root: Path, *, join: bool) -> None:
    """Make pools and deployments, unless this only joins; then let workers work until this is interrupted.

    Raises:
        ServiceError: The pools or deployments cannot be made, or a worker does not start.
    """
    params = Params.read(root / FILE_NAME)
    workers = choose_workers(find_slots(params.train.slots), host=platform.node(), join=join)
    mark = uuid.uuid4().hex
    more = {"HYPERSKIN_ROOT": str(root), "PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_PLUGINS_ENABLED": "false"}
    children = Children(root, child_environment(root, {**more, _MARK: mark}), patience_s=_PATIENCE_S)
    if join:
        _require_pool(GPU)
    else:
        _make_pools(CONTROL, GPU)
        children.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], on_line=_log.debug)
        silent = {
            "train-unit": silence_of(root, lambda of: of["keys"]),
            "tune-unit": silence_of(root, lambda of: [worker_key(of["name"], of["worker"], of["total"])]),
        }
        for name in crash_stale_runs(
            root, ["train-all", "study", "sweep"], silent=silent, stale_s=params.execution.stale_s
        ):
            _log.warning("run %s was broken off; it is marked as crashed", name)
    stopping = threading.Event()
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            _watch([(worker, pool.submit(_run, worker, children, stopping)) for worker in workers])
        finally:
            with deaf_to_signals():
                stopping.set()
                _end(children, mark)


def _run(worker: Worker, children: Children, stopping: threading.Event) -> None:
    def pass_on(line: str) -> None:
        _log.log(logging.DEBUG if stopping.is_set() else logging.INFO, "%s", line)

    children.run(worker.command(), more=worker.slot, on_line=pass_on)


def _watch(running: Sequence[tuple[Worker, Future[None]]]) -> None:
    """Say when all workers ask for work, and which one ended.

    Raises:
        ServiceError: None is left, or one did not start.
    """
    _wait_until_asking(running)
    _log.info(WORKERS_READY)
    names = {future: worker.name for worker, future in running}
    for future in as_completed(names):
        _log.warning("the worker %s ended (%s); the others go on", names[future], future.exception() or "with no word")
    raise ServiceError("A worker must keep running; every one ended.")


def _wait_until_asking(running: Sequence[tuple[Worker, Future[None]]]) -> None:
    """Wait for the first sign that the server has of each worker."""
    begin = dt.datetime.now(dt.UTC)
    deadline = time.monotonic() + _START_UP_S
    with get_client(sync_client=True) as client:
        while not {worker.name for worker, _ in running} <= _asking(
            client, {worker.pool for worker, _ in running}, begin
        ):
            for worker, future in running:
                if future.done():
                    raise ServiceError(f"The worker {worker.name} must start; it ended: {future.exception()}")
            if time.monotonic() > deadline:
                raise ServiceError(f"The workers must start within {_START_UP_S:.0f} s; is the machine overloaded?")
            time.sleep(_LOOK_S)


def _asking(client: SyncPrefectClient, pools: Collection[str], since: dt.datetime) -> set[str]:
    """Return the names of the workers that the server heard of."""
    return {
        worker.name
        for pool in pools
        for worker in client.read_workers_for_work_pool(pool)
        if worker.last_heartbeat_time and worker.last_heartbeat_time >= since
    }


def _make_pools(*names: str) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        for name in names:
            with contextlib.suppress(ObjectAlreadyExists):
                client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))


def _require_pool(name: str) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.read_work_pool(name)
    except ObjectNotFound:
        raise ServiceError(
            f"The Prefect server must have the pool {name} before a machine joins; it has none: start `hyperskin up` "
            "with `execution.training: workers` there first."
        ) from None


def _end(children: Children, mark: str) -> None:
    """End the workers and all that they started, which they would leave behind: runs live in sessions of their own."""
    workers = {process.pid for process in psutil.Process().children()}
    marked = {process.pid: process for process in _marked(mark)}
    for number, process in marked.items():
        with contextlib.suppress(psutil.Error):
            is_run = process.ppid() in workers or process.ppid() not in marked  # or its worker is gone already
            if number not in workers and is_run:
                process.terminate()  # it ends what it started itself
    children.stop()
    for request in (psutil.Process.terminate, psutil.Process.kill):
        if _are_gone(mark, _PATIENCE_S[0]):
            return
        for process in _marked(mark):
            with contextlib.suppress(psutil.Error):
                request(process)
    if not _are_gone(mark, _PATIENCE_S[1]):  # a kill takes the system a moment
        _log.warning("what the workers started is still there: %s", [process.pid for process in _marked(mark)])


def _are_gone(mark: str, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while _marked(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _marked(mark: str) -> list[psutil.Process]:
    """Return what runs with our mark in its environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def main() -> None:
    """Run workers until stopped; a refusal is one sentence."""
    _log.addHandler(logging.StreamHandler(sys.stdout))  # Prefect has taken the root's handlers for its own
    _log.setLevel(logging.INFO)
    _log.propagate = False
    root = repository_root()
    apply_closed_settings(root)
    try:
        with contextlib.suppress(KeyboardInterrupt), interrupted_by_signals():
            work(root, join="--join" in sys.argv[1:])
    except HyperSkinError as error:
        sys.exit(f"hyperskin: {error}")


if __name__ == "__main__":
    main()
