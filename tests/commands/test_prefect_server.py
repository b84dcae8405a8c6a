"""The server's secret, its port, and what it answers, before and after it runs."""

import base64
import contextlib
import datetime as dt
import http.server
import re
import socket
import threading

import pytest

from hyperskin.commands.prefect_server import can_bind, is_served, require_free, server_environment, write_access
from hyperskin.errors import ServiceError


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


def test_a_taken_port_is_refused_with_another_one_to_try():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]

        with pytest.raises(ServiceError) as caught:
            require_free(port)

    told = re.fullmatch(
        rf"Port {port} must be free for the Prefect server; another program listens there: "
        r"stop it, or run `hyperskin up --port (\d+)`\.",
        str(caught.value),
    )
    assert told
    assert can_bind(int(told[1]))


def test_a_prefect_server_on_the_port_is_called_by_its_name():
    with (
        answering({"/api/health": (200, b"true")}) as port,
        pytest.raises(ServiceError, match="a Prefect server listens"),
    ):
        require_free(port)


@pytest.mark.parametrize("port", [0, 65536])
def test_a_number_that_is_no_port_is_refused(port):
    with pytest.raises(ServiceError, match=f"between 1 and 65535; got {port}"):
        require_free(port)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, b'{"last_polled": "2026-03-01T12:00:01.5Z"}'), True),
        ((200, b'{"last_polled": "2026-03-01T11:59:59Z"}'), False),
        ((200, b'{"last_polled": null}'), False),
        ((404, b'{"detail": "Deployment not found"}'), False),
        ((200, b"<html>"), False),
    ],
)
def test_a_deployment_is_served_when_a_runner_of_now_asks_for_work(answer, expected):
    since = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    with answering({"/api/deployments/name/train-all/train-all": answer}, secret="me:word") as port:
        assert is_served(port, "me:word", "train-all", since) is expected
        assert not is_served(port, "me:other", "train-all", since)


def test_an_address_in_the_shell_that_leads_elsewhere_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")

    environment = server_environment(tmp_path, 4203)

    assert "PREFECT_API_URL" not in environment
    assert "https://prefect.example/api" in caplog.text
    assert environment["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4203,http://localhost:4203"


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
