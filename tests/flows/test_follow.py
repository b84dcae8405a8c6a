"""Jobs on workers, followed through everything that goes wrong with servers, machines and people; no server needed."""

from collections import defaultdict
from dataclasses import dataclass, field, replace

import pytest

from flows.follow import Run, follow
from hyperskin.errors import ServiceError, UnknownNameError

STALE_S, PAUSE_S = 60.0, 2.0


@dataclass(frozen=True)
class Job:
    name: str

    @property
    def keys(self):
        return (f"key of {self.name}",)

    def __str__(self):
        return self.name

    def words(self):
        return ["train", self.name]

    def parameters(self):
        return {"name": self.name}


A, B = Job("a"), Job("b")


@dataclass
class World:
    """A Prefect server, workers and a ledger, all played; `then` says what happens at which second."""

    now_s: float = 0.0
    runs: dict = field(default_factory=dict)  # (name, attempt) -> Run
    signs_s: dict = field(default_factory=dict)  # name -> when somebody at work on it gave a sign
    done: set = field(default_factory=set)
    gone: set = field(default_factory=set)
    crashed: list = field(default_factory=list)
    cancelled: list = field(default_factory=list)
    is_server_away: bool = False
    is_ledger_away: bool = False
    script: dict = field(default_factory=lambda: defaultdict(list))

    def at(self, second, event):
        self.script[second].append(event)

    def set(self, name, attempt, phase, message=""):
        run = self.runs[name, attempt]
        self.runs[name, attempt] = replace(run, phase=phase, message=message)

    # time

    def pause(self):
        self.now_s += PAUSE_S
        assert self.now_s < 2000, "it is followed for ever"
        for second in sorted(second for second in self.script if second <= self.now_s):
            for event in self.script.pop(second):
                event()

    def clock(self):
        return self.now_s

    # the server

    def start(self, job, attempt):
        self._require_server()
        return self.runs.setdefault((job.name, attempt), Run(f"{job.name}-{attempt}", "waiting"))

    def read(self, ids):
        self._require_server()
        return {run.id: run for run in self.runs.values() if run.id in ids}

    def crash(self, run_id, why):
        self._require_server()
        self.crashed.append((run_id, why))
        name, attempt = run_id.split("-")
        self.set(name, int(attempt), "failed", why)

    def cancel(self, run_id):
        self._require_server()
        self.cancelled.append(run_id)

    def _require_server(self):
        if self.is_server_away:
            raise RuntimeError("500 Internal Server Error")

    # the ledger

    def is_finished(self, job):
        self._require_ledger()
        return job.name in self.done

    def silent_s(self, job):
        self._require_ledger()
        return self.now_s - self.signs_s[job.name] if job.name in self.signs_s else None

    def lost(self):
        self._require_ledger()
        lost, self.gone = self.gone, set()
        for key in lost:
            self.signs_s.pop(key.removeprefix("key of "), None)
        return lost

    def _require_ledger(self):
        if self.is_ledger_away:
            raise ServiceError("The ledger must answer.")

    # a worker

    def work(self, job, *, begin_s, end_s=None, attempt=1):
        """Train from one second on, with a sign of life every ten, until an end or for ever."""
        self.at(begin_s, lambda: self.set(job.name, attempt, "running"))
        for second in range(begin_s, end_s or 1990, 10):
            self.at(second, lambda second=second: self.signs_s.update({job.name: second}))
        if end_s:
            self.at(end_s, lambda: self.finish(job, attempt))

    def finish(self, job, attempt=1):
        self.done.add(job.name)
        self.signs_s.pop(job.name, None)
        self.set(job.name, attempt, "completed")

    def die(self, job):
        """Let the machine at work on a job lose its power: no word to anybody."""
        for second in list(self.script):
            if second > self.now_s:
                del self.script[second]

    def follow(self, *jobs):
        return follow(
            jobs, api=self, signs=self, stale_s=STALE_S, pause=self.pause, clock=self.clock, failures_allowed=2
        )


