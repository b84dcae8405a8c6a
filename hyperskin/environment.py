"""The one reader of the process environment, and the closed settings that every process of ours starts with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hyperskin.errors import MissingFileError

PREFECT_PORT = 4200

# Which folder is the repository: the one that holds these.
_LANDMARKS = ("params.yaml", "dvc.yaml")

# An inherited shell may not open these: they guard people, and no work needs them open.
_LOCKED = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "HDF5_PLUGIN_PATH": "::",  # a file may not name a library to load
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
}
_YES, _NO = ("1", "true", "yes", "on", "t", "y"), ("0", "false", "no", "off", "f", "n")
_opened: dict[str, str] = {}  # what a locked setting was before this process closed it


def repository_root(start: Path | None = None) -> Path:
    """Return the nearest folder, from `start` (the working folder) upwards, that holds params.yaml and dvc.yaml.

    Raises:
        MissingFileError: There is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if all((folder / name).is_file() for name in _LANDMARKS):
            return folder
    raise MissingFileError(
        f"This must run inside a hyperskin repository, a folder with {' and '.join(_LANDMARKS)}; "
        f"{start} is in none: change into it, or make one with `hyperskin init`."
    )


def shared_database() -> str | None:
    """Return the address of the database that several machines share, HYPERSKIN_DATABASE, or None where it is unset."""
    return os.environ.get("HYPERSKIN_DATABASE") or None


def prefect_address() -> str | None:
    """Return the address of the Prefect server that PREFECT_API_URL names, or None where it is unset."""
    return os.environ.get("PREFECT_API_URL") or None


def prefect_secret() -> str:
    """Return USER:PASSWORD of the Prefect server, PREFECT_API_AUTH_STRING, or nothing where it is unset."""
    return os.environ.get("PREFECT_API_AUTH_STRING", "")


def mlflow_login() -> tuple[str, str]:
    """Return user and password of the MLflow server, MLFLOW_TRACKING_USERNAME and _PASSWORD; empty where unset."""
    return os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", "")


def database_addresses() -> dict[str, str]:
    """Return the addresses of databases and of the MLflow server that are set, by variable, as they were written."""
    names = ("HYPERSKIN_DATABASE", "MLFLOW_TRACKING_URI", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
    return {name: address for name in names if (address := os.environ.get(name))}


def password_file() -> Path | None:
    """Return the file with the passwords of PostgreSQL servers, PGPASSFILE, or None where it is unset."""
    file = os.environ.get("PGPASSFILE")
    return Path(file) if file else None


def thread_limit() -> int | None:
    """Return how many threads libraries were told to use, OMP_NUM_THREADS; None where it is unset or no number."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() else None


def own_repository() -> Path | None:
    """Return the repository of this machine named by HYPERSKIN_ROOT, or None where it is unset."""
    folder = os.environ.get("HYPERSKIN_ROOT")
    return Path(folder) if folder else None


def tracking_uri(root: Path) -> str:
    """Return where MLflow keeps its runs: MLFLOW_TRACKING_URI, else the database in mlruns below `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlruns' / 'mlflow.db'}"


def database_uri(root: Path, name: str) -> str:
    """Return the address of our own database: HYPERSKIN_DATABASE, else the file `name`.db in mlruns below `root`.

    Searches ("optuna") and the ledger of trainings ("ledger") are two files on one machine, and may share a server.
    """
    return os.environ.get("HYPERSKIN_DATABASE") or f"sqlite:///{root.resolve() / 'mlruns' / name}.db"


def plugin_path() -> str:
    """Return the folders that HDF5 may load filters from, HDF5_PLUGIN_PATH as this process was started with it."""
    return os.environ.get("HDF5_PLUGIN_PATH", "")


def real_data() -> Path | None:
    """Return the folder of measured data named by HYPERSKIN_REALDATA, or None where it is unset."""
    folder = os.environ.get("HYPERSKIN_REALDATA")
    return Path(folder) if folder else None


def visible_gpus() -> tuple[str, ...] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves us, or None where it is unset.

    As in CUDA, the first entry below zero ends the list.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    gpus: list[str] = []
    for entry in (entry.strip() for entry in listed.split(",")):
        if not entry or entry.startswith("-"):
            break
        gpus.append(entry)
    return tuple(gpus)


def closed_settings(root: Path) -> dict[str, str]:
    """Return the settings of every process: no telemetry, no pickle, loopback only, every file below `root`."""
    root = root.resolve()
    return _LOCKED | {
        "DVC_SITE_CACHE_DIR": str(root / ".cache" / "dvc"),
        "MPLCONFIGDIR": str(root / ".cache" / "matplotlib"),
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # at once and once: runs have their own patience, people have none
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # `hyperskin ui` says where to look
        "PREFECT_HOME": str(root / ".prefect"),
        "PREFECT_PROFILES_PATH": str(root / ".prefect" / "profiles.toml"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": own_origins(PREFECT_PORT),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 12 s alone, 43 s on a busy small machine
    }


def opened_settings() -> dict[str, str]:
    """Return what this process was started with that opens a locked setting, which programs not of ours would obey."""
    inherited = {name: os.environ.get(name, "") for name in _LOCKED} | _opened
    return {name: value for name, value in inherited.items() if value and _meaning(value) != _meaning(_LOCKED[name])}


def locked_value(name: str) -> str:
    """Return what a locked setting must be."""
    return _LOCKED[name]


def _meaning(value: str) -> str:
    """Return a setting in the words of `_LOCKED`, whichever of the usual ones it is written with."""
    word = value.strip().lower()
    return "true" if word in _YES else "false" if word in _NO else value


def own_origins(port: int) -> str:
    """Return the two names under which a browser on this machine may know the server on `port`."""
    return f"http://127.0.0.1:{port},http://localhost:{port}"


def child_environment(root: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with the closed settings, and `more` on top, for a child process.

    Its PATH begins where this Python lies, so that a stage's `python` is the same one, activated or not.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**closed_settings(root), **os.environ, "PATH": path, **_LOCKED, **(more or {})}


def apply_closed_settings(root: Path) -> None:
    """Close this process: settings that are unset get their value, the locked ones always; new files are private."""
    os.umask(0o077)
    _opened.update(opened_settings())
    os.environ.update({**closed_settings(root), **os.environ, **_LOCKED})
