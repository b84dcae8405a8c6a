"""What was killed is found and put right, what lives is left alone, and whatever does not answer holds up nobody."""

import contextlib
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hyperskin import atomic
from hyperskin.atomic import file_sha256
from hyperskin.ledger import Ledger
from hyperskin.processes import identity
from hyperskin.steps import settle as module
from hyperskin.steps.settle import RWLOCK, settle
from hyperskin.tracking.store import experiment_id, prepare_store, running
from tests.stores import copy_store

HERE = Path(__file__).parent.parent.parent
LONG_AGO_S = 1_000_000_000
# Claims a unit, leaves a temporary file half written, says who it is, and lives until it is killed.
TRAINING = """
import sys, time
from pathlib import Path
from hyperskin.atomic import atomic_path
from hyperskin.ledger import Ledger
from hyperskin.processes import identity

root, key = Path(sys.argv[1]), sys.argv[2]
with Ledger.of(root).claim(key, about={"model": "hrnet", "pair": "rgb_vis"}, stale_s=60):
    with atomic_path(root / "mlruns" / "checkpoints" / key / "last.pt") as temporary:
        temporary.write_bytes(b"half")
        print(identity(), flush=True)
        time.sleep(600)
"""


@pytest.fixture
def root(tmp_path, empty_store, monkeypatch):
    """A repository with an MLflow store, and nothing in it."""
    for name in ("MLFLOW_TRACKING_URI", "HYPERSKIN_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "repository"
    copy_store(empty_store, folder)
    return folder


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request, root, monkeypatch):
    """The ledger of the repository, in its own file and on a server."""
    if request.param == "postgres":
        monkeypatch.setenv("HYPERSKIN_DATABASE", request.getfixturevalue("postgres"))
    return Ledger.of(root)


@pytest.fixture
def train(root):
    """Start a process that holds a unit; the name it gives itself comes back with it."""
    with contextlib.ExitStack() as stack:

        def start(key):
            command = [sys.executable, "-c", TRAINING, str(root), key]
            environment = {**os.environ, "PYTHONPATH": str(HERE)}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process, process.stdout.readline().strip()

        yield start


@pytest.fixture
def killed(train):
    """The name of a process that was killed while it held the unit `killed`."""
    process, name = train("killed")
    process.kill()
    process.wait()
    return name


def _run(root, process):
    uri = prepare_store(root)
    return MlflowClient(uri).create_run(experiment_id(uri), tags={"process": process}).info.run_id


def _write_lock(root, content, *, age_s=LONG_AGO_S):
    path = root / RWLOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def _bytes_of(root):
    return {path: file_sha256(path) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}


def test_where_nothing_was_killed_nothing_is_found_and_nothing_made(tmp_path, root, ledger):
    assert settle(root) == []
    empty = tmp_path / "empty"
    empty.mkdir()
    assert settle(empty) == []
    assert list(empty.iterdir()) == []


def test_what_was_killed_is_settled_and_a_second_time_there_is_nothing(root, ledger, killed):
    run_id = _run(root, killed)
    lock = _write_lock(root, '{"data/raw": [{"pid"')
    [left] = (root / "mlruns" / "checkpoints" / "killed").iterdir()
    assert settle(root) == [
        f"The training of hrnet on rgb_vis was broken off ({killed} is gone); it goes on where it was.",
        f"MLflow took the run {run_id} for running; {killed} is gone, so it was killed.",
        f"{RWLOCK} was left half written by a DVC that was killed.",
        "1 temporary file in mlruns had lost their writers.",
    ]
    [attempt] = ledger.newest()
    assert (attempt.process, attempt.state) == (killed, "lost")
    uri = prepare_store(root)
    run = MlflowClient(uri).get_run(run_id)
    assert (run.info.status, run.data.tags["ended_by"]) == ("KILLED", "its process was gone")
    assert running(uri) == []
    assert not lock.exists()
    assert not left.exists()
    assert settle(root) == []


