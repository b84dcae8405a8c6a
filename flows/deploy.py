"""Serves the flows as deployments of the same name; nothing else."""

from __future__ import annotations

import logging
from typing import Any

from prefect import serve
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.alive import crash_stale_runs
from flows.train_all import train_all
from hyperskin.environment import repository_root

_FLOWS = (train_all,)


def main() -> None:
    """Serve until stopped, one run at a time, because every run may use all slots."""
    for name in crash_stale_runs(repository_root(), [flow.name for flow in _FLOWS]):
        logging.getLogger("flows.deploy").warning("run %s was broken off; it is marked as crashed", name)
    serve(*map(_deployment, _FLOWS), limit=1, print_starting_message=False)


def _deployment(flow: Any) -> RunnerDeployment:
    summary = flow.description.partition("\n\n")[0]
    return RunnerDeployment.from_flow(flow, flow.name, description=summary, entrypoint_type=EntrypointType.MODULE_PATH)


if __name__ == "__main__":  # a served run imports this module again, and must not serve in turn
    main()
