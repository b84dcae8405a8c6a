"""A model and the people it may learn from -> how it errs on people: the prior of subject calibration."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Sequence

from hyperskin.data.frames import PairFiles, read_frame, read_visible
from hyperskin.data.manifest import Manifest
from hyperskin.pairs import Pair
from hyperskin.skin.subject_gain import GainPrior, PriorSums
from hyperskin.steps.bare_skin import find_bare_skin
from hyperskin.steps.evaluate import Reconstruct, require_finite
from hyperskin.steps.subject_calibration import has_light, thin

_SPLITS = ("train", "valid")  # a model has been fitted to the former and knows itself too well there
_log = logging.getLogger(__name__)


def prior_captures(manifest: Manifest, pair: Pair) -> list[PairFiles]:
    """Return the first capture of everybody who trains or selects, by name: one says how a person differs."""
    files = [file for split in _SPLITS if manifest.of_split(split) for file in manifest.pair_files(split, pair)]
    people = itertools.groupby(files, key=lambda file: file.capture.subject)
    return [next(own) for _, own in people]


def learn_prior(
    reconstruct: Reconstruct,
    files: Sequence[PairFiles],
    pair: Pair,
    *,
    camera: str,
    progress: Callable[[Sequence[PairFiles]], Iterable[PairFiles]] = iter,
) -> GainPrior | None:
    """Return what a model's errors on these people say of another; None where fewer than two show bare skin.

    Args:
        reconstruct: The model.
        files: One capture of each person; none of them a test subject.
        pair: The reconstruction task.
        camera: Which camera's RGB goes in.
        progress: Wraps the captures, for a bar.

    Raises:
        DataError: An estimate is not finite.
    """
    sums = PriorSums(pair.target)
    for file in progress(files):
        frame = read_frame(file, pair, camera=camera)
        skin = find_bare_skin(frame, pair.target, read_visible(file.cube))
        if skin is None or not skin.regions.skin.any():
            continue
        estimate = reconstruct(frame.input)
        require_finite(estimate, frame.capture.name)
        pixels = thin(skin.regions.skin)
        if has_light(estimate[pixels]) and has_light(frame.reference[pixels]):
            sums.add(frame.reference[pixels], estimate[pixels])
    if not sums.is_enough:
        _log.info("no subject calibration: of fewer than two people is there bare skin that the model sees as lit")
        return None
    return sums.prior()
