"""Whether the databases are whole files, or servers that answer under the address they are given."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from hyperskin.address import without_password
from hyperskin.environment import database_addresses, password_file
from hyperskin.health.finding import Finding
from hyperskin.sqlite import fault
from hyperskin.tracking.answers import answers, first_line

_OWN, _RUNS, _FLOWS = "HYPERSKIN_DATABASE", "MLFLOW_TRACKING_URI", "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_DRIVERS = {_OWN: "psycopg", _RUNS: "psycopg", _FLOWS: "asyncpg"}
_KEPT_IN = "~/.pgpass-hyperskin"  # as docs/keeper.md names it
_CONNECT_S = 3
_LOSS = {
    "mlflow.db": "runs and registered models",
    "optuna.db": "searches for better recipes",
    "ledger.db": "which trainings are finished",
}


def look(root: Path) -> Iterator[Finding]:
    """Look at the files, and ask the servers."""
    for name in _LOSS:
        yield from _file(root, name)
    addresses = database_addresses()
    if any(address.startswith("postgres") for address in addresses.values()):
        yield from _password_file()
    for variable, address in addresses.items():
        yield from _address(variable, address)


def _file(root: Path, name: str) -> Iterator[Finding]:
    path, shown = root / "mlruns" / name, f"mlruns/{name}"
    if path.is_symlink() and not path.exists():
        what = f"{shown} must be a database; it is a link to {path.readlink()}, where there is nothing."
        yield Finding("databases", "broken", what, f"rm {shown}")
    elif path.exists() and (wrong := fault(path)):
        what = f"{shown} must be a whole database; it is damaged ({wrong}), and held {_LOSS[name]}: bring back a "
        what += "copy, or begin with an empty one."
        again = "; hyperskin sync --lost; prefect deployment run train-all/train-all" if name == "mlflow.db" else ""
        yield Finding("databases", "broken", what, f"mv {shown} {shown}.damaged{again}")


def _address(variable: str, address: str) -> Iterator[Finding]:
    parts = _split(address)
    shown = without_password(address)
    if parts is None:
        what = f"{variable} must be an address such as postgresql+psycopg://USER@HOST:PORT/DATABASE; it is none."
        yield Finding("databases", "broken", what, f"unset {variable}")
    elif parts.scheme.startswith("postgres"):
        yield from _postgresql(variable, address, parts)
    elif parts.scheme in ("http", "https") and variable == _RUNS:
        if not answers(address):
            what = f"The MLflow server at {shown} must answer; it does not. Trainings go on and are delivered later."
            yield Finding("databases", "broken", what, f"curl {shlex.quote(shown.rstrip('/') + '/health')}")
    elif not parts.scheme.startswith("sqlite"):
        what = f"{variable} must name a database or a server; MLflow and we refuse {shown}."
        yield Finding("databases", "broken", what, f"unset {variable}")


def _postgresql(variable: str, address: str, parts: SplitResult) -> Iterator[Finding]:
    driver, shown = _DRIVERS[variable], without_password(address)
    is_named = parts.scheme == f"postgresql+{driver}"
    good = f"{variable}={shlex.quote(_with_scheme(f'postgresql+{driver}', shown))}"
    if not is_named:
        what = f"{variable} must begin with postgresql+{driver}://, the driver it is read with; it is {shown}."
        yield Finding("databases", "broken", what, f"export {good}")
    if shown != address:
        what = f"The address in {variable} must hold no password, for `ps` and logs show it; it holds one."
        yield Finding("databases", "warning", what, _keep_password(good, parts))
    if not is_named:
        return
    if find_spec(driver) is None:
        what = f"The driver of {variable}, {driver}, must be installed; it is not."
        yield Finding("databases", "broken", what, "pip install 'hyperskin[cluster]'")
    elif find_spec("psycopg") is not None and (reason := _refusal(address)):
        what = f"The server of {variable} must let us in at {shown} within {_CONNECT_S} s; it does not: {reason}."
        yield Finding(
            "databases", "broken", what, f"psql {shlex.quote(_with_scheme('postgresql', shown))} -c 'select 1'"
        )


def _keep_password(good: str, parts: SplitResult) -> str:
    """Return what asks for a password, keeps it where every driver finds it, and sets a good address."""
    named = password_file()
    file = shlex.quote(str(named)) if named else _KEPT_IN
    place = [parts.hostname or "localhost", str(parts.port or 5432), "*", unquote(parts.username or "") or "*"]
    line = shlex.quote(":".join(word.replace("\\", "\\\\").replace(":", "\\:") for word in place))
    keep = f"(umask 077; read -rs PASSWORD; printf '%s:%s\\n' {line} \"$PASSWORD\" >> {file})"
    return f"{keep}; export {good} PGPASSFILE={file}  # type the password blindly, then Return"


def _password_file() -> Iterator[Finding]:
    path = password_file()
    if path is None:
        return
    if not path.is_file():
        what = f"PGPASSFILE must name the file with the database's password; {path} is none."
        yield Finding("databases", "broken", what, "unset PGPASSFILE")
    elif path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        what = f"The password file {path} must be closed to other users, or it is ignored; it is open to them."
        yield Finding("databases", "broken", what, f"chmod 600 {path}", partial(_close, path))


def _close(path: Path) -> str:
    path.chmod(0o600)
    return f"{path} is closed to other users (mode 600)."


def _refusal(address: str) -> str:
    """Return why a server does not let us in; empty where it does."""
    import psycopg

    try:
        psycopg.connect(_with_scheme("postgresql", address), connect_timeout=_CONNECT_S).close()
    except psycopg.Error as error:
        said = first_line(error).rstrip(".")
        parts = _split(address)
        return said.replace(parts.password, "***") if parts and parts.password else said
    return ""


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        return parts if parts.scheme and parts.port != 0 else None  # a port that is no number raises
    except ValueError:
        return None


def _with_scheme(scheme: str, address: str) -> str:
    return f"{scheme}:{address.partition(':')[2]}"
