"""One pair examined on the present test set: its runs, what decides between them, and their scores by capture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hyperskin.pairs import Pair, find_pair
from hyperskin.reporting.document import Span
from hyperskin.tracking.compare import OURS, Column, Table, find_best
from hyperskin.tracking.results import Result
from hyperskin.tracking.runs import is_floor

SIMILARITY = {"sam/masked": OURS[2], "sam/full": OURS[0]}
"""The column of SSIM over the region of a column of SAM."""

_RUN_DIGITS = 12
_DECIDING = (OURS[3], OURS[1])


@dataclass(frozen=True)
class Examination:
    """All finished runs of one pair on the present test captures, in the order of the comparison.

    Attributes:
        name: What the page calls it: the pair, and the camera in front of it where there are several.
        anchor: Begins the anchors and file names of its parts; the pair's own name for the first of a pair.
        pair: What is reconstructed.
        table: The runs' rows, floors first.
        results: The same runs with all that they hold.
    """

    name: str
    anchor: str
    pair: Pair
    table: Table
    results: tuple[Result, ...]

    @classmethod
    def of_all(cls, tables: Sequence[Table], results: Sequence[Sequence[Result]]) -> tuple[Examination, ...]:
        """Return the examinations that the tables of a comparison are about, each with its runs."""
        pairs = [table.pair for table in tables]
        exams = []
        for place, (table, own) in enumerate(zip(tables, results, strict=True)):
            earlier = pairs[:place].count(table.pair)
            name = f"{table.pair} by {table.rows[0].camera}" if pairs.count(table.pair) > 1 else table.pair
            anchor = f"{table.pair}-{earlier + 1}" if earlier else table.pair
            exams.append(cls(name, anchor, find_pair(table.pair), table, tuple(own)))
        return tuple(exams)

    @property
    def deciding(self) -> Column:
        """Masked SAM; SAM with background where the test captures have no mask."""
        return next((column for column in _DECIDING if find_best(self.table.rows, column)), _DECIDING[0])

    @property
    def has_masks(self) -> bool:
        """Whether a run was scored on masked pixels."""
        return self.deciding is _DECIDING[0]

    @property
    def best(self) -> Result | None:
        """The run with the lowest angle; None where no run has one."""
        return self._find(self.results)

    @property
    def best_network(self) -> Result | None:
        """The network with the lowest angle; None where there is none."""
        return self._find(self.networks)

    @property
    def best_floor(self) -> Result | None:
        """The regression with the lowest angle; None where there is none."""
        return self._find(self.floors)

    @property
    def floors(self) -> tuple[Result, ...]:
        """The regressions."""
        return tuple(result for result in self.results if is_floor(result.row.model))

    @property
    def networks(self) -> tuple[Result, ...]:
        """All that are no regression."""
        return tuple(result for result in self.results if not is_floor(result.row.model))

    def by_score(self) -> list[Result]:
        """Return the runs that have the deciding score, the best first."""
        scored = [result for result in self.results if math.isfinite(score(result, self.deciding.metric))]
        return sorted(scored, key=lambda result: score(result, self.deciding.metric))

    def _find(self, results: tuple[Result, ...]) -> Result | None:
        best = find_best([result.row for result in results], self.deciding)
        return next((result for result in results if result.row is best), None)


def score(result: Result, key: str) -> float:
    """Return a number of a run; NaN where it has none."""
    return result.row.metrics.get(key, math.nan)


def by_subject(result: Result, key: str) -> dict[str, dict[str, float]]:
    """Return a run's score of every capture, by subject and capture; empty where it has no table of them."""
    found: dict[str, dict[str, float]] = {}
    for row in result.tables.get("per_image", []):
        if isinstance(value := row.get(key), int | float):
            found.setdefault(str(row["subject"]), {})[str(row["image"])] = float(value)
    return found


def subjects_of(results: Sequence[Result], key: str) -> list[str]:
    """Return everyone whom some run has this score of."""
    return sorted({subject for result in results for subject in by_subject(result, key)})


def model_cell(result: Result) -> Span:
    """Return a model's name, in italics if it is a regression, as a link to where its run comes from."""
    return Span(result.label, style="emphasis" if is_floor(result.row.model) else "", anchor=run_anchor(result))


def image_count(result: Result) -> str:
    """Return over how many captures a run's scores are means, as a cell."""
    return "-" if result.row.image_count is None else str(result.row.image_count)


def run_anchor(result: Result) -> str:
    """Return the anchor of the line that says where a run comes from."""
    return f"run-{result.row.run_id[:_RUN_DIGITS]}"


def count_of(count: int, thing: str) -> str:
    """Return "1 capture", "2 captures".

    Examples:
        >>> count_of(1, "subject"), count_of(0, "capture")
        ('1 subject', '0 captures')
    """
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
