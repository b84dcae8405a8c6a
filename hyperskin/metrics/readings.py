"""Scores with and without readings of a person, capture by capture -> means, changes, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from hyperskin.metrics.intervals import clustered_mean
from hyperskin.metrics.summary import Row


def summarise_readings(rows: Sequence[Mapping[str, str | float]]) -> list[Row]:
    """Return what any number of readings does to every score.

    Args:
        rows: One a capture and number of readings: `image`, `subject`, `k` readings (0 is without), and scores, whose
            names hold a slash; lower ones are better.

    Returns:
        One row a score and number of readings: `score`, `k`, `n_images`, `n_subjects`, the `mean`, and but for no
        reading its `change` from there, the ends `low` and `high` of the change's 95 % interval over subjects, which a
        single subject has none of, and `better`, on how many subjects the score became lower.
    """
    counts = sorted({int(row["k"]) for row in rows})
    return [told for count in counts for told in _summarise(rows, count)]


def _summarise(rows: Sequence[Mapping[str, str | float]], count: int) -> list[Row]:
    """Return one row a score for so many readings, over the captures that have it with them and without."""
    own, plain = _of_count(rows, count), _of_count(rows, 0)
    summary = []
    for key in dict.fromkeys(key for row in own.values() for key in row if "/" in key):
        both = [image for image in own if key in own[image] and key in plain[image]]
        if both:
            ours, theirs = ([float(side[image][key]) for image in both] for side in (own, plain))
            subjects = [str(own[image]["subject"]) for image in both]
            told: Row = {"n_images": len(both), "n_subjects": len(set(subjects)), "mean": fmean(ours)}
            summary.append({"score": key, "k": count, **told, **(_change(ours, theirs, subjects) if count else {})})
    return summary


def _change(own: Sequence[float], plain: Sequence[float], subjects: Sequence[str]) -> Row:
    """Return by how much a score changed, with its interval, and on how many subjects it became lower."""
    by_subject: dict[str, list[float]] = {}
    for ours, theirs, subject in zip(own, plain, subjects, strict=True):
        by_subject.setdefault(subject, []).append(ours - theirs)
    interval = clustered_mean(by_subject)
    ends: Row = {} if interval.low is None or interval.high is None else {"low": interval.low, "high": interval.high}
    better = sum(math.fsum(changes) < 0 for changes in by_subject.values())
    return {"change": interval.mean, **ends, "better": better}


def _of_count(rows: Sequence[Mapping[str, str | float]], count: int) -> dict[str, Mapping[str, str | float]]:
    return {str(row["image"]): row for row in rows if row["k"] == count}
