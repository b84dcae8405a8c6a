"""Runs whose process is gone, told from those that still live."""

import subprocess
import sys
import time

import pytest

from flows.alive import crash_stale_runs, is_alive, marked_alive


def test_a_run_lives_while_its_lock_is_held(tmp_path):
    assert not is_alive(tmp_path, "one")
    with marked_alive(tmp_path, "one"):
        assert is_alive(tmp_path, "one")
        assert not is_alive(tmp_path, "another")
    assert not is_alive(tmp_path, "one")
    assert list((tmp_path / ".prefect" / "alive").iterdir()) == []


def test_a_killed_process_holds_no_lock(tmp_path):
    script = (
        "import pathlib, time\n"
        "from flows.alive import marked_alive\n"
        f"with marked_alive(pathlib.Path({str(tmp_path)!r}), 'one'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert is_alive(tmp_path, "one")
        process.kill()
        process.wait()

    assert not is_alive(tmp_path, "one")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_only_runs_of_ours_that_are_gone_are_marked_as_crashed(tmp_path):
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running, Scheduled

    ours, theirs = flow(name="ours")(lambda: None), flow(name="theirs")(lambda: None)
    with get_client(sync_client=True) as client:
        runs = {
            "gone": client.create_flow_run(ours, name="gone", state=Running()),
            "living": client.create_flow_run(ours, name="living", state=Running()),
            "starting": client.create_flow_run(ours, name="starting", state=Pending()),
            "waiting": client.create_flow_run(ours, name="waiting", state=Scheduled()),
            "theirs": client.create_flow_run(theirs, name="theirs", state=Running()),
        }
        with marked_alive(tmp_path, str(runs["living"].id)):
            assert crash_stale_runs(tmp_path, ["ours"]) == ["gone"]

        states = {name: client.read_flow_run(run.id).state_name for name, run in runs.items()}
    assert states == {
        "gone": "Crashed",
        "living": "Running",
        "starting": "Pending",
        "waiting": "Scheduled",
        "theirs": "Running",
    }


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_runs_on_workers_are_gone_when_nobody_heard_of_their_job_for_long(tmp_path):
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running, Scheduled

    unit = flow(name="unit")(lambda key: None)
    heard_s = {"working": 0.5, "silent": 400, "idle": None, "begun": None, "pending": None, "waiting": None}
    with get_client(sync_client=True) as client:

        def create(key, state):
            client.create_flow_run(unit, name=key, parameters={"key": key}, state=state)

        for key in ("working", "silent", "idle"):
            create(key, Running())
        create("pending", Pending())
        create("waiting", Scheduled())
        time.sleep(3)
        create("begun", Running())  # its process has no attempt yet
        gone = crash_stale_runs(tmp_path, [], silent={"unit": lambda run: heard_s[run["key"]]}, stale_s=2)

    assert sorted(gone) == ["idle", "pending", "silent"]
