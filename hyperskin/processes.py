"""Processes of our own: each in its own group, its output read line by line, stopped for good."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from hyperskin.errors import ServiceError

GRACE_S = 4.0
"""Seconds that an orderly end may take: a checkpoint, the last words of a run, the way out."""

_LAST_WORDS_S = 0.5
# Two polite requests, because a process may take the first as "finish what you do". Together a little more than
# `stop_on_signals` leaves a training for its checkpoint and its last words, and a little less than the 5 s in which
# everything that was asked to end is to be gone.
_PATIENCE_S = (2.0, 2.8)
FLOW_PATIENCE_S = (30.0, 10.0)
"""For a flow, which must first stop its trainings; Prefect leaves it 30 s, too."""

_POLL_S = 0.05
_CLOCK_STEP_S = 5.0  # the system tells when a process began by a clock that people set
_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_SIGNAL = b"\0"
_IDENTITY = re.compile(r"(.+):(\d+):(\d+)")
_REFUSAL = "hyperskin: "  # how our own command begins the sentence it ends with


def start(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], in_sight: bool = False
) -> subprocess.Popen[str]:
    """Start `command` as the leader of its own group.

    Args:
        command: A list of words that we chose.
        folder: Where it runs.
        environment: All of its environment.
        in_sight: Its errors and bars are seen in this terminal and its other output nowhere; else `lines` gives both.
    """
    return subprocess.Popen(  # noqa: S603 - no shell
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if in_sight else subprocess.PIPE,
        stderr=None if in_sight else subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def identity() -> str:
    """Return which process this is, for ever: host, number, and when it began, for numbers are used again."""
    return f"{platform.node()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def is_running(identity: str) -> bool | None:
    """Tell whether the process that called itself `identity` still runs; None where it is another host's.

    None, too, where it is no name of a process, as after an edit by hand.
    """
    found = _IDENTITY.fullmatch(identity)
    if found is None or found[1] != platform.node():
        return None
    number, began_s = found[2], found[3]
    try:
        process = psutil.Process(int(number))
        is_same = abs(process.create_time() - float(began_s)) < _CLOCK_STEP_S
        return is_same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, ValueError):
        return False


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Give the lines of a process as they come, without empty ones, until it closes its output."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if text := line.rstrip():
                yield text


def stop(*processes: subprocess.Popen[str], patience_s: Sequence[float] = _PATIENCE_S) -> None:
    """End the processes and their groups: ask, ask again, then kill; return when the processes are gone.

    Args:
        processes: Processes that `start` gave.
        patience_s: How long to wait after each request.
    """
    for seconds in patience_s:
        for process in processes:
            _signal_group(process, signal.SIGTERM)
        if _are_gone(processes, seconds):
            return
    for process in processes:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def how_it_ended(returncode: int, said: Sequence[str]) -> str:
    """Return in a few words why a process failed: its own refusal, else its last line, or the signal that ended it."""
    last_line = said[-1] if said else ""
    if returncode >= 0:
        refusals = [line.removeprefix(_REFUSAL) for line in said if line.startswith(_REFUSAL)]
        return refusals[-1] if refusals else last_line or f"exit code {returncode} and no word"
    name = signal.Signals(-returncode).name
    hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
    return f"ended by {name}{hint}" + (f' after "{last_line}"' if last_line else "")


class Children:
    """The processes that run now, from any number of threads, so that one call can stop them all."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, patience_s: Sequence[float] = _PATIENCE_S
    ) -> None:
        """Start none.

        Args:
            folder: Where they run.
            environment: What they all have.
            patience_s: How long to wait after each request to end; more than the default where they have children of
                their own to stop.
        """
        self._folder = folder
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}  # or lines come in blocks, and out of order
        self._patience_s = patience_s
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    @property
    def is_stopping(self) -> bool:
        """Tell whether everything is being stopped, so that nothing is to be started again."""
        return self._stopping

    def run(
        self, command: Sequence[str], *, more: Mapping[str, str] | None = None, on_line: Callable[[str], None]
    ) -> list[str]:
        """Run `command` to its end with `more` environment, hand over each line as it comes, and return them all.

        Raises:
            ServiceError: It did not end with exit code 0, or everything is being stopped.
        """
        with self._one_more(command, more or {}) as process:
            said: list[str] = []
            for line in lines(process):
                said.append(line)
                on_line(line)
            returncode = process.wait()
        if returncode != 0:
            raise ServiceError(how_it_ended(returncode, said))
        return said

    def stop(self, patience_s: Sequence[float] | None = None) -> None:
        """End every process that runs, and let no other start; `patience_s` counts instead of that of the start."""
        with self._lock:
            self._stopping = True
            running = tuple(self._running)
        stop(*running, patience_s=self._patience_s if patience_s is None else patience_s)

    @contextlib.contextmanager
    def stopped_on_error(self) -> Iterator[None]:
        """Stop everything when the body does not end by itself."""
        try:
            yield
        except BaseException:
            with deaf_to_signals():
                self.stop()
            raise

    @contextlib.contextmanager
    def _one_more(self, command: Sequence[str], more: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
        with self._lock:
            if self._stopping:
                raise ServiceError("not started, because everything is being stopped")
            process = start(command, folder=self._folder, environment={**self._environment, **more})
            self._running.add(process)
        try:
            yield process
        except BaseException:
            with deaf_to_signals():  # a second Ctrl-C would leave it running for nobody
                stop(process, patience_s=self._patience_s)
            raise
        finally:
            with self._lock:
                self._running.discard(process)


def _are_gone(processes: Sequence[subprocess.Popen[str]], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while any(process.poll() is None or _signal_group(process, 0) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _signal_group(process: subprocess.Popen[str], number: int) -> bool:
    """Send a signal to a process and all it started; False where nobody is left."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


class StopRequest:
    """Whether a signal asked this process to end: a question for loops, which then end in order."""

    def __init__(self) -> None:
        self.number = 0

    def is_set(self) -> bool:
        """Tell whether somebody asked."""
        return self.number != 0

    def check(self) -> None:
        """Go on unless somebody asked.

        Raises:
            KeyboardInterrupt: Somebody did; its argument is the signal's number.
        """
        if self.is_set():
            raise KeyboardInterrupt(self.number)

    def wait(self, seconds: float) -> None:
        """Sleep, and no longer than until somebody asks.

        Raises:
            KeyboardInterrupt: Somebody did.
        """
        deadline = time.monotonic() + seconds
        self.check()
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_POLL_S, left))  # no lock to wait for: a signal's handler could not open it
            self.check()

    def hear(self, number: int) -> None:
        """Take a signal; the first one counts."""
        self.number = self.number or number


@contextlib.contextmanager
def stop_on_signals(
    *, grace_s: float = GRACE_S, on_deadline: Callable[[], None] = lambda: None
) -> Iterator[StopRequest]:
    """Let a request to end be a question for the body, and end the process when the body takes too long over it.

    The first signal counts, and those after it change nothing. A hangup that was to be ignored stays so, as `nohup`
    promises. Signals come to the main thread alone: in any other the request is never set.

    Args:
        grace_s: Seconds from the signal to the end, even where the main thread is deep in a computation of torch.
        on_deadline: Last words, for which there is half a second; called from another thread while the main one is
            wherever it is, and never after an orderly end.

    Raises:
        KeyboardInterrupt: The body ended so; it has the signal's number.
    """
    request = StopRequest()
    if not _is_main_thread():
        yield request
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [number for number in _END if not (is_nohup and number == signal.SIGHUP)]
    is_over = threading.Event()
    watch = threading.Thread(
        target=_end_in_time, args=(reader, request, is_over, grace_s, on_deadline), name="deadline", daemon=True
    )
    watch.start()
    try:
        with _waking(writer), _handling(dict.fromkeys(heard, lambda number, _: request.hear(number))):
            yield request
    except KeyboardInterrupt as interrupt:
        if request.is_set() and not interrupt.args:
            interrupt.args = (request.number,)
        raise
    finally:
        is_over.set()
        os.write(writer, _NO_SIGNAL)
        watch.join()
        os.close(writer)
        os.close(reader)


def _end_in_time(
    reader: int, request: StopRequest, is_over: threading.Event, grace_s: float, on_deadline: Callable[[], None]
) -> None:
    """Wait for a signal, and then for the orderly end; without one, end the process."""
    while (number := os.read(reader, 1)[0]) not in _END:  # those that others handle come this way, too
        if is_over.is_set():
            return
    request.hear(number)  # Python itself tells the main thread only between two of its own instructions
    if is_over.wait(grace_s):
        return
    os.write(2, f"{_REFUSAL}ended without an orderly end, which took longer than {grace_s:g} s.\n".encode())
    last_words = threading.Thread(target=on_deadline, name="last words", daemon=True)
    last_words.start()
    last_words.join(_LAST_WORDS_S)  # they may wait for a lock that the main thread has
    os._exit(128 + number)


@contextlib.contextmanager
def interrupted_by_signals(say: str = "") -> Iterator[None]:
    """Let every request to end do what Ctrl-C does, also in a shell's background, where Ctrl-C does nothing.

    Args:
        say: A line for the terminal at once, where the end takes a while.
    """

    def interrupt(number: int, _: object) -> None:
        if say:
            os.write(2, f"\n{say}\n".encode())
        raise KeyboardInterrupt(number)

    with _handling(dict.fromkeys(_END, interrupt)):
        yield


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let every request end this process at once, where nothing is begun that would need an orderly end.

    An interruption that comes as an exception may be swallowed while libraries load, and is then lost for good.
    """
    with _handling(dict.fromkeys(_END, signal.SIG_DFL)):
        yield


@contextlib.contextmanager
def deaf_to_signals() -> Iterator[None]:
    """Let nothing interrupt what must be finished."""
    with _handling(dict.fromkeys(_END, signal.SIG_IGN)):
        yield


@contextlib.contextmanager
def _waking(writer: int) -> Iterator[None]:
    """Let the number of every signal be written to a pipe at once, whatever the main thread does."""
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)


@contextlib.contextmanager
def _handling(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    if not _is_main_thread():  # signals come to the main thread alone
        yield
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
