"""Processes that end, fail, hang and refuse to go."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hyperskin.errors import ServiceError
from hyperskin.processes import Children, how_it_ended, lines, start, stop

ROOT = Path(__file__).parent.parent

IGNORES_REQUESTS = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)\n"
)
HAS_A_CHILD = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def python(script):
    return [sys.executable, "-c", script]


@pytest.fixture
def children(tmp_path):
    return Children(tmp_path, {"PATH": os.environ["PATH"], "SHARED": "1"})


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_all_lines_come_back_without_empty_ones_and_errors_among_them(children):
    heard = []
    script = "import sys; print('one'); print(); sys.stdout.flush(); print('two', file=sys.stderr)"

    assert children.run(python(script), on_line=heard.append) == ["one", "two"]
    assert heard == ["one", "two"]


def test_bytes_that_are_no_text_do_not_stop_the_reading(children):
    script = "import sys; sys.stdout.buffer.write(b'a\\xff\\nb\\n')"

    assert children.run(python(script), on_line=lambda line: None) == ["a�", "b"]


def test_a_process_has_the_shared_environment_and_its_own(children):
    script = "import os; print(os.environ['SHARED'], os.environ['OWN'])"

    assert children.run(python(script), more={"OWN": "2"}, on_line=lambda line: None) == ["1 2"]


def test_a_failure_is_told_with_the_last_line(children):
    with pytest.raises(ServiceError, match=r"^the data must be there$"):
        children.run(
            python("import sys; print('x'); sys.exit('hyperskin: the data must be there')"), on_line=lambda line: None
        )


@pytest.mark.parametrize(
    ("returncode", "said", "told"),
    [
        (1, ["x", "hyperskin: no data."], "no data."),
        (1, ["hyperskin: no data.", "a library says goodbye"], "no data."),
        (1, ["Traceback", "KeyError: 3"], "KeyError: 3"),
        (3, [], "exit code 3 and no word"),
        (-15, ["epoch 3"], 'ended by SIGTERM after "epoch 3"'),
        (-9, [], "ended by SIGKILL, perhaps for want of memory"),
    ],
)
def test_an_end_is_told_in_few_words(returncode, said, told):
    assert how_it_ended(returncode, said) == told


def test_who_ignores_two_requests_is_killed(tmp_path):
    process = start(python(IGNORES_REQUESTS), folder=tmp_path, environment={})
    assert next(lines(process)) == "ready"

    begin = time.monotonic()
    stop(process, patience_s=(0.2, 0.2))

    assert process.returncode == -9
    assert 0.4 <= time.monotonic() - begin < 5


def test_what_a_process_started_goes_with_it(tmp_path):
    process = start(python(HAS_A_CHILD), folder=tmp_path, environment={})
    grandchild = int(next(lines(process)))
    assert is_running(grandchild)

    stop(process)

    assert process.returncode == -15
    assert not is_running(grandchild)


def test_stopping_ends_all_that_run_and_lets_none_start(children):
    heard: list[str] = []
    caught: list[BaseException] = []

    def run() -> None:
        try:
            children.run(python("import time; print('up', flush=True); time.sleep(60)"), on_line=heard.append)
        except ServiceError as error:
            caught.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(heard) < 2:
        time.sleep(0.01)
    children.stop()
    for thread in threads:
        thread.join(10)

    assert [str(error) for error in caught] == ['ended by SIGTERM after "up"'] * 2
    with pytest.raises(ServiceError, match="everything is being stopped"):
        children.run(python(""), on_line=heard.append)


def test_an_error_while_listening_ends_the_process(children):
    pids = []

    def listen(line):
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        children.run(python("import os, time; print(os.getpid(), flush=True); time.sleep(60)"), on_line=listen)
    assert not is_running(pids[0])


STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2), sys.exit(0)))
print("here", flush=True)
time.sleep(600)
"""
IMPATIENT = """
import os, sys
from pathlib import Path
from hyperskin.processes import Children, interrupted_by_signals

with interrupted_by_signals("stopping ..."):
    children = Children(Path.cwd(), dict(os.environ))
    children.run([sys.executable, "-c", sys.argv[1]], on_line=lambda line: print(line, flush=True))
"""


def test_a_second_request_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPATIENT, STUBBORN]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes) as process:
        assert process.stdout.readline() == "here\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        said = process.communicate(timeout=60)[1]
    assert not Path(f"/proc/{child}").exists()
    assert said.startswith("\nstopping ...\n")