def test_looking_finds_the_same_and_changes_no_byte(root, ledger, killed):
    _run(root, killed)
    _write_lock(root, "")
    before, noted = _bytes_of(root), [(attempt.number, attempt.state) for attempt in ledger.newest()]
    found = settle(root, only_look=True)
    assert len(found) == 4
    assert _bytes_of(root) == before
    assert [(attempt.number, attempt.state) for attempt in ledger.newest()] == noted == [(1, "running")]
    assert settle(root) == found


def test_what_lives_is_left_alone(root, ledger, train):
    _, name = train("alive")
    mine, other = _run(root, identity()), _run(root, "another-host:1:1000")
    nobody = _run(root, "what a person wrote here")
    before = _bytes_of(root)
    assert settle(root) == []
    assert _bytes_of(root) == before
    [attempt] = ledger.newest()
    assert (attempt.process, attempt.state) == (name, "running")
    assert {run.run_id for run in running(prepare_store(root))} == {mine, other, nobody}


def test_the_ledger_is_not_made_by_looking(root, postgres, monkeypatch):
    assert settle(root) == []
    assert not (root / "mlruns" / "ledger.db").exists()
    monkeypatch.setenv("HYPERSKIN_DATABASE", postgres)
    assert settle(root, only_look=True) == []
    assert Ledger.find(root) is None
    assert Ledger.of(root).newest() == Ledger.find(root).newest() == []


@pytest.mark.parametrize(
    ("content", "age_s", "is_broken"),
    [
        ("", LONG_AGO_S, True),
        ('{"read": {', LONG_AGO_S, True),
        ("", 0, False),
        ('{"read": {', 0, False),
        ("{}", LONG_AGO_S, False),
        ('{"write": {"a": {"pid": 1, "cmd": "dvc repro"}}}', LONG_AGO_S, False),
    ],
)
def test_a_lock_of_dvc_is_removed_when_it_is_broken_and_old(root, content, age_s, is_broken):
    lock = _write_lock(root, content, age_s=age_s)
    assert [str(RWLOCK) in sentence for sentence in settle(root)] == [True] * is_broken
    assert lock.exists() != is_broken
    if lock.exists():
        assert lock.read_text() == content


def test_a_database_that_was_broken_off_while_it_was_made_goes_with_what_lies_beside_it(root):
    for ending in ("", "-journal"):
        (root / "mlruns" / f".mlflow.db.{atomic._HOST}-{2**22 + 1}.0123abcd.tmp{ending}").touch()
    assert settle(root, only_look=True) == ["2 temporary files in mlruns had lost their writers."]
    assert settle(root) == ["2 temporary files in mlruns had lost their writers."]
    assert [path.name for path in (root / "mlruns").iterdir()] == ["mlflow.db"]


def test_temporary_files_of_the_living_and_files_of_other_names_stay(root):
    folder = root / "mlruns" / "journal" / "unit"
    folder.mkdir(parents=True)
    names = [
        f".cursor.json.{atomic._HOST}-{os.getpid()}.0123abcd.tmp",
        ".cursor.json.tmp",
        "records.jsonl",
        f".a.{2**22 + 1}.tmp",
    ]
    for name in names:
        (folder / name).touch()
    dead = f"{atomic._HOST}-{2**22 + 1}"  # no system numbers its processes so high
    (folder / f".cursor.json.{dead}.0123abcd.tmp").touch()
    assert settle(root) == ["1 temporary file in mlruns had lost their writers."]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# what does not answer


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def hanging_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)  # the system accepts for it
        yield server.getsockname()[1]