@pytest.fixture
def world():
    return World()


def test_every_job_becomes_one_run_and_is_followed_to_its_end(world):
    world.work(A, begin_s=4, end_s=300)
    world.work(B, begin_s=300, end_s=700)  # it waits for a worker much longer than a silence may last
    assert world.follow(A, B) == {}
    assert set(world.runs) == {("a", 1), ("b", 1)}
    assert world.crashed == []


def test_what_is_finished_is_not_started(world):
    world.done.add("a")
    assert world.follow(A) == {}
    assert world.runs == {}


def test_a_run_that_another_flow_started_is_adopted(world):
    world.runs["a", 1] = Run("a-1", "running")
    world.signs_s["a"] = 0
    world.work(A, begin_s=2, end_s=100)
    assert world.follow(A) == {}
    assert set(world.runs) == {("a", 1)}


def test_attempts_that_ended_before_are_past_and_do_not_count(world):
    world.runs |= {("a", number): Run(f"a-{number}", "failed") for number in (1, 2, 3)}
    world.runs["a", 4] = Run("a-4", "cancelled")
    world.runs["a", 5] = Run("a-5", "completed")  # its result was deleted since
    world.runs["a", 6] = Run("a-6", "cancelling")  # and nobody is left to end it
    world.work(A, begin_s=4, end_s=50, attempt=7)
    assert world.follow(A) == {}


def test_a_run_whose_machine_is_gone_is_crashed_after_a_silence_and_tried_again(world):
    world.work(A, begin_s=4)
    world.at(50, lambda: world.die(A))
    world.at(50, lambda: world.work(A, begin_s=150, end_s=200, attempt=2))
    assert world.follow(A) == {}
    assert world.crashed == [("a-1", "it gave no sign of life for 62 s")]
    assert set(world.runs) == {("a", 1), ("a", 2)}


def test_the_silence_of_a_lost_attempt_is_not_held_against_the_next_one(world):
    world.work(A, begin_s=4)
    world.at(50, lambda: world.die(A))  # the ledger calls the first attempt running until the second claims
    world.at(50, lambda: world.at(120, lambda: world.set("a", 2, "starting")))
    world.at(50, lambda: world.work(A, begin_s=170, end_s=200, attempt=2))
    assert world.follow(A) == {}
    assert len(world.crashed) == 1


def test_a_process_of_this_host_that_is_gone_is_lost_at_once(world):
    world.work(A, begin_s=4)
    world.at(50, lambda: world.die(A))
    world.at(50, lambda: world.gone.add("key of a"))
    world.at(50, lambda: world.work(A, begin_s=60, end_s=80, attempt=2))
    assert world.follow(A) == {}
    assert world.crashed == [("a-1", "its process is gone")]
    assert world.now_s < 90


def test_a_run_that_stays_pending_for_ever_is_lost(world):
    world.at(4, lambda: world.set("a", 1, "starting"))
    world.work(A, begin_s=100, end_s=150, attempt=2)
    assert world.follow(A) == {}
    assert [run for run, _ in world.crashed] == ["a-1"]


def test_a_unit_that_was_trained_ends_its_job_though_prefect_calls_it_running(world):
    world.work(A, begin_s=4)
    world.at(50, lambda: (world.die(A), world.done.add("a"), world.signs_s.clear()))
    assert world.follow(A) == {}
    assert world.crashed == []


def test_a_failed_attempt_is_repeated_twice_and_then_told_while_others_go_on(world):
    for attempt, second in ((1, 10), (2, 20), (3, 30)):
        world.at(second, lambda attempt=attempt: world.set("a", attempt, "failed", f"loss {attempt}"))
    world.work(B, begin_s=4, end_s=100)
    assert world.follow(A, B) == {A: "loss 3"}
    assert world.done == {"b"}


