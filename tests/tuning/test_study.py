"""One search in this process: order, totals, stops, retries, pruning; and what can be told of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import TrialState
from toy_search import DEFAULT, SPACE, open_search

from hyperskin.errors import DataError, ServiceError, UnknownNameError
from hyperskin.tuning.storage import retry
from hyperskin.tuning.study import Search, make_pruner
from hyperskin.tuning.trial import Trial


def run(search: Search, total: int, objective: Callable[[Trial], float], pruner: str = "none") -> list[int]:
    """Make trials and return which were told."""
    told: list[int] = []
    search.choose(pruner=pruner, total=total, seed=1, worker=0)
    search.run(total, objective, should_stop=lambda: False, on_told=lambda trial: told.append(trial.number))
    return told


def distance(trial: Trial) -> float:
    return abs(trial.recipe["learning_rate"] - 2e-3)


def test_the_recipe_as_it_is_comes_first_and_the_best_is_never_worse(search):
    assert run(search, 5, distance) == [0, 1, 2, 3, 4]
    first = search.trials()[0]
    assert (first.recipe, first.is_default, first.value) == (DEFAULT, True, 1e-3)
    assert search.default() == first
    assert search.best().value == min(trial.value for trial in search.trials()) <= first.value


def test_a_search_goes_on_where_it_was(search, tmp_path):
    run(search, 3, distance)
    again = open_search(tmp_path)
    assert run(again, 5, distance) == [3, 4]
    assert run(again, 5, distance) == []
    assert again.is_whole(5)
    assert not again.is_whole(6)


def test_a_worker_that_starts_again_repeats_nobodys_choice(search, tmp_path):
    for total in (2, 3, 4):
        run(open_search(tmp_path), total, distance)
    rates = [trial.recipe["learning_rate"] for trial in search.trials()]
    assert len(set(rates)) == 4


def test_another_recipe_as_it_is_is_tried_too(search, tmp_path):
    run(search, 2, distance)
    other = Search.open(tmp_path, "toy", space=SPACE, default=DEFAULT | {"batch_size": 4})
    assert other.default() is None
    assert run(other, 3, distance) == [2]
    assert other.default().recipe["batch_size"] == 4


def test_equal_names_are_one_search_and_others_are_not(search, tmp_path):
    run(search, 2, distance)
    assert open_search(tmp_path).counts().finished == 2
    assert open_search(tmp_path, "other").counts().finished == 0


def test_what_is_stopped_waits_and_is_gone_on_with(search):
    tried: list[Trial] = []

    def stop(trial: Trial) -> float:
        tried.append(trial)
        raise KeyboardInterrupt

    for _ in range(4):  # more often than a trial is tried again when workers die
        with pytest.raises(KeyboardInterrupt):
            run(search, 2, stop)
    assert {(trial.number, trial.recipe["learning_rate"]) for trial in tried} == {(0, 1e-3)}
    assert search.counts().waiting == 1
    assert run(search, 2, distance)[0] == 0
    assert search.trials()[0].attempts == 5
    assert search.counts().failed == 0


def test_a_worker_that_is_asked_to_end_begins_nothing(search):
    search.choose(pruner="none", total=2, seed=1, worker=0)
    asked = iter([True, True])
    with pytest.raises(KeyboardInterrupt):
        search.run(2, distance, should_stop=lambda: next(asked), on_told=lambda trial: None)
    assert search.counts().finished == 1


def test_what_fails_is_tried_twice_more_and_then_counts_as_failed(search):
    def fail(trial: Trial) -> float:
        raise DataError(f"trial {trial.number}")

    for _ in range(3):
        with pytest.raises(DataError, match="trial 0"):
            run(search, 2, fail)
    with pytest.raises(DataError, match="trial 3"):
        run(search, 2, fail)
    assert [(trial.state, trial.attempts) for trial in search.trials()] == [("failed", 3), ("waiting", 1)]


def test_a_worker_whose_trial_was_given_to_another_ends_in_one_sentence(search):
    def lose(trial: Trial) -> float:
        study = search._study
        study.tell(trial.number, state=TrialState.FAIL)
        retry(study, study.get_trials()[trial.number])
        trial.report(0.1, 0.5)
        return 0.1

    with pytest.raises(ServiceError, match="another took its trial: start again"):
        run(search, 2, lose)
    assert [(trial.state, trial.attempts) for trial in search.trials()] == [("waiting", 1)]
    assert run(search, 1, distance) == [0]


def test_a_recipe_that_diverges_counts_as_pruned_and_says_why(search):
    def diverge(trial: Trial) -> float:
        trial.report(0.5, 0.3)
        raise trial.give_up("the loss became nan")

    assert run(search, 2, diverge) == [0, 1]
    assert {(trial.state, trial.reason) for trial in search.trials()} == {("pruned", "the loss became nan")}
    assert search.best() is None


def test_what_is_worse_than_half_of_the_others_ends_early(search):
    ends: list[float] = []

    def objective(trial: Trial) -> float:
        value = 0.1 if trial.number < 4 else 0.5
        for tenth in range(1, 11):
            trial.report(value, tenth / 10)
        ends.append(value)
        return value

    run(search, 6, objective, pruner="median")
    assert ends == [0.1] * 4
    assert search.counts().pruned == 2
    assert search.trials()[-1].value == 0.5


def test_the_recipe_as_it_is_never_ends_early(search, tmp_path):
    def objective(trial: Trial) -> float:
        value = 9.0 if trial.is_default else 0.1
        for tenth in range(1, 11):
            trial.report(value, tenth / 10)
        return value

    run(search, 4, objective)
    other = Search.open(tmp_path, "toy", space=SPACE, default=DEFAULT | {"batch_size": 4})
    run(other, 5, objective, pruner="median")
    assert other.default().value == 9.0


def test_recipes_with_long_and_with_short_epochs_are_compared_at_the_same_share_of_their_budget(search):
    def objective(trial: Trial) -> float:
        if trial.number < 4:  # five epochs
            for epoch in range(1, 6):
                trial.report(1.0 / epoch, epoch / 5)
            return 0.2
        trial.report(0.6, 0.35)  # the others had 1.0 by then, and 0.5 a little later
        trial.report(0.55, 0.52)
        return 0.55

    run(search, 5, objective, pruner="median")
    last = search._study.get_trials()[-1]
    assert last.intermediate_values == {3: 0.6, 4: 0.6, 5: 0.55}
    assert last.state.name == "PRUNED"
    first = search._study.get_trials()[0]
    assert [first.intermediate_values[step] for step in (2, 3, 4, 5)] == [1.0, 1.0, 0.5, 0.5]


def test_importances_need_some_complete_trials(search):
    run(search, 5, distance)
    assert search.importances() == {}
    run(search, 12, distance)
    importances = search.importances()
    assert set(importances) == set(DEFAULT)
    assert sum(importances.values()) == pytest.approx(1)
    assert max(importances, key=importances.get) == "learning_rate"


def test_a_search_is_concluded_until_more_trials_are_asked_for(search, tmp_path):
    run(search, 2, distance)
    assert not search.is_concluded(2)
    assert not search.was_concluded()
    search.conclude()
    again = open_search(tmp_path)
    assert again.is_concluded(2)
    assert not again.is_concluded(3)
    run(again, 3, distance)
    assert not again.is_concluded(3)
    assert again.was_concluded()


def test_only_a_better_recipe_beats_the_one_as_it_is(search, tmp_path):
    assert not search.is_beaten()
    run(search, 3, lambda trial: 0.1)
    assert not search.is_beaten()
    run(search, 4, lambda trial: 0.09)
    assert search.is_beaten()
    other = Search.open(tmp_path, "toy", space=SPACE, default=search.best().recipe)
    assert not other.is_beaten()


def test_a_recipe_as_it_is_that_diverges_is_beaten_by_any_other(search):
    def objective(trial: Trial) -> float:
        if trial.is_default:
            raise trial.give_up("the loss became nan")
        return 0.1

    run(search, 2, objective)
    assert search.is_beaten()


@pytest.mark.parametrize(
    ("name", "kind"), [("median", MedianPruner), ("hyperband", HyperbandPruner), ("none", NopPruner)]
)
def test_params_name_the_pruner(name, kind):
    assert isinstance(make_pruner(name), kind)


def test_hyperband_ends_some_early_and_others_not(search):
    def objective(trial: Trial) -> float:
        for tenth in range(1, 11):
            trial.report(distance(trial) + 1 / tenth, tenth / 10)
        return distance(trial)

    run(search, 20, objective, pruner="hyperband")
    counts = search.counts()
    assert counts.finished == 20
    assert counts.pruned > 0
    assert counts.complete > 0


def test_an_unknown_pruner_lists_the_known():
    with pytest.raises(UnknownNameError, match=r"median, hyperband, none; got 'wilcoxon'"):
        make_pruner("wilcoxon")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("postgresql://me:secret@host/searches", r"must name its driver, postgresql\+psycopg://"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", r"^The database of searches must answer at .*@127.0.0.1:1/x"),
    ],
)
def test_a_database_that_is_not_there_is_one_sentence_without_its_password(tmp_path: Path, monkeypatch, uri, message):
    monkeypatch.setenv("HYPERSKIN_DATABASE", uri)
    monkeypatch.setattr("hyperskin.database.PATIENCE_S", 0.0)
    with pytest.raises(ServiceError, match=message) as caught:
        open_search(tmp_path)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