def _settle_in_a_process(root, patience_s, **environment):
    """Settle in a process of its own, where a question that hangs disturbs no other test.

    Returns:
        What was found, what was said on stderr, how long it took, and which large libraries were loaded.
    """
    script = (
        "import json, sys, time; from pathlib import Path; from hyperskin.steps import settle as module\n"
        f"module._PATIENCE_S, started = {patience_s}, time.monotonic()\n"
        f"found = module.settle(Path({str(root)!r}))\n"
        "loaded = sorted({'mlflow', 'torch', 'optuna', 'prefect'} & set(sys.modules))\n"
        "print(json.dumps([found, time.monotonic() - started, loaded]), flush=True)\n"
        "import os; os._exit(0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE), **environment}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found, seconds, loaded = json.loads(result.stdout)
    return found, result.stderr, seconds, loaded


@pytest.mark.parametrize("way", ["closed", "hanging"])
@pytest.mark.parametrize(
    "form",
    [
        "http://127.0.0.1:{}",
        pytest.param("postgresql+psycopg://me:s3cret@127.0.0.1:{}/mlflow", marks=pytest.mark.slow),
    ],
)
def test_an_mlflow_that_is_away_costs_seconds_and_hides_nothing_else(request, root, way, form):
    _write_lock(root, "")
    address = form.format(request.getfixturevalue(f"{way}_port"))
    found, said, seconds, _ = _settle_in_a_process(root, 3.0, MLFLOW_TRACKING_URI=address)
    assert len(found) == 1
    assert seconds < 5
    assert "must answer; it does not" in said or "nothing came within 3 s" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("way", ["closed", "hanging"])
def test_a_database_that_is_away_costs_seconds_and_hides_nothing_else(request, root, way):
    pytest.importorskip("psycopg")
    _write_lock(root, "")
    address = f"postgresql+psycopg://me:s3cret@127.0.0.1:{request.getfixturevalue(f'{way}_port')}/hyperskin"
    found, said, seconds, loaded = _settle_in_a_process(root, 3.0, HYPERSKIN_DATABASE=address)
    assert (len(found), loaded) == (1, [])
    assert seconds < 5
    assert "The ledger of trainings must answer at" in said or "nothing came within 3 s" in said
    assert "s3cret" not in said


def test_a_ledger_that_comes_back_is_settled_the_next_time(root, postgres_server, monkeypatch, train):
    pytest.importorskip("psycopg")
    monkeypatch.setenv("HYPERSKIN_DATABASE", postgres_server.new_database())
    process, name = train("killed")
    process.kill()
    process.wait()
    postgres_server.stop()
    assert not any(name in sentence for sentence in settle(root))
    postgres_server.start()
    assert [name in sentence for sentence in settle(root)] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow.db", "ledger.db"])
def test_a_file_that_another_process_holds_costs_seconds(root, killed, name):
    run_id = _run(root, killed)
    with closing(sqlite3.connect(root / "mlruns" / name, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        found, said, seconds, _ = _settle_in_a_process(root, 5.0)
    assert seconds < 2 * 5.0  # the held one, and MLflow, which takes seconds to load on a busy machine
    assert "nothing came within 5 s" in said
    assert any(run_id in sentence for sentence in found) == (name == "ledger.db")
    assert any("broken off" in sentence for sentence in found) == (name == "mlflow.db")
    assert settle(root)


@pytest.mark.parametrize("name", ["mlflow.db", "ledger.db"])
def test_a_file_that_is_no_database_is_warned_of_and_no_error(root, monkeypatch, caplog, name):
    monkeypatch.setattr(module, "_PATIENCE_S", 5.0)
    (root / "mlruns" / name).write_bytes(b"no database" * 100)
    with caplog.at_level(logging.WARNING, "hyperskin"):
        assert settle(root) == []
    assert caplog.messages


def test_mlflow_is_loaded_only_where_one_of_its_runs_must_be_ended(root, killed):
    found, _, _, loaded = _settle_in_a_process(root, 10.0)
    assert (len(found), loaded) == (2, [])
    _run(root, identity())
    found, _, _, loaded = _settle_in_a_process(root, 10.0)
    assert (len(found), loaded) == (0, [])
    _run(root, killed)
    found, _, _, loaded = _settle_in_a_process(root, 10.0)
    assert (len(found), loaded) == (1, ["mlflow"])
