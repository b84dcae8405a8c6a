"""Who holds a unit: many processes that want it, holders that die, sleep and wake up, databases that go away."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from hyperskin import ledger as module
from hyperskin.errors import ServiceError
from hyperskin.ledger import BusyError, FencedError, Ledger
from hyperskin.processes import identity
from tests.postgres import PASSWORD

ELSEWHERE = "another-host:1:1000"
ABOUT = {"model": "hrnet", "pair": "rgb_vis"}

# Claims a unit as soon as the gate file is there, and says how that went; a winner holds it until its input closes.
CLAIMANT = """
import pathlib, sys, time
from hyperskin import ledger as module
from hyperskin.ledger import BusyError, FencedError, Ledger

uri, gate, module.BEAT_S, stale_s = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
print("ready", flush=True)
while not gate.exists():
    time.sleep(0.001)
try:
    with Ledger(uri).claim("unit", about={}, stale_s=stale_s) as claim:
        print("holds", claim.number, flush=True)
        for line in sys.stdin:
            claim.require_current()
            print("current", flush=True)
        claim.finish()
except BusyError as busy:
    print("busy", busy.holder.process, flush=True)
except FencedError as fenced:
    print("fenced", fenced, flush=True)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def uri(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres")


@pytest.fixture
def ledger(uri):
    return Ledger(uri)


@pytest.fixture
def claimants(uri, tmp_path):
    """Return a function that starts processes which claim one unit when the gate opens."""
    with contextlib.ExitStack() as running:

        def start(count, *, beat_s=0.2, stale_s=60.0, gate="gate"):
            words = [sys.executable, "-c", CLAIMANT, uri, str(tmp_path / gate), str(beat_s), str(stale_s)]
            started = []
            for _ in range(count):
                process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                running.callback(end, process)
                started.append(process)
            for process in started:
                assert process.stdout.readline() == "ready\n"
            (tmp_path / gate).touch()
            return started

        yield start


def end(process):
    with process:
        process.kill()


def claim(ledger, key="unit", stale_s=60.0):
    return ledger.claim(key, about=ABOUT, stale_s=stale_s)


def state_of(ledger, key="unit"):
    return [(attempt.number, attempt.state) for attempt in ledger.newest([key])]


def age(ledger, seconds):
    """Let all signs of life be older than they are."""
    with ledger._database._engine.begin() as connection:
        connection.execute(sa.text("UPDATE attempts SET beat_s = beat_s - :s"), {"s": seconds})


def test_a_unit_is_held_by_one_attempt_and_then_finished(ledger):
    with claim(ledger) as first:
        assert first.number == 1
        with pytest.raises(BusyError, match=r"One process at a time must train unit; .* wait for it") as busy:
            claim(ledger)
        assert busy.value.holder.process == identity()
        assert busy.value.holder.about == ABOUT
        assert ledger.finished(["unit", "other"]) == set()
        assert ledger.silent_s(["unit"]) < 5
        first.finish()
    assert ledger.finished(["unit", "other"]) == {"unit"}
    assert ledger.silent_s(["unit"]) is None
    assert state_of(ledger) == [(1, "finished")]


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt(15), "killed"), (ValueError(), "failed"), (SystemExit(1), "failed")]
)
def test_what_breaks_an_attempt_is_noted_and_the_next_one_follows(ledger, error, state):
    with pytest.raises(type(error)), claim(ledger):
        raise error
    assert state_of(ledger) == [(1, state)]
    with claim(ledger) as second:
        assert second.number == 2


def test_an_attempt_that_was_not_finished_failed(ledger):
    with claim(ledger):
        pass
    assert state_of(ledger) == [(1, "failed")]
    assert ledger.finished(["unit"]) == set()


def test_a_unit_once_finished_stays_so_whatever_follows(ledger):
    with claim(ledger) as first:
        first.finish()
    with claim(ledger):
        assert ledger.finished(["unit"]) == {"unit"}


def test_units_do_not_know_of_each_other(ledger):
    with claim(ledger, "one") as one, claim(ledger, "two") as two:
        assert (one.number, two.number) == (1, 1)
        one.finish()
    assert {(attempt.key, attempt.state) for attempt in ledger.newest()} == {("one", "finished"), ("two", "failed")}


def test_of_many_that_claim_at_once_exactly_one_wins(ledger, claimants):
    said = [process.stdout.readline().split() for process in claimants(6)]

    assert sorted(words[0] for words in said) == ["busy"] * 5 + ["holds"]
    assert state_of(ledger) == [(1, "running")]


