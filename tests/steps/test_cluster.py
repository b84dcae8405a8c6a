"""Captures made by a real Dask cluster of two workers: the same bytes, and one clear sentence when it cannot be so."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Project
from test_captures import write_word

from hyperskin.atomic import write_text
from hyperskin.errors import DataError, ServiceError
from hyperskin.steps import cluster
from hyperskin.steps.captures import Job, make_key, map_captures
from hyperskin.steps.cluster import Terms, versions

pytest.importorskip("distributed")

CLOSED = {"HDF5_PLUGIN_PATH": "::"}


class Cluster:
    """A scheduler and its workers, each a process group of its own, as a keeper starts them."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder = folder
        self._groups: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        words = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port)]
        return self._start(*words, "--dashboard-address", "127.0.0.1:0")

    def start_workers(self, count: int = 2, **environment: str) -> subprocess.Popen[bytes]:
        words = ["worker", self.address, "--nthreads", "1", "--nworkers", str(count), "--host", "127.0.0.1"]
        return self._start(*words, "--dashboard-address", "127.0.0.1:0", **CLOSED, **environment)

    def _start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)])
        with (self._folder / "log").open("ab") as log:
            group = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": paths, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._groups.append(group)
        return group

    def stop(self) -> None:
        for group in self._groups:
            kill(group)


