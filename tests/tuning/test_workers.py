"""Several workers of one search, some of them killed: the total is kept, and nothing that was told is lost."""

import pytest
from toy_search import open_search

ON_POSTGRESQL = pytest.mark.parametrize("workers", ["postgresql"], indirect=True)


def test_two_of_three_are_killed_and_the_third_finishes_at_once(workers):
    workers.start(12, seconds=0.3, count=3)
    begun = [workers.kill_while_trying(number, after=1) for number in (0, 1)]
    workers.wait(2)

    trials = {trial.number: trial for trial in open_search(workers.root).trials()}
    complete = [number for number, trial in trials.items() if trial.state == "complete"]
    assert len(complete) == len(trials) == 12
    assert set(workers.noted("told")) <= set(complete)
    for number in begun:  # which may be the same one twice: the second took it up from the first
        assert trials[number].attempts == 1 + begun.count(number)


def test_a_killed_trial_is_tried_again_with_the_same_recipe(workers):
    workers.start(4, seconds=0.3)
    number = workers.kill_while_trying(0, after=1)
    recipe = workers.notes(0)[-1]
    workers.start(4, seconds=0.1)
    workers.wait(1)
    assert recipe in workers.notes(1)
    assert number in workers.noted("told")


def test_a_killed_worker_of_another_machine_is_missed_after_its_grace(workers):
    workers.start(4, seconds=0.3, ELSEWHERE="1")
    number = workers.kill_while_trying(0, after=1)
    workers.start(4, seconds=0.1)
    workers.wait(1)
    trials = {trial.number: trial for trial in open_search(workers.root).trials()}
    assert len(trials) == 4
    assert trials[number].attempts == 2
    assert trials[number].state == "complete"


def test_workers_that_begin_together_on_no_database_make_one_search(workers):
    workers.start(8, seconds=0.05, count=4)
    for number in range(4):
        workers.wait(number)
    assert sorted(workers.noted("told")) == list(range(8))


@pytest.mark.slow
@ON_POSTGRESQL
def test_a_worker_ends_in_one_sentence_when_the_database_is_lost_and_the_next_one_goes_on(workers, postgres_server):
    workers.start(3, seconds=1)
    workers.wait_until_trying(0, after=1)
    postgres_server.stop()
    assert workers.processes[0].wait(60) == 1
    assert workers.said(0) == "ServiceError"

    postgres_server.start()
    workers.start(3, seconds=0.1)
    workers.wait(1)
    trials = open_search(workers.root).trials()
    assert [trial.state for trial in trials] == ["complete"] * 3
    assert max(trial.attempts for trial in trials) == 2


@pytest.mark.slow
@ON_POSTGRESQL
def test_a_short_loss_of_the_database_costs_a_trial_nothing(workers, postgres_server):
    workers.start(2, seconds=3)
    workers.wait_until_trying(0)
    postgres_server.stop()
    postgres_server.start()
    workers.wait(0)
    assert [trial.attempts for trial in open_search(workers.root).trials()] == [1, 1]
