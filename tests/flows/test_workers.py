"""Many workers and one server, all real: machines that vanish in the middle, cancelled flows, Ctrl-C, PostgreSQL."""

import os
import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest

from tests.flows.served import free_port, processes_in, read_access, read_run, running_up, start_run, wait_for
from tests.postgres import PASSWORD

pytestmark = pytest.mark.slow

UNITS = {"models": ["hscnn_plus", "hrnet"]}  # on two pairs: four units for two workers
JOINED = "hyperskin up --join"


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def fleet(on_workers, request):
    """The project with our code in it, and with the trainer that `on_workers` put there before."""
    return request.getfixturevalue("whole_project")


@pytest.fixture
def environment(fleet, bare_environment):
    return bare_environment | {"FAKE_EPOCHS": "30", "FAKE_SECONDS": "0.3"}


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request):
    """What moves the ledger and Prefect to PostgreSQL: the environment alone."""
    if request.param == "sqlite":
        return {}
    server = request.getfixturevalue("postgres_server")
    return {
        "HYPERSKIN_DATABASE": server.new_database(),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": server.new_database(driver="postgresql+asyncpg"),
    }


def test_a_machine_that_vanishes_costs_no_unit_and_none_is_trained_twice(fleet, environment, databases, port):
    with running_up(fleet, environment | databases, port, ready=JOINED) as up:
        run_id = start_run(fleet, environment, "train-all", **UNITS)
        wait_for(lambda: len(fleet.told("epoch")) > 8 and len(set(fleet.told("epoch"))) == 2)
        kill_tree(worker_named("gpu0", fleet.root))
        wait_for(lambda: read_run(fleet, port, run_id)["state_type"] in ("COMPLETED", "FAILED", "CRASHED"))
        run = read_run(fleet, port, run_id)
        code, said = up.end()

    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert Counter(Counter(fleet.told("end")).values()) == {1: 4}
    assert Counter(fleet.told("begin")).most_common(1)[0][1] == 2  # one had to begin again, and went on
    epochs = Counter((words[1], words[3]) for words in fleet.story() if words[0] == "epoch")
    assert max(epochs.values()) == 1
    assert len(epochs) >= 4 * 30 - 1  # the last one before the kill may have lost its word
    assert code == 0
    assert PASSWORD not in said
    assert processes_in(fleet.root) == []


def test_a_server_that_dies_is_started_again_and_no_training_notices(fleet, environment, port):
    with running_up(fleet, environment, port, ready=JOINED) as up:
        run_id = start_run(fleet, environment, "train-all", **UNITS)
        wait_for(lambda: len(set(fleet.told("epoch"))) == 2)
        kill_tree(running("server", fleet.root))
        wait_for(lambda: read_run(fleet, port, run_id)["state_type"] == "COMPLETED")
        up.wait_until("it is started again")

    assert Counter(fleet.told("begin")) == Counter(fleet.told("end"))
    assert Counter(Counter(fleet.told("end")).values()) == {1: 4}


def test_cancelling_the_flow_ends_every_training_within_seconds(fleet, environment, port):
    with running_up(fleet, environment | {"FAKE_EPOCHS": "1000"}, port, ready=JOINED):
        run_id = start_run(fleet, environment, "train-all", **UNITS)
        wait_for(lambda: len(fleet.told("begin")) == 2)
        assert seconds_until_nobody_trains(fleet, environment, run_id) < 5
        wait_for(lambda: read_run(fleet, port, run_id)["state_type"] == "CANCELLED", 60)
        time.sleep(6)  # long enough for a worker to ask for the next one
        assert len(fleet.told("begin")) == 2
        assert trainings_in(fleet.root) == []


def test_a_flow_that_trains_here_ends_its_trainings_as_fast_when_it_is_cancelled(fleet, environment, port):
    params = fleet.root / "params.yaml"
    params.write_text(params.read_text().replace("training: workers", "training: here"))
    with running_up(fleet, environment | {"FAKE_EPOCHS": "1000"}, port):
        run_id = start_run(fleet, environment, "train-all", **UNITS)
        wait_for(lambda: len(fleet.told("begin")) == 2)
        assert seconds_until_nobody_trains(fleet, environment, run_id) < 5
        wait_for(lambda: read_run(fleet, port, run_id)["state_type"] == "CANCELLED", 60)


def test_ctrl_c_leaves_nobody_behind(fleet, environment, port):
    with running_up(fleet, environment | {"FAKE_EPOCHS": "1000"}, port, ready=JOINED) as up:
        start_run(fleet, environment, "train-all", **UNITS)
        wait_for(lambda: len(fleet.told("begin")) == 2)
        begin = time.monotonic()
        code, said = up.end(signal.SIGINT)
        assert time.monotonic() - begin < 20
        assert code == 0
        assert "Traceback" not in said
        assert said.endswith("Stopping.\nThe Prefect server and its workers are stopped.\n")
    assert processes_in(fleet.root) == []


def test_another_machine_joins_with_workers_that_train(fleet, environment, postgres, port):
    shared = environment | {"HYPERSKIN_DATABASE": postgres}
    with running_up(fleet, shared, port, ready=JOINED):
        secret = read_access(fleet.root)["PREFECT_API_AUTH_STRING"]
        address = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": secret}
        for name in ("gpu0", "gpu1"):
            kill_tree(worker_named(name, fleet.root))
        with running_up(fleet, shared | address, port, "--join", ready="The workers are up.") as joined:
            run_id = start_run(fleet, environment, "train-all", models=["hrnet"])
            wait_for(lambda: read_run(fleet, port, run_id)["state_type"] == "COMPLETED")
            assert len(fleet.told("end")) == 2
            code, said = joined.end(signal.SIGINT)
            assert code == 0
            assert said.endswith("The workers are stopped.\n")


def seconds_until_nobody_trains(project, environment, run_id):
    """Cancel a run as a person does; return how long any training outlived the command."""
    command = ["prefect", "flow-run", "cancel", run_id]
    subprocess.run(command, cwd=project.root, env=environment, check=True, capture_output=True)
    begin = time.monotonic()
    wait_for(lambda: not trainings_in(project.root), 60)
    return time.monotonic() - begin


def trainings_in(folder):
    """Return who trains, or asks for it."""
    return [line for line in processes_in(folder) if "hyperskin.cli" in line or "prefect.engine" in line]


def worker_named(name, folder):
    """Return one worker by the end of its name."""
    return running(f"-{name}", folder)


def running(end, folder):
    """Return the process in a folder of which one word ends so."""
    (found,) = (
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == os.fspath(folder)
        and any(word.endswith(end) for word in process.info["cmdline"] or [])
    )
    return found


def kill_tree(process):
    """Let a machine lose its power."""
    tree = [process, *process.children(recursive=True)]
    for one in tree:
        one.kill()
