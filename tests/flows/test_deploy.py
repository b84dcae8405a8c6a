"""The user's own commands against a real server: `hyperskin up` here, `prefect deployment run train-all` there."""

import base64
import contextlib
import http.client
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows.served import free_port, processes_in, read_access, running_up

pytestmark = pytest.mark.slow


@pytest.fixture
def port():
    return free_port()


def test_the_deployment_runs_by_its_bare_name_on_a_closed_server(whole_project, bare_environment, port):
    with running_up(whole_project, bare_environment, port) as up:
        command = ["prefect", "deployment", "run", "train-all", "--watch", "--watch-timeout", "240"]
        run = subprocess.run(
            command, cwd=whole_project.root, env=bare_environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Flow run finished successfully in 'Completed'" in run.stdout
        assert run.stderr == ""
        assert len(whole_project.trained()) == 8  # all regressions of a pair in one process

        secret = read_access(whole_project.root)["PREFECT_API_AUTH_STRING"]
        require_closed(port, secret)
        assert only_loopback_listens_on(port)
        assert private(whole_project.root / ".prefect")

        code, said = up.end()
        assert code == 0
        assert "Traceback" not in said
        assert said.endswith("Stopping.\nThe Prefect server and its runner are stopped.\n")
    assert not only_loopback_listens_on(port)

    # The same folder, with the secret in it and no server: the flow called directly brings its own.
    direct = subprocess.run(
        [sys.executable, "-m", "flows.train_all"],
        cwd=whole_project.root,
        env=bare_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert direct.returncode == 0, direct.stdout + direct.stderr
    assert "Finished in state Completed()" in direct.stderr
    assert "ERROR" not in direct.stderr


def test_stopping_in_the_middle_leaves_no_training_behind(whole_project, bare_environment, port):
    environment = bare_environment | {"FAKE_SECONDS": "120"}
    (whole_project.root / "hyperskin" / "cli.py").write_text(
        "import sys\nif sys.argv[1] != 'train':\n    sys.exit()\n" + (whole_project.notes / "child.py").read_text()
    )
    with running_up(whole_project, environment, port) as up:
        command = ["prefect", "deployment", "run", "train-all", "--param", 'models=["hrnet"]']
        subprocess.run(command, cwd=whole_project.root, env=environment, capture_output=True, check=True)
        begin = time.monotonic()
        while len(list(whole_project.notes.glob("train.*.start"))) < 2:
            assert time.monotonic() - begin < 120
            time.sleep(0.2)
        assert processes_in(whole_project.root)

        assert up.end(signal.SIGINT)[0] == 0
    assert processes_in(whole_project.root) == []
    assert whole_project.trained() == []


def require_closed(port, secret):
    known = {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    strange = {"Authorization": f"Basic {base64.b64encode(b'hyperskin:guess').decode()}"}
    filter_ = "/api/deployments/filter"
    assert ask(port, "GET", "/api/version", {})[0] == 401
    assert ask(port, "GET", "/api/version", strange)[0] == 401
    assert ask(port, "POST", filter_, {})[0] in (401, 403)
    assert ask(port, "GET", "/api/version", known)[0] == 200
    assert ask(port, "POST", filter_, known)[0] == 403  # no CSRF token

    allowed = "access-control-allow-origin"
    assert allowed not in ask(port, "GET", "/api/version", known | {"Origin": "https://evil.example"})[1]
    own = f"http://localhost:{port}"
    assert ask(port, "GET", "/api/version", known | {"Origin": own})[1][allowed] == own
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert allowed not in ask(port, "OPTIONS", filter_, preflight)[1]


def ask(port, method, path, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body="{}" if method == "POST" else None, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}


def only_loopback_listens_on(port):
    """Return whether somebody listens on the port, and on 127.0.0.1 alone, as the kernel sees it."""
    addresses = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, number = local.split(":")
            if int(number, 16) == port and state == "0A":
                addresses.append(address)
    return set(addresses) == {"0100007F"}


def private(folder):
    return all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.rglob("*")))
