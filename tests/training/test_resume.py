"""A training that was stopped, interrupted or killed goes on and ends bit for bit as one that was not."""

import itertools
import json
import logging
import math
import os
import pickle
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hyperskin.data.frames import PairFiles, read_frame
from hyperskin.data.patches import draw_crops
from hyperskin.errors import VersionError
from hyperskin.pairs import find_pair
from hyperskin.training import loop
from hyperskin.training.checkpoint import load_checkpoint, previous_path
from hyperskin.training.device import DTYPES
from hyperskin.training.recipe import DivergedError, Epoch, Recipe, Trained
from tests.training.job import RECIPE, Job, KillError, assert_equal, make_network, slow_network, weights_of

Fresh = Callable[[], Job]
SHORT = replace(RECIPE, epochs=3, steps_per_epoch=3)
ASKED = 3 * (1 + 3 + 2)  # in an epoch of SHORT: before it, after each step, before each validated frame


class Asked:
    """Says yes when it is asked for the `at`-th time."""

    def __init__(self, at: int) -> None:
        self.count = 0
        self._at = at

    def __call__(self) -> bool:
        self.count += 1
        return self.count == self._at


def ticking_network(clock: list[float], seed: int = 0) -> nn.Module:
    """Return a network that draws random numbers and takes a second for each step."""
    network = make_network(seed)
    network[0].register_forward_pre_hook(lambda module, _: clock.__setitem__(0, clock[0] + module.training))
    return network


def run_asked(job: Job, should_stop: Callable[[], bool], recipe: Recipe = SHORT, **changes: Any) -> Trained:
    arguments: dict[str, Any] = {"validate": lambda network: job.validate(network, should_stop), **changes}
    return job.run(recipe, should_stop=should_stop, **arguments)


def assert_same_end(one: Trained, other: Trained, jobs: tuple[Job, Job]) -> None:
    """Compare everything, also what is kept for going on, and the clock's numbers."""
    assert_equal(weights_of(one.network), weights_of(other.network))
    assert replace(one, network=None) == replace(other, network=None)  # type: ignore[arg-type]
    kept, kept_too = (load_checkpoint(job.checkpoint, unit_key="unit") for job in jobs)
    assert kept is not None
    assert kept_too is not None
    assert_equal(kept.network, kept_too.network)
    for index, moments in kept.optimiser["state"].items():
        assert_equal(moments, kept_too.optimiser["state"][index])
    assert torch.equal(kept.random["torch"], kept_too.random["torch"])
    assert kept.under_way == kept_too.under_way == {}


# Wherever it is stopped


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("at", range(1, ASKED + 1))
def test_stopped_at_any_moment_it_ends_as_the_whole(
    fresh: Fresh, clock: list[float], at: int, channels_last: bool
) -> None:
    recipe = replace(SHORT, channels_last=channels_last)
    whole, job = fresh(), fresh()
    undisturbed = whole.run(recipe, ticking_network(clock))
    with pytest.raises(KeyboardInterrupt):
        run_asked(job, Asked(at), recipe, network=ticking_network(clock))
    torch.rand(17)  # other work draws from the global generator meanwhile
    clock[0] += 500
    seed = 99 if job.checkpoint.exists() else 0  # before the first epoch there is nothing to go on from
    resumed = run_asked(job, Asked(0), recipe, network=ticking_network(clock, seed))
    assert_same_end(resumed, undisturbed, (job, whole))


def test_all_moments_are_tried(job: Job) -> None:
    asked = Asked(0)
    run_asked(job, asked)
    assert asked.count == ASKED


@pytest.mark.parametrize("every", [2, 3, 4, 5])
def test_stopped_again_and_again_it_ends_as_the_whole(fresh: Fresh, clock: list[float], every: int) -> None:
    whole, job = fresh(), fresh()
    undisturbed = whole.run(SHORT, ticking_network(clock))
    for attempt in itertools.count():
        try:
            # not asked while validating, or one would never come further
            resumed = job.run(SHORT, ticking_network(clock, seed=attempt), should_stop=Asked(every))
        except KeyboardInterrupt:
            continue
        break
    assert attempt >= 12 // every - 1
    assert_same_end(resumed, undisturbed, (job, whole))


