"""Runs whose process is gone, told from those that still live."""

import subprocess
import sys

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
