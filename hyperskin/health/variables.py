"""Whether an environment variable opens what must stay closed, or tells libraries more than this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hyperskin.environment import locked_value, opened_settings, thread_limit
from hyperskin.health.finding import Finding

_OPENS = {
    "DO_NOT_TRACK": "programs report their use to their makers",
    "DVC_NO_ANALYTICS": "DVC reports its use to its makers",
    "HDF5_PLUGIN_PATH": "a data file may load a library from there",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "a model file may run any code",
    "MLFLOW_DISABLE_TELEMETRY": "MLflow reports its use to its makers",
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "a web page may give orders to the Prefect server",
}


def look(root: Path) -> Iterator[Finding]:  # noqa: ARG001 - every check is asked alike
    """Look at what this process was started with."""
    for name, value in opened_settings().items():
        what = (
            f"{name} must not be {value}: {_OPENS.get(name, 'Prefect reports its use to its makers')}; hyperskin "
            "overrules it, but `prefect`, `mlflow` and `dvc` typed in this shell obey it."
        )
        yield Finding("variables", "warning", what, f"export {name}={locked_value(name)}")
    yield from _threads()


def _threads() -> Iterator[Finding]:
    given, cores = thread_limit(), len(os.sched_getaffinity(0))
    if given is not None and given > cores:
        what = f"OMP_NUM_THREADS must be at most the number of cores, {cores}; it is {given}, so that threads wait."
        yield Finding("variables", "warning", what, f"export OMP_NUM_THREADS={cores}")
