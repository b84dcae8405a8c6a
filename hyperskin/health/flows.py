"""Whether the Prefect server holds what nobody holds any more: runs, slots, and work that no worker asks for."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hyperskin.environment import PREFECT_PORT, prefect_address, prefect_secret
from hyperskin.errors import HyperSkinError
from hyperskin.health.access import SECRET, read_access, server_address
from hyperskin.health.finding import Finding
from hyperskin.health.prefect_server import PrefectServer
from hyperskin.ledger import Ledger
from hyperskin.params import FILE_NAME, Params
from hyperskin.steps.search import worker_key

_HERE = ("127.0.0.1", "localhost", "::1")
_TAG, _POOL = "gpu", "gpu"
_ON_THIS_MACHINE = ("train-all", "study", "sweep")
_ON_WORKERS = ("train-unit", "tune-unit")
_UNFINISHED = ["PENDING", "RUNNING", "CANCELLING"]
_START_UP_S = 120.0  # a run is pending, and has no lock yet, while its process starts
_STALE_S = 120.0
_AGAIN = "hyperskin up"


def look(root: Path) -> Iterator[Finding]:
    """Ask the server, where one answers; a server that nobody named may be down."""
    named, given = server_address(root), prefect_address()
    address = named or f"http://127.0.0.1:{PREFECT_PORT}/api"
    secret = prefect_secret() or read_access(root).get(SECRET, "")
    server = PrefectServer(address, secret)
    if not server.answers():
        if given:
            what = f"The Prefect server that PREFECT_API_URL names, {given}, must answer; it does not."
            yield Finding("flows", "broken", what, "unset PREFECT_API_URL  # or start that server")
        return
    if not server.lets_us_in():
        what = f"The Prefect server at {address} must take our password; it does not, so that `prefect` fails here."
        yield Finding("flows", "broken", what, f"export {SECRET}=...  # as in the file .env where it was started")
        return
    params = _params(root)
    yield from _slots(server)
    yield from _runs(root, server, params.execution.stale_s if params else _STALE_S)
    if params and params.execution.training == "workers":
        yield from _workers(server)


def _params(root: Path) -> Params | None:
    with contextlib.suppress(HyperSkinError):
        return Params.read(root / FILE_NAME)
    return None  # another check says so


def _slots(server: PrefectServer) -> Iterator[Finding]:
    """Find a limit of the tag that ours once had: it counts over all machines, and keeps the slots of the killed."""
    for limit in server.ask("/concurrency_limits/filter", {"limit": 200}):
        if limit.get("tag") == _TAG and (active := len(limit.get("active_slots", []))):
            what = (
                f"The tag {_TAG} must have no concurrency limit; it has one of {limit.get('concurrency_limit')}, with "
                f"{active} taken, which killed runs never give back, so that others wait for ever."
            )
            yield Finding("flows", "broken", what, f"prefect concurrency-limit delete {_TAG}")


def _runs(root: Path, server: PrefectServer, stale_s: float) -> Iterator[Finding]:
    is_ours = urlsplit(server.address).hostname in _HERE
    stale = [run for name in _ON_WORKERS for run in _unfinished(server, name) if _is_silent(root, name, run, stale_s)]
    if is_ours:  # the locks of runs lie on the machine that makes them
        stale += [run for name in _ON_THIS_MACHINE for run in _unfinished(server, name) if _is_gone(root, run)]
    for run in stale:
        what = f"Prefect takes the run {run.get('name')} for {_state(run)}; nobody is at work on it any more."
        yield Finding("flows", "warning", what, f"prefect flow-run cancel {run['id']}  # `{_AGAIN}` does it, too")


def _unfinished(server: PrefectServer, flow: str) -> list[dict[str, Any]]:
    question = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": {"any_": _UNFINISHED}}}}
    return server.ask("/flow_runs/filter", question)


def _is_gone(root: Path, run: Mapping[str, Any]) -> bool:
    """Tell whether no process on this machine holds the lock of a run."""
    try:
        descriptor = os.open(root / ".prefect" / "alive" / f"{run['id']}.lock", os.O_RDONLY)
    except OSError:
        return _state(run) != "pending" or _age_s(run) > _START_UP_S
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_silent(root: Path, flow: str, run: Mapping[str, Any], stale_s: float) -> bool:
    """Tell whether nothing was heard of a run on a worker for too long."""
    if _age_s(run) <= stale_s:
        return False
    of = run.get("parameters", {})
    try:
        keys = of["keys"] if flow == "train-unit" else [worker_key(of["name"], of["worker"], of["total"])]
        ledger = Ledger.find(root)
        heard_s = ledger.silent_s(keys) if ledger else None
    except (KeyError, TypeError, HyperSkinError):
        return False  # of another version, or the ledger does not answer: nothing is known
    return heard_s is None or heard_s > stale_s


def _state(run: Mapping[str, Any]) -> str:
    return str(run.get("state_type", "")).lower()


def _age_s(run: Mapping[str, Any]) -> float:
    """Return for how long a run has been in its state."""
    since = (run.get("state") or {}).get("timestamp")
    if not since:
        return 0.0
    return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(since)).total_seconds()


def _workers(server: PrefectServer) -> Iterator[Finding]:
    workers = server.ask(f"/work_pools/{_POOL}/workers/filter", {})
    if not any(worker.get("status") == "ONLINE" for worker in workers):
        what = (
            f"`execution.training: workers` in {FILE_NAME} needs a worker in the pool {_POOL}; none is alive, so that "
            "trainings wait for ever."
        )
        yield Finding("flows", "broken", what, _AGAIN)