def test_of_many_that_follow_a_lost_attempt_exactly_one_wins(ledger, claimants):
    (first,) = claimants(1)
    assert first.stdout.readline() == "holds 1\n"
    first.kill()
    first.wait()
    said = [process.stdout.readline().split() for process in claimants(6, gate="second")]

    assert sorted(words[0] for words in said) == ["busy"] * 5 + ["holds"]
    assert state_of(ledger) == [(2, "running")]


def test_many_processes_may_make_the_table_at_once(uri, claimants):
    said = [process.stdout.readline().split() for process in claimants(6)]  # no ledger was opened before

    assert sorted(words[0] for words in said) == ["busy"] * 5 + ["holds"]


def test_a_killed_holder_is_followed_at_once_on_its_own_host(ledger, claimants):
    (holder,) = claimants(1)
    assert holder.stdout.readline() == "holds 1\n"
    holder.kill()
    holder.wait()
    begin = time.monotonic()
    with claim(ledger, stale_s=3600) as second:
        assert second.number == 2
        assert time.monotonic() - begin < 2


def test_what_has_no_process_here_any_more_is_settled_and_what_lives_elsewhere_is_left(ledger, claimants, monkeypatch):
    (holder,) = claimants(1)
    assert holder.stdout.readline() == "holds 1\n"
    monkeypatch.setattr(module, "identity", lambda: ELSEWHERE)
    with claim(ledger, "elsewhere"):
        assert ledger.settle() == []
        holder.kill()
        holder.wait()
        assert [attempt.key for attempt in ledger.settle()] == ["unit"]
        assert ledger.settle() == []
    assert state_of(ledger) == [(1, "lost")]


def test_a_holder_on_another_host_is_followed_after_silence_alone(ledger, monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(module, "identity", lambda: ELSEWHERE)
        first = claim(ledger)
    age(ledger, 50)
    with pytest.raises(BusyError, match="another-host:1:1000 does, and gave its last sign 50 s ago"):
        claim(ledger, stale_s=60)
    assert ledger.silent_s(["unit"]) == pytest.approx(50, abs=5)
    with claim(ledger, stale_s=40) as second:
        assert second.number == 2
        with pytest.raises(FencedError, match="Attempt 1 at unit must stop and write nothing more; attempt 2 took"):
            first.require_current()
        with pytest.raises(FencedError):
            first.finish()
        second.require_current()
        second.finish()
    assert ledger.finished(["unit"]) == {"unit"}
    assert state_of(ledger) == [(2, "finished")]


def test_a_holder_that_gives_signs_is_never_silent(ledger, claimants):
    (holder,) = claimants(1, beat_s=0.1)
    assert holder.stdout.readline() == "holds 1\n"
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        with pytest.raises(BusyError):
            claim(ledger, stale_s=0.8)
        time.sleep(0.1)


def test_an_attempt_that_slept_is_fenced_when_it_wakes_up(ledger, claimants):
    (holder,) = claimants(1, beat_s=0.1)
    assert holder.stdout.readline() == "holds 1\n"
    holder.stdin.write("still yours?\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "current\n"
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.6)
    with claim(ledger, stale_s=0.5) as second:
        os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.write("still yours?\n")
        holder.stdin.flush()
        assert holder.stdout.readline().startswith("fenced Attempt 1 at unit must stop")
        second.require_current()
    assert state_of(ledger) == [(2, "failed")]


def test_an_end_that_is_told_while_a_newer_attempt_begins_is_not_noted(uri, ledger):
    first = claim(ledger)
    age(ledger, 100)
    inserted, told = threading.Event(), []

    def follow_slowly(*words):
        done = Ledger._follow(ledger, *words)
        inserted.set()
        time.sleep(0.3)  # nothing is committed yet
        return done

    teller = threading.Thread(
        target=lambda: inserted.wait() and told.append(ledger.end("unit", first.number, "finished"))
    )
    teller.start()
    ledger._follow = follow_slowly
    claim(ledger, stale_s=50)
    teller.join()
    assert told == [False]
    assert ledger.finished(["unit"]) == set()


def test_a_beat_does_not_wake_up_what_was_lost(ledger):
    first = claim(ledger)
    age(ledger, 100)
    with claim(ledger, stale_s=50):
        before = ledger.newest(["unit"])[0]
        assert ledger.beat("unit", first.number) == 2
        assert ledger.newest(["unit"])[0].silent_s >= before.silent_s


def test_a_clock_of_another_host_has_no_say(ledger, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with claim(ledger):
        assert ledger.silent_s(["unit"]) < 5


def test_the_newest_attempts_come_first_and_may_be_asked_for_by_key(ledger):
    for key in ("one", "two"):
        with claim(ledger, key) as attempt:
            attempt.finish()
    age(ledger, 10)
    with claim(ledger, "one"):
        assert [(attempt.key, attempt.number) for attempt in ledger.newest()] == [("one", 2), ("two", 1)]
        assert ledger.newest([]) == []
        assert ledger.newest(["two"])[0].silent_s == pytest.approx(10, abs=5)


def test_the_ledger_of_a_repository_is_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERSKIN_DATABASE", raising=False)
    with claim(Ledger.of(tmp_path)) as first:
        first.finish()
    assert (tmp_path / "mlruns" / "ledger.db").is_file()


def test_an_address_without_a_driver_is_refused_and_shows_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERSKIN_DATABASE", f"postgresql://me:{PASSWORD}@somewhere/ledger")
    with pytest.raises(ServiceError) as refused:
        Ledger.of(tmp_path)
    assert str(refused.value) == (
        "`HYPERSKIN_DATABASE` must name its driver, postgresql+psycopg://USER@HOST:PORT/DATABASE; "
        "got postgresql://me@somewhere/ledger: write postgresql+psycopg in place of postgresql."
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("somewhere", "must be an address such as postgresql\\+psycopg://USER@HOST:PORT/DATABASE"),
        ("mysql://me@somewhere/ledger", "must be sqlite:/// or postgresql\\+psycopg://; got mysql://me@somewhere"),
    ],
)
def test_what_is_no_database_of_ours_is_refused(address, message):
    with pytest.raises(ServiceError, match=message):
        Ledger(address)


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ServiceError, match=r"must be installed; it is not .*: pip install 'hyperskin\[cluster\]'\.$"):
        Ledger("postgresql+psycopg://me@somewhere/ledger")