@pytest.fixture
def seen_by_three(tmp_path: Path, write_capture: Callable[..., PairFiles]) -> Callable[[], Job]:
    """Return a function that gives a job on captures that three cameras saw, two of them the same."""
    names, cameras = ("p001_neutral_front", "p002_smile_left"), {"cie": 0, "twin": 0, "other": 1}
    files = [write_capture(name, seed=seed, cameras=cameras) for seed, name in enumerate(names)]
    numbers = itertools.count()
    return lambda: Job(tmp_path / f"run{next(numbers)}", files)


@pytest.mark.parametrize("at", [3, 5, 9])
def test_on_several_cameras_it_goes_on_with_the_crops_of_the_same_ones(
    seen_by_three: Fresh, clock: list[float], at: int
) -> None:
    cameras = ["cie", "twin", "other"]
    whole, job = seen_by_three(), seen_by_three()
    undisturbed = whole.run(SHORT, ticking_network(clock), cameras=cameras)
    with pytest.raises(KeyboardInterrupt):
        run_asked(job, Asked(at), network=ticking_network(clock), cameras=cameras)
    resumed = run_asked(job, Asked(0), network=ticking_network(clock, seed=99), cameras=cameras)
    assert_same_end(resumed, undisturbed, (job, whole))


def test_cameras_that_see_the_same_train_as_one_and_another_does_not(seen_by_three: Fresh, clock: list[float]) -> None:
    one, twins, other = (
        seen_by_three().run(SHORT, ticking_network(clock), cameras=cameras)
        for cameras in (["cie"], ["cie", "twin"], ["cie", "other"])
    )
    assert_equal(weights_of(twins.network), weights_of(one.network))
    name, weights = next(iter(weights_of(one.network).items()))
    assert not torch.equal(weights, weights_of(other.network)[name])


