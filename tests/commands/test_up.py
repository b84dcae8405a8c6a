"""What `hyperskin up` does before anything runs."""

import base64
import contextlib
import datetime as dt
import http.server
import re
import signal
import socket
import threading

import pytest

from hyperskin.commands import up as module
from hyperskin.commands.up import up, write_access
from hyperskin.errors import MissingFileError, ServiceError
from hyperskin.processes import deaf_to_signals, interrupted_by_signals


def read(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def test_the_access_file_holds_one_secret_for_both_sides_and_the_address(tmp_path):
    secret = write_access(tmp_path / ".env", 4200)

    assert re.fullmatch(r"hyperskin:[\w-]{32}", secret)
    assert read(tmp_path / ".env") == {
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_API_AUTH_STRING": secret,
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
    }
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_another_port_moves_the_address_and_keeps_secret_and_other_lines(tmp_path):
    path = tmp_path / ".env"
    path.write_text("# mine\nMLFLOW_TRACKING_URI=http://10.0.0.7:5000\n\n")
    secret = write_access(path, 4200)
    written = path.read_text()

    assert write_access(path, 4207) == secret
    assert path.read_text() == written.replace(":4200/", ":4207/")
    assert written.startswith("# mine\nMLFLOW_TRACKING_URI=http://10.0.0.7:5000\n\n")


@pytest.mark.parametrize("line", ["{}=me:word", "export {} = me:word", "{}='me:word'", '{}="me:word"'])
@pytest.mark.parametrize("name", ["PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"])
def test_a_secret_that_a_person_chose_is_kept(tmp_path, line, name):
    (tmp_path / ".env").write_text(line.format(name) + "\n")

    assert write_access(tmp_path / ".env", 4200) == "me:word"
    assert {value.strip("\"'") for value in list(read(tmp_path / ".env").values())[:2]} == {"me:word"}


def test_two_repositories_have_two_secrets(tmp_path):
    assert write_access(tmp_path / "one", 4200) != write_access(tmp_path / "two", 4200)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_taken_port_is_refused_with_another_one_to_try(repository):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]

        with pytest.raises(ServiceError) as caught:
            up(port=port)

    told = re.fullmatch(
        rf"Port {port} must be free for the Prefect server; another program listens there: "
        r"stop it, or run `hyperskin up --port (\d+)`\.",
        str(caught.value),
    )
    assert told
    assert module._can_bind(int(told[1]))
    assert list(repository.glob(".env")) == []


def test_a_prefect_server_on_the_port_is_called_by_its_name(repository):
    with (
        answering({"/api/health": (200, b"true")}) as port,
        pytest.raises(ServiceError, match="a Prefect server listens"),
    ):
        up(port=port)


@pytest.mark.parametrize("port", [0, 65536])
def test_a_number_that_is_no_port_is_refused(repository, port):
    with pytest.raises(ServiceError, match=f"between 1 and 65535; got {port}"):
        up(port=port)


def test_outside_a_repository_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(MissingFileError):
        up()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "is_served"),
    [
        ((200, b'{"last_polled": "2026-03-01T12:00:01.5Z"}'), True),
        ((200, b'{"last_polled": "2026-03-01T11:59:59Z"}'), False),
        ((200, b'{"last_polled": null}'), False),
        ((404, b'{"detail": "Deployment not found"}'), False),
        ((200, b"<html>"), False),
    ],
)
def test_a_deployment_is_served_when_a_runner_of_now_asks_for_work(answer, is_served):
    since = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    with answering({"/api/deployments/name/train-all/train-all": answer}, secret="me:word") as port:
        assert module._is_served(port, "me:word", since) is is_served
        assert not module._is_served(port, "me:other", since)


def test_an_address_in_the_shell_that_leads_elsewhere_is_told(repository, monkeypatch, caplog):
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")

    environment = module._environment(repository, 4203)

    assert "PREFECT_API_URL" not in environment
    assert "https://prefect.example/api" in caplog.text
    assert environment["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4203,http://localhost:4203"


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


@contextlib.contextmanager
def answering(answers, secret=None):
    """Serve fixed answers on a free port; with a secret, only to those who know it."""

    basic = None if secret is None else f"Basic {base64.b64encode(secret.encode()).decode()}"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers.get(self.path, (404, b""))
            if basic not in (None, self.headers["Authorization"]):
                status, body = 401, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