def test_a_database_that_is_away_is_waited_for_and_then_refused_without_its_password(postgres_server, monkeypatch):
    monkeypatch.setattr("hyperskin.database.PATIENCE_S", 1.0)
    ledger = Ledger(postgres_server.new_database())
    postgres_server.stop()
    with pytest.raises(ServiceError, match=r"^The ledger of trainings must answer at .*//hyperskin@127") as refused:
        ledger.finished(["unit"])
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_outage_in_the_middle_stops_no_training(postgres_server, monkeypatch, caplog):
    monkeypatch.setattr(module, "BEAT_S", 0.1)
    ledger = Ledger(postgres_server.new_database())
    with caplog.at_level(logging.WARNING), claim(ledger) as held:
        postgres_server.stop()
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            held.require_current()
        postgres_server.start()
        while "The ledger of trainings answers again." not in caplog.messages:
            held.require_current()
            time.sleep(0.02)
            assert time.monotonic() < deadline + 20
        held.finish()
    assert ledger.finished(["unit"]) == {"unit"}
    warned = [message for message in caplog.messages if message.endswith("Training goes on.")]
    assert len(warned) == 1
    assert PASSWORD not in caplog.text


def test_an_attempt_taken_over_in_an_outage_knows_it_afterwards(postgres_server, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.1)
    ledger = Ledger(postgres_server.new_database())
    with contextlib.suppress(FencedError), claim(ledger) as held:
        postgres_server.stop()
        held.require_current()
        postgres_server.start()
        monkeypatch.setattr(module, "_lives", lambda attempt, stale_s: False)
        claim(ledger)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            held.require_current()
            time.sleep(0.02)
        pytest.fail("it did not notice")
    assert state_of(ledger) == [(2, "running")]


def test_the_end_of_an_attempt_that_nobody_takes_is_a_warning(postgres_server, monkeypatch, caplog):
    monkeypatch.setattr("hyperskin.database.PATIENCE_S", 0.5)
    ledger = Ledger(postgres_server.new_database())
    with caplog.at_level(logging.WARNING), claim(ledger) as held:
        postgres_server.stop()
        held.finish()
    assert caplog.messages[-1].endswith("That attempt 1 is finished stays unsaid.")


def test_what_a_unit_is_survives_the_way_through_the_database(ledger):
    about = {"model": "basal", "note": "ä \"quoted\" 'text'\n\\"}
    with ledger.claim("unit", about=about, stale_s=60) as attempt:
        attempt.finish()
    assert ledger.newest(["unit"])[0].about == about