def _reference_weights(job: Job, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Train the plain way: every crop cut from its frame by hand, every step written out."""
    pair = find_pair("rgb_vis")
    frames = [read_frame(file, pair, camera="cie") for file in job.files]
    network = _undrawing_network()
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    count = recipe.steps_per_epoch * recipe.batch_size
    assert recipe.epochs is not None
    for epoch, step in itertools.product(range(recipe.epochs), range(recipe.steps_per_epoch)):
        crops = draw_crops(
            [frame.input.shape[:2] for frame in frames],
            count,
            crop_px=recipe.crop_px,
            augment=True,
            seed=recipe.seed,
            epoch=epoch + 1,
        )
        inputs, references = [], []
        for crop in crops[step * recipe.batch_size : (step + 1) * recipe.batch_size]:
            for cube, patches in ((frames[crop.capture].input, inputs), (frames[crop.capture].reference, references)):
                patch = cube[crop.top : crop.top + recipe.crop_px, crop.left : crop.left + recipe.crop_px]
                turned = np.rot90(patch[:, ::-1] if crop.flip else patch, crop.quarter_turns)
                patches.append(torch.from_numpy(turned.copy()).permute(2, 0, 1))
        share = (epoch * recipe.steps_per_epoch + step) / (recipe.epochs * recipe.steps_per_epoch)
        fall = recipe.learning_rate - recipe.final_learning_rate
        optimiser.param_groups[0]["lr"] = recipe.final_learning_rate + fall * (1 + math.cos(math.pi * share)) / 2
        loss = (network(torch.stack(inputs)) - torch.stack(references)).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weights_of(network)


def _undrawing_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 31, 1))


@pytest.mark.parametrize("at", [3, 9, 11, 17])
def test_stopped_it_ends_where_a_training_written_out_by_hand_does(job: Job, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_asked(job, Asked(at), network=_undrawing_network())
    job.run(SHORT, nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 31, 1)))
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    for name, weights in _reference_weights(job, SHORT).items():
        torch.testing.assert_close(kept.network[name], weights, rtol=1e-4, atol=1e-5)  # means are summed another way


def test_a_stop_is_saved_at_the_step_where_it_was_asked_for(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hyperskin.training"), pytest.raises(KeyboardInterrupt):
        run_asked(job, Asked(9))  # the second step of the second epoch
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert (kept.epoch, kept.step, kept.under_way["steps"]) == (1, 5, 2)
    assert caplog.messages[-1] == f"asked to stop after 2 steps of epoch 2; saved in {job.checkpoint}"
    before = load_checkpoint(previous_path(job.checkpoint), unit_key="unit")
    assert before is not None
    assert (before.epoch, before.step, before.under_way) == (1, 3, {})


def test_who_goes_on_sees_only_the_steps_that_are_left(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_asked(job, Asked(9))
    lengths = []

    def progress(steps: range, **_: object) -> range:
        lengths.append(len(steps))
        return steps

    job.run(SHORT, progress=progress)
    assert lengths == [1, 3]


def test_a_finished_training_asks_nobody(job: Job) -> None:
    job.run(SHORT)
    job.run(SHORT, should_stop=lambda: True)


def test_an_interrupted_validation_begins_anew_with_the_same_random_numbers(fresh: Fresh) -> None:
    def drawing(job: Job, should_stop: Callable[[], bool]) -> Callable[[nn.Module], dict[str, float]]:
        def validate(network: nn.Module) -> dict[str, float]:
            noise = float(torch.rand(()) + random.random())
            return {"val_sam/masked": job.validate(network, should_stop)["val_sam/masked"] + noise}

        return validate

    whole, job = fresh(), fresh()
    random.seed(1)
    undisturbed = whole.run(SHORT, validate=drawing(whole, lambda: False))
    random.seed(1)
    should_stop = Asked(12)  # the second frame of the second validation
    with pytest.raises(KeyboardInterrupt):
        job.run(SHORT, should_stop=should_stop, validate=drawing(job, should_stop))
    random.seed(2)
    resumed = job.run(SHORT, validate=drawing(job, lambda: False))
    assert [epoch.metrics for epoch in resumed.history] == [epoch.metrics for epoch in undisturbed.history]
    assert_equal(weights_of(resumed.network), weights_of(undisturbed.network))


def test_an_interrupted_validation_hands_on_what_interrupted_it(job: Job) -> None:
    def validate(_: nn.Module) -> dict[str, float]:
        raise KeyboardInterrupt(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt) as caught:
        job.run(SHORT, validate=validate)
    assert caught.value.args == (signal.SIGTERM,)
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert kept.under_way["steps"] == SHORT.steps_per_epoch


def test_validating_draws_no_random_numbers(job: Job) -> None:
    states = []

    def validate(network: nn.Module) -> dict[str, float]:
        states.append(torch.get_rng_state())
        scores = job.validate(network)
        assert torch.equal(states[-1], torch.get_rng_state())
        return scores

    job.run(SHORT, validate=validate)
    assert len(states) == 3


def test_an_interruption_within_a_step_is_not_saved(fresh: Fresh) -> None:
    """Nobody knows how far the step was; the training goes on after the epoch before it."""
    whole, job = fresh().run(SHORT), fresh()

    class Interrupted(nn.ReLU):
        count = 0

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            self.count += self.training
            if self.count == 5:
                raise KeyboardInterrupt
            return super().forward(batch)

    network = make_network()
    network[1] = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        job.run(SHORT, network)
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert (kept.epoch, kept.under_way) == (1, {})
    assert_equal(weights_of(job.run(SHORT).network), weights_of(whole.network))


@pytest.mark.parametrize("at", [2, 4, 9, 10])
def test_skipped_steps_of_half_precision_are_counted_over_all_attempts(
    fresh: Fresh, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "survives_on_cpu", lambda precision: True)
    monkeypatch.setitem(DTYPES, "fp16", torch.float32)

    class Overflowing(nn.Conv2d):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            estimate = super().forward(batch)
            if self.training:
                size = estimate.numel()
                estimate.register_hook(lambda grad: grad * math.inf if grad.abs().max() * size > 2.0**14 else grad)
            return estimate

    def network() -> nn.Module:
        torch.manual_seed(0)
        return Overflowing(3, 31, 1)

    recipe = replace(SHORT, precision="fp16")
    whole, job = fresh().run(recipe, network()), fresh()
    with pytest.raises(KeyboardInterrupt):
        run_asked(job, Asked(at), recipe, network=network())
    resumed = job.run(recipe, network())
    assert resumed.skipped_count == whole.skipped_count == 2
    assert [epoch.metrics for epoch in resumed.history] == [epoch.metrics for epoch in whole.history]
    assert resumed.history[-1].metrics["train/skipped_count"] == 2
    assert_equal(weights_of(resumed.network), weights_of(whole.network))


# Time


def test_time_spent_before_an_interruption_counts(job: Job, clock: list[float]) -> None:
    recipe = replace(RECIPE, epochs=None, seconds=12.0)
    with pytest.raises(KeyboardInterrupt):
        job.run(recipe, slow_network(clock, 1.0), should_stop=Asked(9))  # after seven steps
    clock[0] += 500  # while nothing runs
    resumed = job.run(recipe, slow_network(clock, 1.0))
    assert resumed.elapsed_s == pytest.approx(12.0)
    assert [epoch.seconds for epoch in resumed.history] == pytest.approx([5.0, 5.0, 2.0])
    assert resumed.stopped == "seconds"


def test_an_epoch_that_time_cut_short_is_not_trained_on_after_an_interrupted_validation(
    job: Job, clock: list[float]
) -> None:
    recipe = replace(RECIPE, epochs=None, seconds=7.5)
    should_stop = Asked(14)  # the last frame of the second epoch, which has three steps
    with pytest.raises(KeyboardInterrupt):
        run_asked(job, should_stop, recipe, network=slow_network(clock, 1.0))
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert (kept.step, kept.under_way["steps"]) == (8, 3)
    resumed = job.run(recipe, slow_network(clock, 1.0))
    assert resumed.elapsed_s == pytest.approx(8.0)
    assert [epoch.seconds for epoch in resumed.history] == pytest.approx([5.0, 3.0])
    assert [(epoch.steps, round(epoch.steps_s, 6)) for epoch in resumed.history] == [(5, 5.0), (8, 8.0)]
    assert all("val_sam/masked" in epoch.metrics for epoch in resumed.history)


def test_a_repeated_validation_counts_as_time_and_not_as_training(job: Job, clock: list[float]) -> None:
    def validate(network: nn.Module, *, is_interrupted: bool = False) -> dict[str, float]:
        clock[0] += 100
        if is_interrupted:
            raise KeyboardInterrupt
        return job.validate(network)

    recipe = replace(RECIPE, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        job.run(recipe, slow_network(clock, 2.0), validate=lambda network: validate(network, is_interrupted=True))
    (epoch,) = job.run(recipe, slow_network(clock, 2.0), validate=validate).history
    assert epoch.seconds == pytest.approx(210)
    assert epoch.crops_per_second == pytest.approx(1.0)  # 10 crops in 10 s
    assert epoch.steps_s == pytest.approx(10.0)


# Who listens


def test_an_epoch_is_saved_before_it_is_told(job: Job) -> None:
    def listen(epoch: Epoch) -> None:
        kept = load_checkpoint(job.checkpoint, unit_key="unit")
        assert kept is not None
        assert kept.history[-1]["number"] == epoch.number
        job.epochs.append(epoch)

    job.run(SHORT, on_epoch=listen)
    assert [epoch.number for epoch in job.epochs] == [1, 2, 3]


@pytest.mark.parametrize("deaf", [1, 2, 3])
def test_an_epoch_that_nobody_heard_is_told_again(fresh: Fresh, deaf: int) -> None:
    whole, job = fresh().run(SHORT), fresh()

    def listen(epoch: Epoch) -> None:
        if epoch.number == deaf:
            raise KillError
        job.epochs.append(epoch)

    with pytest.raises(KillError):
        job.run(SHORT, on_epoch=listen)
    resumed = job.run(SHORT, make_network(seed=99))
    assert [epoch.number for epoch in job.epochs] == [*range(1, deaf), 1, 2, 3]
    assert tuple(job.epochs[deaf - 1 :]) == resumed.history
    assert job.epochs[: deaf - 1] == job.epochs[deaf - 1 :][: deaf - 1]
    assert [epoch.metrics for epoch in resumed.history] == [epoch.metrics for epoch in whole.history]
    assert_equal(weights_of(resumed.network), weights_of(whole.network))


def test_a_finished_training_is_told_and_not_trained_again(job: Job) -> None:
    first = job.run()
    validated = len(job.validated)
    again = job.run(network=make_network(seed=99))
    assert tuple(job.epochs) == first.history * 2
    assert len(job.validated) == validated
    assert_equal(weights_of(again.network), weights_of(first.network))
    assert again.history == first.history


# What it was made with

FACTS = {"model": "hrnet", "learning_rate": "0.001", "code": "0123456789" + "a" * 54, "camera": "cie"}


def test_another_units_checkpoint_is_refused_and_left_alone(job: Job) -> None:
    job.run()
    before = job.checkpoint.read_bytes()
    with pytest.raises(VersionError, match=r"must belong to the unit 'other'; it belongs to 'unit'"):
        job.run(unit_key="other")
    assert job.checkpoint.read_bytes() == before


def test_what_changed_since_is_named_with_both_values(job: Job) -> None:
    job.run(made_with=FACTS)
    before = job.checkpoint.read_bytes()
    now = {**FACTS, "learning_rate": "0.002", "code": "9876543210" + "a" * 54, "loss": "l1"}
    del now["camera"]
    told = (
        r"made with learning_rate 0\.001 \(now 0\.002\), code 0123456789 \(now 9876543210\), "
        r"camera cie \(now nothing\), loss nothing \(now l1\): go back"
    )
    with pytest.raises(VersionError, match=told):
        job.run(unit_key="other", made_with=now)
    assert job.checkpoint.read_bytes() == before
    assert job.run(made_with=dict(reversed(FACTS.items()))).history  # the order says nothing


# Divergence


class Spoiling(nn.Conv2d):
    """Its gradients, or its estimates, are no numbers in pass number `at` of training."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(3, 31, 1)
        self.passes = 0
        self.at = at
        self.what = what

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        estimate = super().forward(batch)
        if not self.training or self.passes != self.at:
            return estimate
        if self.what == "loss":
            return estimate * math.nan
        estimate.register_hook(lambda gradient: gradient * math.nan)
        return estimate


@pytest.mark.parametrize(("what", "message"), [("loss", "The loss must stay finite"), ("weights", "Weights must stay")])
def test_what_diverged_is_not_saved_by_a_stop(job: Job, what: str, message: str) -> None:
    with pytest.raises(DivergedError, match=message):
        job.run(SHORT, Spoiling(5, what), should_stop=Asked(7))  # after the fifth step
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert (kept.epoch, kept.under_way) == (1, {})


def test_an_exploded_epoch_is_not_saved_by_an_interrupted_validation(job: Job) -> None:
    class Exploding(Spoiling):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            self.passes += self.training
            return nn.Conv2d.forward(self, batch) * (1e6 if self.training and self.passes > 3 else 1.0)

    def validate(network: nn.Module) -> dict[str, float]:
        if len(job.epochs) == 3:
            raise KeyboardInterrupt
        return job.validate(network)

    with pytest.raises(DivergedError, match="it did for 3 epochs up to 4"):
        job.run(replace(SHORT, epochs=10), Exploding(0, ""), validate=validate)
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert (kept.epoch, kept.under_way) == (3, {})


# Damage and death


@pytest.mark.parametrize("at", [9, ASKED])
def test_a_damaged_checkpoint_costs_no_more_than_what_came_after_the_one_before(
    fresh: Fresh, clock: list[float], at: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole, job = fresh(), fresh()
    undisturbed = whole.run(SHORT, ticking_network(clock))
    with pytest.raises(KeyboardInterrupt):
        run_asked(job, Asked(at), network=ticking_network(clock))
    content = bytearray(job.checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    job.checkpoint.write_bytes(content)
    resumed = job.run(SHORT, ticking_network(clock, seed=99))
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings[0] == f"{job.checkpoint} is damaged; going on from the checkpoint before it"
    assert_same_end(resumed, undisturbed, (job, whole))


def test_a_kill_within_an_epoch_repeats_that_epoch_alike(fresh: Fresh) -> None:
    whole, job = fresh().run(), fresh()
    steps = itertools.count()

    def dying(range_: Iterable[int], **_: object) -> Iterator[int]:
        for step in range_:
            if next(steps) == 13:
                raise KillError
            yield step

    with pytest.raises(KillError):
        job.run(progress=dying)
    assert_equal(weights_of(job.run().network), weights_of(whole.network))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_ended_at_random_moments_end_where_an_undisturbed_one_does(
    job: Job, tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files.pickle").write_bytes(pickle.dumps(job.files))
    command = [sys.executable, "-m", "tests.training.nursery", str(tmp_path), str(int(number))]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    whole, told = answer["whole"], answer["told"]
    equal = sum(each["result"] == whole["result"] for each in told)
    ended_at = [step for each in told for step in each["ended_at"]]
    attempts = sum(each["attempts"] for each in told)
    with capsys.disabled():
        epochs = Counter(step // whole["recipe"]["steps_per_epoch"] for step in ended_at)
        sys.stdout.write(
            f"\n{signal.Signals(number).name}: {len(told)} trainings of {whole['seconds']:.2f} s, ended "
            f"{len(ended_at)} times in {attempts} attempts, after whole epochs {dict(sorted(epochs.items()))}; "
            f"{equal} of {len(told)} end as the undisturbed one\n"
        )
    assert equal == len(told) == 20
    assert len(epochs) >= 6  # all over the run
    assert {name for each in told for name in each["left"]} == {"last.pt", "previous.pt", "result"}
