"""Which flow runs of this machine still live: a run holds a lock for as long as its process does, and no longer."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

_FOLDER = Path(".prefect") / "alive"
_UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_START_UP = dt.timedelta(minutes=2)  # a run is pending, and has no lock yet, while its process starts


@contextlib.contextmanager
def marked_alive(root: Path, flow_run_id: str) -> Iterator[None]:
    """Hold the lock of a flow run; it is free again when the process is gone, however it went."""
    path = _lock_path(root, flow_run_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(path):
            yield
    finally:
        path.unlink(missing_ok=True)


def is_alive(root: Path, flow_run_id: str) -> bool:
    """Return whether a process on this machine holds the lock of the flow run."""
    path = _lock_path(root, flow_run_id)
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def crash_stale_runs(root: Path, flow_names: Sequence[str]) -> list[str]:
    """Mark the runs whose process is gone as crashed, for nobody else will; return their names.

    Prefect keeps a run as running for ever when its machine loses power or its whole process tree is killed.
    """
    of_ours = FlowFilter(name=FlowFilterName(any_=list(flow_names)))
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=StateFilter(any_=_UNFINISHED)))
    with get_client(sync_client=True) as client:
        stale = [
            run
            for run in client.read_flow_runs(flow_filter=of_ours, flow_run_filter=unfinished)
            if not (is_alive(root, str(run.id)) or _is_starting(run))
        ]
        for run in stale:
            client.set_flow_run_state(run.id, Crashed(message="Its process is gone."), force=True)
            _lock_path(root, str(run.id)).unlink(missing_ok=True)
    return [run.name for run in stale]


def _is_starting(run: FlowRun) -> bool:
    return (
        run.state is not None
        and run.state.type == StateType.PENDING
        and dt.datetime.now(dt.UTC) - run.state.timestamp < _START_UP
    )


def _lock_path(root: Path, flow_run_id: str) -> Path:
    return root / _FOLDER / f"{flow_run_id}.lock"
