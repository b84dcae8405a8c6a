"""A network and captures -> the network of its best epoch; stops by epochs or seconds, resumes where it was."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import nn

from hyperskin.data.frames import PairFiles
from hyperskin.data.patches import (
    CachedCaptures,
    Captures,
    Crop,
    CropBatches,
    StoredCaptures,
    draw_crops,
    feed_batches,
    require_room,
)
from hyperskin.errors import ParamsError
from hyperskin.pairs import Pair
from hyperskin.training.checkpoint import load_checkpoint, save_checkpoint
from hyperskin.training.device import Precision, survives_on_cpu
from hyperskin.training.recipe import Epoch, Recipe, Trained
from hyperskin.training.trainer import InterruptedTrainingError, Trainer, Validate

_GIB = 1 << 30

_log = logging.getLogger(__name__)


def no_progress(steps: Iterable[int], **_description: object) -> Iterable[int]:
    """Show nothing."""
    return steps


def as_built() -> None:
    """Let a network begin with the weights it was built with."""


def never() -> bool:
    """Let a training go on to its end."""
    return False


def train(
    network: nn.Module,
    *,
    files: Sequence[PairFiles],
    pair: Pair,
    cameras: Sequence[str],
    recipe: Recipe,
    device: torch.device,
    validate: Validate,
    checkpoint: Path,
    unit_key: str,
    on_epoch: Callable[[Epoch], None],
    made_with: Mapping[str, str] = {},
    start: Callable[[], None] = as_built,
    should_stop: Callable[[], bool] = never,
    progress: Callable[..., Iterable[int]] = no_progress,
    cache_bytes: int = 4 * _GIB,
    workers: int = 0,
) -> Trained:
    """Train `network` in place and return it with the weights of its best epoch.

    Args:
        network: Where to start; a checkpoint of the same unit takes its place.
        files: The training captures.
        pair: What goes in and what comes out.
        cameras: Whose RGB goes in; of several, a random one's for every crop.
        recipe: How to train.
        device: Where to train.
        validate: Called with the network in evaluation mode; gives metrics such as {"val_sam/masked": 0.1}. Where a
            KeyboardInterrupt ends it, it is called again when the training goes on.
        checkpoint: File that is written after every epoch and when asked to stop, and continued from where it exists;
            alone with the one before it in its folder.
        unit_key: Which training this is; a checkpoint with another key is refused.
        on_epoch: Called with each finished epoch once it is saved; where a checkpoint is continued, first with all of
            its epochs again, so that none is lost between the two: whoever listens leaves out what it knows.
        made_with: All that decides the result, by name; a checkpoint made with anything else is refused.
        start: Called before the first step, to give the network weights to begin with; not where a checkpoint is
            continued.
        should_stop: Asked before every epoch and after every step.
        progress: Called as `tqdm` is, with the steps of an epoch, `desc`, `unit` and `unit_scale` (crops per step).
        cache_bytes: Keep the captures in memory, as stored, if they need no more than this; 0 never does.
        workers: Processes that read crops ahead from files. The CPU uses none; CUDA with none uses a thread.

    Raises:
        DataError: The checkpoint and the one before it are damaged.
        DivergedError: The loss or the weights left the finite numbers, or the loss exploded.
        KeyboardInterrupt: `should_stop` said yes, or `validate` was interrupted; the checkpoint is there to go on from.
        ShapeError: A frame, with the padding around it, is smaller than `recipe.crop_px`.
        VersionError: The checkpoint belongs to another unit.
    """
    _require_precision(recipe.precision, device)
    with StoredCaptures(files, pair, cameras=cameras) as stored:
        require_room(stored, recipe.crop_px, padding_px=recipe.crop_padding_px)
        steps = recipe.epoch_steps(len(files))
        trainer = Trainer(network, recipe, device, steps_per_epoch=steps)
        found = load_checkpoint(checkpoint, unit_key=unit_key, made_with=made_with)
        if found is None:
            start()
        else:
            trainer.restore(found)
            _log.info("going on after %s from %s", _place(trainer), checkpoint)
            for epoch in trainer.history:
                on_epoch(epoch)
        if trainer.stopped() is not None:
            return trainer.result()
        captures: Captures = CachedCaptures(stored) if stored.stored_bytes <= cache_bytes else stored
        batches = feed_batches(
            CropBatches(
                captures,
                crop_px=recipe.crop_px,
                channels_last=recipe.channels_last,
                stretched=recipe.stretches(pair),
            ),
            _schedule(
                recipe,
                captures.shapes,
                steps,
                camera_count=len(cameras),
                first_epoch=trainer.epoch + 1,
                first_step=trainer.under_way.steps,
            ),
            workers=workers if device.type == "cuda" and captures is stored else 0,
            pin_memory=device.type == "cuda",
        )
        with closing(batches):
            while trainer.stopped() is None:
                if should_stop():
                    raise KeyboardInterrupt
                try:
                    epoch = trainer.run_epoch(batches, validate, progress, should_stop)
                except InterruptedTrainingError:
                    save_checkpoint(checkpoint, trainer.checkpoint(unit_key, made_with))
                    _log.info("asked to stop after %s; saved in %s", _place(trainer), checkpoint)
                    raise
                save_checkpoint(checkpoint, trainer.checkpoint(unit_key, made_with))
                on_epoch(epoch)
    return trainer.result()


def _place(trainer: Trainer) -> str:
    """Return how far a training is, for people."""
    steps = trainer.under_way.steps
    return f"{steps} steps of epoch {trainer.epoch + 1}" if steps else f"epoch {trainer.epoch}"


def _schedule(
    recipe: Recipe,
    shapes: Sequence[tuple[int, int]],
    steps_per_epoch: int,
    *,
    camera_count: int,
    first_epoch: int,
    first_step: int,
) -> Iterator[list[Crop]]:
    """Yield the crops of every step from step `first_step` of `first_epoch` on."""
    epochs = itertools.count(first_epoch) if recipe.epochs is None else range(first_epoch, recipe.epochs + 1)
    for epoch in epochs:
        crops = draw_crops(
            shapes,
            steps_per_epoch * recipe.batch_size,
            crop_px=recipe.crop_px,
            augment=recipe.augment,
            seed=recipe.seed,
            epoch=epoch,
            padding_px=recipe.crop_padding_px,
            stride_px=recipe.crop_stride_px,
            camera_count=camera_count,
            exposure_jitter=recipe.exposure_jitter,
        )
        for step in range(first_step if epoch == first_epoch else 0, steps_per_epoch):
            yield crops[step * recipe.batch_size : (step + 1) * recipe.batch_size]


def _require_precision(precision: Precision, device: torch.device) -> None:
    if device.type == "cpu" and not survives_on_cpu(precision):
        raise ParamsError(
            f"`train.precision` must be one this CPU can compute; it dies of {precision}: use fp32, or set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before the start."
        )