def test_a_unit_finished_by_a_run_that_failed_afterwards_is_finished(world):
    world.at(10, lambda: (world.done.add("a"), world.set("a", 1, "failed", "no word got through")))
    assert world.follow(A) == {}
    assert set(world.runs) == {("a", 1)}


def test_a_run_that_a_person_cancelled_is_not_started_again(world):
    world.at(10, lambda: world.set("a", 1, "cancelled", "Flow run was cancelled successfully."))
    world.work(B, begin_s=4, end_s=50)
    assert world.follow(A, B) == {A: "cancelled"}
    assert set(world.runs) == {("a", 1), ("b", 1)}


def test_a_run_cancelled_by_a_person_whose_worker_is_gone_is_not_started_again(world):
    world.at(10, lambda: world.set("a", 1, "cancelling"))
    assert world.follow(A) == {A: "cancelled"}
    assert [run for run, _ in world.crashed] == ["a-1"]


def test_a_run_that_a_person_deleted_is_told(world):
    world.at(10, lambda: world.runs.clear())
    assert world.follow(A) == {A: "its run was deleted"}


def test_a_server_that_is_away_is_borne_and_told_once(world, caplog):
    world.work(A, begin_s=4, end_s=300)
    world.is_server_away = True
    world.at(2, lambda: setattr(world, "is_server_away", False))
    world.at(50, lambda: setattr(world, "is_server_away", True))
    world.at(250, lambda: setattr(world, "is_server_away", False))
    assert world.follow(A) == {}
    assert set(world.runs) == {("a", 1)}
    said = [record.getMessage() for record in caplog.records]
    assert (
        said.count(
            "The Prefect server does not answer (500 Internal Server Error); workers go on, and so does the following"
        )
        == 2
    )
    assert said.count("The Prefect server answers again") == 2


def test_a_job_done_while_the_server_is_away_is_done(world):
    world.work(A, begin_s=4)
    world.at(50, lambda: setattr(world, "is_server_away", True))
    world.at(100, lambda: (world.die(A), world.done.add("a"), world.signs_s.clear()))
    assert world.follow(A) == {}


def test_a_run_lost_while_the_server_is_away_is_crashed_when_it_is_back(world):
    world.work(A, begin_s=4)
    world.at(50, lambda: world.die(A))
    world.at(50, lambda: setattr(world, "is_server_away", True))
    world.at(50, lambda: world.at(300, lambda: setattr(world, "is_server_away", False)))
    world.at(50, lambda: world.work(A, begin_s=320, end_s=350, attempt=2))
    assert world.follow(A) == {}
    assert [run for run, _ in world.crashed] == ["a-1"]


def test_a_ledger_that_was_away_lets_nobody_look_silent(world):
    world.work(A, begin_s=4, end_s=400)
    world.at(50, lambda: setattr(world, "is_ledger_away", True))
    for second in [second for second in world.script if 50 < second < 250]:
        del world.script[second]  # nobody could write signs down either, and the next one comes at 254
    world.at(246, lambda: setattr(world, "is_ledger_away", False))
    assert world.follow(A) == {}
    assert world.crashed == []


def test_an_unknown_deployment_ends_the_following(world, monkeypatch):
    def refuse(job, attempt):
        raise UnknownNameError("The deployment must be known.")

    monkeypatch.setattr(world, "start", refuse)
    with pytest.raises(UnknownNameError):
        world.follow(A)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_interruption_cancels_what_runs_first_and_then_what_waits(world, error):
    def interrupt():
        raise error

    world.work(B, begin_s=4)
    world.at(20, interrupt)
    with pytest.raises(error):
        world.follow(A, B)
    assert world.cancelled == ["b-1", "a-1"]


def test_a_run_that_cannot_be_cancelled_keeps_no_other_from_it(world, monkeypatch):
    asked = []

    def cancel(run_id):
        asked.append(run_id)
        raise RuntimeError("500")

    monkeypatch.setattr(world, "cancel", cancel)
    world.at(20, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        world.follow(A, B)
    assert asked == ["a-1", "b-1"]
