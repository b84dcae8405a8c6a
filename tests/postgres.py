"""A real PostgreSQL server for tests, on a free port of this machine, with a password."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

USER, PASSWORD = "hyperskin", "s3cret-of-the-tests"
_START_UP_S = 60


def find_programs() -> Path | None:
    """Return the folder of the newest server's programs here, or None where there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    found = installed[-1] if installed else on_path and Path(on_path).resolve()
    return found.parent if found and (os.geteuid() != 0 or _unprivileged()) else None


class Server:
    """One server, which can go away and come back with all it held."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        secret = folder / "password"
        secret.write_text(PASSWORD)
        as_user = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            as_user = {"user": _unprivileged(), "group": pwd.getpwnam(_unprivileged()).pw_gid, "extra_groups": []}
            for path in (folder, secret):
                shutil.chown(path, _unprivileged())
        self._as_user = as_user
        words = ["-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(folder / "data"), *words)

    def address(self, database: str = "postgres", *, driver: str = "postgresql+psycopg") -> str:
        """Return the address of a database, password and all."""
        return f"{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self, *, driver: str = "postgresql+psycopg") -> str:
        """Return the address of an empty database that nobody knows yet."""
        import psycopg

        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.address(driver="postgresql"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.address(name, driver=driver)

    def start(self) -> None:
        """Start, where it does not run; wait until it answers."""
        import psycopg

        if self._process is not None:
            return
        settings = ("listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", "fsync=off")
        words = [word for setting in settings for word in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *words],
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._as_user,
            )
        deadline = time.monotonic() + _START_UP_S
        while True:
            try:
                psycopg.connect(self.address(driver="postgresql"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Break every connection and end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_START_UP_S)
            self._process = None

    def _run(self, program: str, *words: str) -> None:
        command = [self._programs / program, *words]
        subprocess.run(command, check=True, cwd="/", capture_output=True, **self._as_user)


@contextlib.contextmanager
def running_server() -> Iterator[Server | None]:
    """Run a server in a folder of its own; None where its programs are not installed."""
    programs = find_programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="hyperskin-postgres-", ignore_cleanup_errors=True) as folder:
        server = Server(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), "")
