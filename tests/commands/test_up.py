"""What `hyperskin up` does before anything runs."""

import signal
import socket

import pytest

from hyperskin.commands.up import up
from hyperskin.errors import MissingFileError, ServiceError
from hyperskin.processes import deaf_to_signals, interrupted_by_signals


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_taken_port_is_refused_before_a_secret_is_made(repository):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        with pytest.raises(ServiceError, match="another program listens there"):
            up(port=holder.getsockname()[1])
    assert list(repository.glob(".env")) == []


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, r"`PREFECT_API_URL` must name the Prefect server that this machine joins; it is unset"),
        (
            {"PREFECT_API_URL": "http://127.0.0.1:4200/api"},
            r"`HYPERSKIN_DATABASE` must name the database that all machines share, or one would take",
        ),
    ],
)
def test_a_machine_that_joins_must_know_server_and_database(repository, monkeypatch, known, message):
    for name in ("PREFECT_API_URL", "HYPERSKIN_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ServiceError, match=message):
        up(join=True)


def test_outside_a_repository_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(MissingFileError):
        up()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_request_to_end_interrupts_even_where_the_shell_ignores_it(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
            signal.raise_signal(number)
        with interrupted_by_signals(), deaf_to_signals():
            signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
