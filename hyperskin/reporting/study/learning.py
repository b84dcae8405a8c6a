"""Validation error against steps and seconds, over seeds, and whether a training was still improving at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
import numpy.typing as npt

from hyperskin.reporting.study.seeds import Group
from hyperskin.tracking.results import Result
from hyperskin.tracking.runs import is_floor

Against = Literal["steps", "seconds", "epochs"]
Points = tuple[tuple[float, float], ...]
"""Where on the axis, and the validation error there."""

STILL = 0.02
"""By so much of itself may the error fall in the last third, for a training to be called flat at its end."""

_FEWEST = 6  # validated epochs; fewer have no last third to speak of


@dataclass(frozen=True)
class Ending:
    """What the last third of a training was good for.

    Attributes:
        improvement: By how much of itself the lowest validation error fell there, mean over seeds; None where there
            are too few epochs to tell, and for a regression, which ends nowhere.
        is_trained: Whether it is trained step by step.
    """

    improvement: float | None
    is_trained: bool

    @property
    def is_flat(self) -> bool:
        """Whether going on would have gained little."""
        return self.improvement is not None and self.improvement <= STILL

    @property
    def word(self) -> str:
        """How a table says it."""
        if not self.is_trained:
            return "closed form"
        if self.improvement is None:
            return "too few epochs to tell"
        return "flat" if self.is_flat else f"falling, {100 * self.improvement:.0f} %"

    def say(self) -> str:
        """Return it as the end of a sentence about a model."""
        if self.improvement is None:
            return "too few epochs to tell whether it was still improving"
        if self.is_flat:
            return f"flat at the end, improving by {100 * self.improvement:.1f} % over the last third"
        return f"still improving by {100 * self.improvement:.0f} % over the last third: not converged"


def find_ending(group: Group) -> Ending:
    """Return whether a model was still getting better when its trainings ended."""
    found = [late for member in group.members if (late := late_improvement(curve_of(member, "epochs"))) is not None]
    return Ending(fmean(found) if found else None, is_trained=not is_floor(group.mean.row.model))


def late_improvement(curve: Points) -> float | None:
    """Return by how much of itself the lowest error so far fell in the last third of the axis.

    The weights of the best epoch are kept, so that an error which rises again is no loss.

    Returns:
        Within [0, 1]; None where fewer than six epochs were validated, or none in the first two thirds.

    Examples:
        >>> late_improvement(((1, 0.8), (2, 0.5), (3, 0.4), (4, 0.4), (5, 0.2), (6, 0.3)))
        0.5
    """
    if len(curve) < _FEWEST:
        return None
    end = curve[-1][0]
    before = [value for place, value in curve if place <= end * 2 / 3]
    if not before or min(before) <= 0:
        return None
    return 1 - min(value for _, value in curve) / min(before)


def curve_of(result: Result, against: Against) -> Points:
    """Return a run's validation error against what it had taken; nothing where it does not say.

    On an axis that is logarithmic nothing stands at 0.
    """
    if against == "epochs":
        return tuple((float(epoch), value) for epoch, value in result.curve)
    taken = dict(result.steps if against == "steps" else result.seconds)
    return tuple((taken[epoch], value) for epoch, value in result.curve if taken.get(epoch, 0) > 0)


def mean_curve(curves: Sequence[Points]) -> Points:
    """Return the mean over seeds where all of them were: between two epochs a line on the logarithmic axis.

    Args:
        curves: One a seed, in order of the axis; no two need have their points at the same places.

    Examples:
        >>> mean_curve([((1, 0.4), (4, 0.2)), ((1, 0.6), (2, 0.4), (4, 0.4))])
        ((1.0, 0.5), (2.0, 0.35), (4.0, 0.3))
    """
    known = [curve for curve in curves if curve]
    if not known:
        return ()
    first, last = max(curve[0][0] for curve in known), min(curve[-1][0] for curve in known)
    places = sorted({place for curve in known for place, _ in curve if first <= place <= last})
    values = np.mean([_read(curve, places) for curve in known], axis=0)
    return tuple((float(place), round(float(value), 12)) for place, value in zip(places, values, strict=True))


def taken(group: Group, against: Against) -> float:
    """Return how many steps or seconds the trainings took, mean over seeds; NaN where they do not say."""
    ends = [points[-1][1] for each in group.members if (points := each.steps if against == "steps" else each.seconds)]
    return fmean(ends) if ends else math.nan


def _read(curve: Points, places: Sequence[float]) -> npt.NDArray[np.float64]:
    own, values = np.log([place for place, _ in curve]), [value for _, value in curve]
    return np.interp(np.log(places), own, values)
