"""Processes that end, fail, hang and refuse to go."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hyperskin import processes
from hyperskin.errors import ServiceError
from hyperskin.processes import Children, how_it_ended, interrupted_by_signals, lines, start, stop, stop_on_signals

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


def test_what_is_no_name_of_a_process_tells_of_none():
    mine = processes.identity()
    host, number, began_s = mine.rsplit(":", 2)
    assert processes.is_running(mine) is True
    for gone in (f"{host}:{2**22 + 1}:{began_s}", f"{host}:{number}:1"):
        assert processes.is_running(gone) is False
    for unknown in (f"elsewhere:{number}:{began_s}", "", "a person", f"{host}:one:two", f"{host}:-1:{began_s}"):
        assert processes.is_running(unknown) is None


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


def test_a_group_is_gone_within_five_seconds_and_not_before_a_training_has_ended_in_order():
    farewell_s = processes.GRACE_S + processes._LAST_WORDS_S
    assert farewell_s < sum(processes._PATIENCE_S) < 5


SAYS_DONE = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), print('done'), sys.exit()))\n"
    "print('up', flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.mark.parametrize(("patience_s", "said"), [((0.1, 0.1), ["up"]), ((20.0, 1.0), ["up", "done"])])
def test_who_has_children_of_its_own_is_given_more_time(tmp_path, patience_s, said):
    children = Children(tmp_path, {}, patience_s=patience_s)
    heard: list[str] = []

    def run() -> None:
        with contextlib.suppress(ServiceError):
            children.run(python(SAYS_DONE), on_line=heard.append)

    thread = threading.Thread(target=run)
    thread.start()
    while not heard:
        time.sleep(0.01)
    children.stop()
    thread.join(10)
    assert heard == said


# A request to end


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)
    time.sleep(0.05)  # Python hands a signal over between two instructions


def test_a_signal_only_sets_the_request_and_the_first_one_counts():
    with stop_on_signals() as request:
        assert not request.is_set()
        request.check()
        send(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        assert request.is_set()
        with pytest.raises(KeyboardInterrupt) as caught:
            request.check()
    assert caught.value.args == (signal.SIGTERM,)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_without_a_number_gets_the_signals(number):
    def end_when_asked() -> None:
        with stop_on_signals():
            send(number)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        end_when_asked()
    assert caught.value.args == (number,)


def test_an_interrupt_without_a_signal_stays_as_it_is():
    with pytest.raises(KeyboardInterrupt) as caught, stop_on_signals():
        raise KeyboardInterrupt
    assert caught.value.args == ()


def test_waiting_ends_with_the_request_and_else_in_its_time():
    begin = time.monotonic()
    with stop_on_signals() as request:
        request.wait(0.2)
        assert 0.2 <= time.monotonic() - begin < 5
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            request.wait(60)
    timer.join()
    assert time.monotonic() - begin < 30


def test_signals_that_others_handle_are_no_requests():
    heard = []
    previous = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        with stop_on_signals(grace_s=0) as request:
            send(signal.SIGUSR1, signal.SIGUSR1)
            subprocess.run(python(""), check=True)
            assert not request.is_set()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert heard == [signal.SIGUSR1] * 2


def test_all_is_as_before_when_it_is_over():
    def state():
        threads = [thread.name for thread in threading.enumerate()]
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        open_files = [path.name for path in Path("/proc/self/fd").iterdir()]
        return [signal.getsignal(number) for number in processes._END], threads, wakeup, open_files

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer)
    before = state()
    try:
        with stop_on_signals(on_deadline=lambda: os._exit(1)):
            assert state() != before
            send(signal.SIGTERM)
        assert state() == before
        with pytest.raises(RuntimeError), stop_on_signals():
            raise RuntimeError
        assert state() == before
    finally:
        signal.set_wakeup_fd(previous)
        os.close(reader)
        os.close(writer)


def test_in_another_thread_the_request_is_never_set():
    handler = signal.getsignal(signal.SIGTERM)
    seen = []

    def ask() -> None:
        with stop_on_signals(grace_s=0) as request:
            seen.append((request.is_set(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [(False, handler)]


def test_a_hangup_that_nohup_ignores_is_no_request():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as request:
            send(signal.SIGHUP)
            assert not request.is_set()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_an_interruption_says_by_which_signal():
    with pytest.raises(KeyboardInterrupt) as caught, interrupted_by_signals():
        send(signal.SIGTERM)
    assert caught.value.args == (signal.SIGTERM,)


BUSY = """
import hashlib, os, sys, time
from pathlib import Path
from hyperskin.processes import stop_on_signals

def say_goodbye():
    Path("goodbye").touch()
    time.sleep(float(sys.argv[1]))

with stop_on_signals(grace_s=1.0, on_deadline=say_goodbye) as request:
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # half an hour in one call
"""


@pytest.mark.parametrize("goodbye_s", [0, 60])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_deep_in_a_long_computation_ends_in_time_all_the_same(tmp_path, number, goodbye_s):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*python(BUSY), str(goodbye_s)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
        assert process.stdout.readline() == "busy\n"
        begin = time.monotonic()
        process.send_signal(number)
        time.sleep(0.6)
        assert process.poll() is None
        assert not (tmp_path / "goodbye").exists()
        process.send_signal(signal.SIGTERM)  # the first one counts, for the code and for the time
        said = process.communicate(timeout=60)[1]
        took_s = time.monotonic() - begin
    assert process.returncode == 128 + number
    assert (tmp_path / "goodbye").exists()
    assert said == "hyperskin: ended without an orderly end, which took longer than 1 s.\n"
    assert 0.9 <= took_s < 1.0 + 0.5 + 1.5  # of which 1.5 s are the machine's


MULTIPLYING = """
import torch
from hyperskin.processes import stop_on_signals

torch.set_num_threads(1)
big = torch.ones(12000, 12000)
with stop_on_signals(grace_s=0.3):
    print("busy", flush=True)
    while True:
        big @ big
"""


@pytest.mark.slow
def test_who_is_deep_in_torch_ends_in_time_all_the_same(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        python(MULTIPLYING), cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "busy\n"
        time.sleep(0.5)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 143
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_has_begun_nothing_ends_at_once_though_a_library_swallows_every_exception(number):
    code = (
        "import time\nfrom hyperskin.processes import ended_by_signals\n"
        "with ended_by_signals():\n    print('ready', flush=True)\n"
        "    while True:\n        try:\n            time.sleep(60)\n        except BaseException:\n            pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        try:
            assert process.wait(10) == -number
        finally:
            process.kill()
