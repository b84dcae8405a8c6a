"""The workers of a machine: which there are, and that nothing they started outlives them."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from flows import work
from flows.work import choose_workers
from hyperskin.errors import ServiceError
from hyperskin.processes import Children
from tests.flows.served import wait_for

# A worker whose run lives in a session of its own and has a child there; the run listens, or is deaf.
WORKER = """
import signal, subprocess, sys, time
child = "import time; time.sleep(60)"
run = f'''
import signal, subprocess, sys, time
deaf = {sys.argv[1]!r} == "deaf"
child = subprocess.Popen([sys.executable, "-c", {child!r}])
def end(*_):
    if not deaf:
        child.terminate()
        sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(0.1)
'''
process = subprocess.Popen([sys.executable, "-c", run], start_new_session=True)
time.sleep(60 if sys.argv[2] == "stay" else 1)
"""


def test_a_machine_has_one_worker_per_gpu_and_one_for_flows_that_wait():
    slots = [{"CUDA_VISIBLE_DEVICES": "GPU-a"}, {"CUDA_VISIBLE_DEVICES": "GPU-b"}]
    workers = choose_workers(slots, host="here", join=False)

    assert [(worker.name, worker.pool, worker.limit, worker.slot) for worker in workers] == [
        ("here-control", "control", 10, {}),
        ("here-gpu0", "gpu", 1, slots[0]),
        ("here-gpu1", "gpu", 1, slots[1]),
    ]
    words = " ".join(workers[1].command()[3:])
    assert words == "worker start --pool gpu --type process --name here-gpu0 --limit 1 --install-policy never"


def test_a_machine_that_joins_only_trains():
    workers = choose_workers([{"OMP_NUM_THREADS": "1"}], host="there", join=True)

    assert [(worker.name, worker.pool) for worker in workers] == [("there-gpu0", "gpu")]


@pytest.mark.parametrize("life", ["stay", "die"])
@pytest.mark.parametrize("manner", ["listening", "deaf"])
def test_runs_end_with_their_worker_and_also_when_it_is_gone_already(tmp_path, monkeypatch, life, manner):
    monkeypatch.setattr(work, "_PATIENCE_S", (0.5, 0.5))
    mark = f"mark of {os.getpid()} {life} {manner}"
    children = Children(tmp_path, {**os.environ, "HYPERSKIN_WORKERS": mark}, patience_s=(0.5, 0.5))
    said = threading.Event()

    def run():
        with contextlib.suppress(ServiceError):
            children.run([sys.executable, "-c", WORKER, manner, life], on_line=lambda line: said.set())

    thread = threading.Thread(target=run)
    thread.start()
    assert said.wait(20)
    wait_for(lambda: len(work._marked(mark)) == (3 if life == "stay" else 2), 20)
    begin = time.monotonic()
    work._end(children, mark)
    assert work._marked(mark) == []
    assert time.monotonic() - begin < 10
    thread.join()


def test_what_others_run_is_left_alone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        work._end(Children(tmp_path, {}), "a mark that nobody has")
        assert psutil.Process(other.pid).is_running()
        other.kill()
