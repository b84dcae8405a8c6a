"""Which flow runs of this machine still live: a run holds a lock for as long as its process does, and no longer."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

Silent = Callable[[Mapping[str, Any]], float | None]
"""Tells from the parameters of a run for how long nobody heard of it; None: nobody is at work."""

_FOLDER = Path(".prefect") / "alive"
_UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_START_UP_S = 120.0  # a run is pending, and has no lock yet, while its process starts


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


def crash_stale_runs(
    root: Path, flow_names: Sequence[str], *, silent: Mapping[str, Silent] = MappingProxyType({}), stale_s: float = 0
) -> list[str]:
    """Mark the runs whose process is gone as crashed, for nobody else will; return their names.

    Prefect keeps a run as running for ever when its machine loses power or its whole process tree is killed.

    Args:
        root: The repository.
        flow_names: Flows that run on this machine alone.
        silent: Flows that run on workers, and how each tells from a run's parameters for how long nobody heard of it.
        stale_s: Runs on workers are gone after a silence of so long.
    """

    def is_gone(name: str, run: FlowRun) -> bool:
        if is_alive(root, str(run.id)):
            return False
        if name not in silent:
            return run.state_type != StateType.PENDING or _age_s(run) > _START_UP_S
        heard_s = silent[name](run.parameters)
        return (_age_s(run) if heard_s is None else min(heard_s, _age_s(run))) > stale_s

    with get_client(sync_client=True) as client:
        stale = [run for name in (*flow_names, *silent) for run in _unfinished(client, name) if is_gone(name, run)]
        for run in stale:
            client.set_flow_run_state(run.id, Crashed(message="Its process is gone."), force=True)
            _lock_path(root, str(run.id)).unlink(missing_ok=True)
    return [run.name for run in stale]


def _unfinished(client: SyncPrefectClient, flow_name: str) -> list[FlowRun]:
    of_ours = FlowFilter(name=FlowFilterName(any_=[flow_name]))
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=StateFilter(any_=_UNFINISHED)))
    return client.read_flow_runs(flow_filter=of_ours, flow_run_filter=unfinished)


def _age_s(run: FlowRun) -> float:
    """Return for how long a run has been in its state."""
    return (dt.datetime.now(dt.UTC) - run.state.timestamp).total_seconds() if run.state else 0.0


def _lock_path(root: Path, flow_run_id: str) -> Path:
    return root / _FOLDER / f"{flow_run_id}.lock"
