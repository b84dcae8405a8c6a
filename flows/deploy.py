"""Serves the flows as deployments of the same name; nothing else."""

from __future__ import annotations

import logging
from typing import Any

from prefect import serve
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.alive import crash_stale_runs
from flows.study import study
from flows.sweep import sweep
from flows.train_all import train_all
from hyperskin.environment import repository_root

_FLOWS = (train_all, study, sweep)
_WAITING = "%d scheduled runs skipped (at capacity)"  # so Prefect's runner says at every poll, and skips nothing
_waiting: list[object] = []


def main() -> None:
    """Serve until stopped, one run at a time, because every run may use all slots."""
    logging.getLogger("prefect.runner").addFilter(say_once_who_waits)
    for name in crash_stale_runs(repository_root(), [flow.name for flow in _FLOWS]):
        logging.getLogger("flows.deploy").warning("run %s was broken off; it is marked as crashed", name)
    serve(*map(_deployment, _FLOWS), limit=1, print_starting_message=False)


def say_once_who_waits(record: logging.LogRecord) -> bool:
    """Say in plain words how many runs wait for the one before them, and only when that number changes."""
    if record.msg != _WAITING:
        return True
    record.msg = "%d more asked for; one run at a time, so they wait"
    was, _waiting[:] = list(_waiting), [record.args]
    return was != [record.args]


def _deployment(flow: Any) -> RunnerDeployment:
    summary = flow.description.partition("\n\n")[0]
    return RunnerDeployment.from_flow(flow, flow.name, description=summary, entrypoint_type=EntrypointType.MODULE_PATH)


if __name__ == "__main__":  # a served run imports this module again, and must not serve in turn
    main()