def kill(group: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started."""
    with contextlib.suppress(psutil.Error):
        for process in [*psutil.Process(group.pid).children(recursive=True), psutil.Process(group.pid)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
    group.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that no test may harm."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.start_scheduler()
    made.start_workers()
    yield made
    made.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that is not started yet."""
    (tmp_path / "cluster").mkdir()
    made = Cluster(tmp_path / "cluster")
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start from what every process of ours is started with."""
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "::")
    versions.cache_clear()
    yield
    versions.cache_clear()


def test_the_stages_give_the_same_bytes_here_and_on_a_cluster(project: Project, running: Cluster) -> None:
    folders = ("raw", "cubes", "inputs", "masks")
    here = {folder: project.hashes(folder) for folder in folders}
    assert sum(map(len, here.values())) > 40
    project.edit('  dask: ""', f"  dask: {running.address}")
    for folder in folders:
        for path in sorted((project.root / "data" / folder).rglob("*.json")):
            path.unlink()  # without its stamp a capture is made again
    said = "".join(
        project.run("hyperskin", *words).stderr
        for words in (
            ("acquire", "data/sources", "data/raw"),
            ("calibrate", "data/raw", "data/cubes"),
            ("render", "data/raw", "data/cubes", "data/inputs"),
            ("mask", "data/raw", "data/cubes", "data/masks"),
        )
    )
    assert said.count("5 made, 0 kept, 0 removed, 0 failed") == 4
    assert {folder: project.hashes(folder) for folder in folders} == here


def make_words(folder: Path, names: list[str], dask: str, *, word: str = "w") -> None:
    jobs = [
        Job(name[:4], name, make_key(word), write_word, {"word": word, "log": folder.parent / "log"}) for name in names
    ]
    map_captures("word", jobs, folder, workers=0, dask=dask)


def test_paths_hold_in_a_worker_with_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: Cluster
) -> None:
    monkeypatch.chdir(tmp_path)
    make_words(Path("out"), ["p001_a", "p002_b"], running.address)
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["p001_a.txt", "p002_b.txt"]
    assert sorted((tmp_path / "log").read_text().split()) == ["p001_a", "p002_b"]
    assert list(tmp_path.rglob(".*.tmp")) == []


def test_a_failure_on_a_cluster_keeps_the_others_and_names_itself(tmp_path: Path, running: Cluster) -> None:
    jobs = [
        Job("p", name, name, write_word, {"word": word, "log": tmp_path / "log"})
        for name, word in {"p1": "good", "p2": "bad", "p3": "unforeseen"}.items()
    ]
    with pytest.raises(DataError, match=r"2 of 3 captures failed \(p2, p3\); the others are kept\. p2: `word` must"):
        map_captures("word", jobs, tmp_path / "out", workers=0, dask=running.address)
    assert (tmp_path / "out" / "p" / "p1.txt").read_text() == "good"


def sleep_and_tell(folder: Path, name: str, *, seconds: float) -> tuple[list[str], dict[str, object]]:
    """Note whose work it is, take a while, and write."""
    write_text(folder / f"{name}.pid", str(os.getpid()))
    time.sleep(seconds)
    write_text(folder / name, name)
    return [name], {}


def sleepers(count: int, seconds: float = 0.5, word: str = "") -> list[Job]:
    work = {"seconds": seconds}
    return [Job("p", f"p{i}", make_key(i, word), sleep_and_tell, work) for i in range(count)]


def test_what_a_killed_worker_was_making_is_made_by_the_other(tmp_path: Path, own: Cluster) -> None:
    own.start_scheduler()
    own.start_workers(1)
    victim = own.start_workers(1)
    with killing(victim, when=lambda: works_in(tmp_path / "out", victim)):
        map_captures("sleep", sleepers(12), tmp_path / "out", workers=0, dask=own.address)
    assert victim.poll() is not None
    assert sorted(path.name for path in (tmp_path / "out/p").iterdir() if not path.suffix) == sorted(
        f"p{i}" for i in range(12)
    )


@contextlib.contextmanager
def killing(group: subprocess.Popen[bytes], *, when: Callable[[], bool]) -> Iterator[None]:
    """Kill a process and its children as soon as something is so."""
    import threading

    def wait_and_kill() -> None:
        wait_until(when)
        kill(group)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    yield
    thread.join()


def works_in(folder: Path, group: subprocess.Popen[bytes]) -> bool:
    own = {process.pid for process in psutil.Process(group.pid).children(recursive=True)}
    return any(int(path.read_text()) in own for path in folder.rglob("[!.]*.pid"))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_scheduler_that_goes_away_is_one_sentence_and_what_is_finished_stays(
    tmp_path: Path, own: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = own.start_scheduler()
    own.start_workers(2)
    with (
        killing(scheduler, when=lambda: (tmp_path / "out/p/p0.json").is_file()),
        pytest.raises(ServiceError, match=r"scheduler at tcp://\S+ must stay; it went away\. What is finished is kept"),
    ):
        map_captures("sleep", sleepers(20), tmp_path / "out", workers=0, dask=own.address)
    assert (tmp_path / "out/p/p0").read_text() == "p0"
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.slow
def test_a_cluster_that_loses_every_worker_is_not_waited_for_without_end(
    tmp_path: Path, own: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE_S", 3.0)
    own.start_scheduler()
    workers = own.start_workers(2)
    with (
        killing(workers, when=lambda: (tmp_path / "out/p/p0.json").is_file()),
        pytest.raises(ServiceError, match=r"must keep a worker; all ended and none came for 3 s"),
    ):
        map_captures("sleep", sleepers(20), tmp_path / "out", workers=0, dask=own.address)


@pytest.mark.slow
def test_what_a_killed_process_has_asked_for_ends_before_it_is_made_anew(tmp_path: Path, own: Cluster) -> None:
    own.start_scheduler()
    own.start_workers(2)
    script = (
        "from pathlib import Path\n"
        "from test_cluster import map_captures, sleepers\n"
        "if __name__ == '__main__':\n"
        f"    jobs = sleepers(4, 6.0, 'old')\n"
        f"    map_captures('sleep', jobs, Path({str(tmp_path / 'out')!r}), workers=0, dask={own.address!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    asking = subprocess.Popen([sys.executable, "-c", script], env=environment)
    wait_until(lambda: len(list((tmp_path / "out").rglob("[!.]*.pid"))) == 2)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    began = time.monotonic()
    map_captures("sleep", sleepers(4, 0.1, "new"), tmp_path / "out", workers=0, dask=own.address)
    assert time.monotonic() - began > 3
    keys = {job.key for job in sleepers(4, 0.1, "new")}
    stamps = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert len(stamps) == 4
    assert all(any(key in stamp for key in keys) for stamp in stamps)


def test_a_capture_that_kills_its_workers_is_named_after_some(tmp_path: Path, own: Cluster) -> None:
    own.start_scheduler()
    own.start_workers(2)
    jobs = [Job("p", "p1", "1", end_worker, {})]
    with pytest.raises(DataError, match=r"must fit in memory and on the disk; it killed several Dask workers"):
        map_captures("kill", jobs, tmp_path / "out", workers=0, dask=own.address)


def end_worker(folder: Path, name: str) -> tuple[list[str], dict[str, object]]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_no_scheduler_is_one_sentence(tmp_path: Path, own: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    with pytest.raises(ServiceError, match=r"A Dask scheduler must answer at tcp://127\.0\.0\.1:\d+, .* none does"):
        make_words(tmp_path / "out", ["p001_a"], own.address)


def test_something_silent_that_is_no_scheduler_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ServiceError, match=r"A Dask scheduler must answer at .* none does \(.*\): start it"):
            make_words(tmp_path / "out", ["p001_a"], address)
        assert time.monotonic() - began < 20


def test_no_worker_is_one_sentence(tmp_path: Path, own: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own.start_scheduler()
    wait_until(lambda: _answers(own.port))
    monkeypatch.setattr(cluster, "_CONNECT_S", 3)
    with pytest.raises(
        ServiceError, match=r"must have a worker; it has none: start one with `HDF5_PLUGIN_PATH=:: dask"
    ):
        make_words(tmp_path / "out", ["p001_a"], own.address)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_worker_with_other_settings_is_refused_before_it_makes_anything(
    tmp_path: Path, running: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "/elsewhere")
    versions.cache_clear()
    with pytest.raises(ServiceError, match=r"has HDF5_PLUGIN_PATH '::' for '/elsewhere': start it anew"):
        make_words(tmp_path / "out", ["p001_a", "p002_b"], running.address)
    assert list(tmp_path.rglob("*.txt")) == []


def test_terms_name_what_differs(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with pytest.raises(ServiceError, match=r"must see the folder .* the one on .* does not: let both mount"):
        Terms(token, versions()).require_here()
    token.touch()
    Terms(token, versions()).require_here()
    with pytest.raises(
        ServiceError, match=r"has hyperskin's code '\w{12}' for 'other'; numpy '[\d.]+' for '0\.1': start"
    ):
        Terms(token, {**versions(), "hyperskin's code": "other", "numpy": "0.1"}).require_here()


def test_without_the_package_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        ServiceError, match=r"needs the package distributed; it is not installed: pip install 'hyperskin"
    ):
        make_words(tmp_path / "out", ["p001_a"], "tcp://127.0.0.1:1")
