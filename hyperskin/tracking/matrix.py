"""How a model survives another camera: trained on one, tested on each, as tables and heat maps."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

from hyperskin.atomic import write_text
from hyperskin.pairs import PAIRS
from hyperskin.pictures import save_figure
from hyperskin.tracking.compare import Row, label_row, place_of
from hyperskin.tracking.figures import draw_matrix
from hyperskin.tracking.grid import align_table
from hyperskin.tracking.seeds import average, group_by_seed

FOLDER = "cameras"
_SCORES = {"sam/masked": "camera_sam_masked/", "ssim/masked": "camera_ssim_masked/", "sam/full": "camera_sam_full/"}
_DECIDING = ("sam/masked", "sam/full")  # the second where there are no masks
_OF_CAMERAS = ("camera", "test_cameras")
_DIGITS = 4


@dataclass(frozen=True)
class Matrix:
    """Trainings of one model on one pair, scored on one test set as every camera saw it.

    Attributes:
        label: The model, and what tells it from its like.
        rows: A training each, those on one camera first; several seeds of it are one row, of their means.
        cameras: With whose pictures they were examined, in the order in which they were rendered.
        score: Which score it holds: "sam/masked", or "sam/full" where there are no masks.
        runs: The runs that each of `rows` is the mean of, by their seeds.
    """

    pair: str
    evaluation: str
    label: str
    rows: tuple[Row, ...]
    cameras: tuple[str, ...]
    score: str
    runs: tuple[tuple[str, ...], ...]

    @property
    def seed_count(self) -> int:
        """Over how many seeds the rows are means, at most."""
        return max(map(len, self.runs))

    def value(self, row: Row, camera: str, score: str = "") -> float:
        """Return what a training scores with a camera's pictures; NaN where it was not examined."""
        return row.metrics.get(f"{_SCORES[score or self.score]}{camera}", math.nan)

    def own(self, row: Row) -> list[float]:
        """Return the scores with pictures of the cameras that a run was trained on."""
        return [self.value(row, camera) for camera in self.cameras if camera in row.cameras]

    def others(self, row: Row) -> list[float]:
        """Return the scores with pictures of cameras that a run never saw."""
        return [self.value(row, camera) for camera in self.cameras if camera not in row.cameras]


def make_matrices(rows: Sequence[Row], *, present: Collection[str] | None = None) -> list[Matrix]:
    """Return a matrix for each pair, test set and model that was examined with the pictures of several cameras.

    Runs stand together that differ in nothing but the cameras they were trained on, and with whose pictures they were
    examined.

    Args:
        rows: Runs, in any order.
        present: Fingerprints of the test sets of the data as they are now; others are left out, unless it is None.
    """
    order = list(PAIRS)
    trained_here = [row for row in rows if not row.file]  # of others nobody knows whose pictures they learned from
    seeds = group_by_seed([row for row in trained_here if present is None or row.evaluation in present])
    runs = {own[0].run_id: tuple(row.run_id for row in own) for own in seeds}
    examined = [row for row in map(average, seeds) if len(row.tested) > 1]

    def group_of(row: Row) -> tuple[int, str, int, str, list[tuple[str, str]]]:
        return (
            order.index(row.pair),
            row.evaluation,
            place_of(row.model),
            row.model,
            sorted(_without_cameras(row).items()),
        )

    groups = [tuple(group) for _, group in itertools.groupby(sorted(examined, key=group_of), key=group_of)]
    alike = [replace(group[0], params=_without_cameras(group[0])) for group in groups]
    return [_make(group, one, alike, runs) for group, one in zip(groups, alike, strict=True)]


def write_matrices(folder: Path, matrices: Sequence[Matrix]) -> str:
    """Write cameras.md, cameras.csv and a heat map for each matrix, and return the summary; nothing of no matrix."""
    if not matrices:
        return ""
    write_text(folder / f"{FOLDER}.md", to_markdown(matrices))
    write_text(folder / f"{FOLDER}.csv", to_csv(matrices))
    for matrix in matrices:
        save_figure(draw(matrix), path=folder / FOLDER / f"{_file_name(matrix)}.png")
    return "\n" + "\n\n".join(part for own in _exams(matrices) for part in _summary(own)) + "\n"


def to_markdown(matrices: Sequence[Matrix]) -> str:
    """Return a summary of each pair and test set, and below it every matrix."""
    legend = "Row: trained on; column: tested with. In bold what was tested with pictures of a camera trained on."
    parts = [legend]
    for own in _exams(matrices):
        parts += _summary(own)
        parts += [
            part
            for matrix in own
            for part in (f"### {matrix.label}, {_say(matrix.score)}{_say_seeds(matrix)}", _grid(matrix))
        ]
    return "\n\n".join(parts) + "\n"


def to_csv(matrices: Sequence[Matrix]) -> str:
    """Return every score in full, one line for each training and camera."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["pair", "evaluation", "model", "trained_on", "tested_on", "is_own", *_SCORES, "run_id"])
    for matrix in matrices:
        for (row, runs), camera in itertools.product(zip(matrix.rows, matrix.runs, strict=True), matrix.cameras):
            scores = [matrix.value(row, camera, score) for score in _SCORES]
            cells = ["" if math.isnan(score) else repr(score) for score in scores]
            trained = row.params["camera"]
            identity = [
                matrix.pair,
                matrix.evaluation,
                matrix.label,
                trained,
                camera,
                str(camera in row.cameras).lower(),
            ]
            writer.writerow([*identity, *cells, " ".join(runs)])
    return stream.getvalue()


def draw(matrix: Matrix) -> Figure:
    """Return the heat map of a matrix."""
    return draw_matrix(
        [[matrix.value(row, camera) for camera in matrix.cameras] for row in matrix.rows],
        rows=[row.params["camera"] for row in matrix.rows],
        columns=matrix.cameras,
        marked=[[camera in row.cameras for camera in matrix.cameras] for row in matrix.rows],
        title=f"{matrix.label} on {matrix.pair}: {_say(matrix.score)} in rad{_say_seeds(matrix)}, lower is better",
    )


def _make(group: Sequence[Row], one: Row, alike: Sequence[Row], runs: Mapping[str, tuple[str, ...]]) -> Matrix:
    longest = max((row.tested for row in group), key=len)
    cameras = tuple(dict.fromkeys([*longest, *(camera for row in group for camera in row.tested)]))
    place = {camera: number for number, camera in enumerate(cameras)}
    rows = tuple(sorted(group, key=lambda row: (len(row.cameras), [place.get(name, -1) for name in row.cameras])))
    known = {key for row in group for key in row.metrics}
    score = next((score for score in _DECIDING if any(key.startswith(_SCORES[score]) for key in known)), _DECIDING[-1])
    like = [other for other in alike if (other.pair, other.evaluation) == (one.pair, one.evaluation)]
    own = tuple(runs[row.run_id] for row in rows)
    return Matrix(one.pair, one.evaluation, label_row(one, like), rows, cameras, score, own)


def _exams(matrices: Sequence[Matrix]) -> list[list[Matrix]]:
    """Return the matrices of each pair and test set together."""
    return [list(own) for _, own in itertools.groupby(matrices, key=lambda matrix: (matrix.pair, matrix.evaluation))]


def _summary(matrices: Sequence[Matrix]) -> list[str]:
    """Return what each training scores with its own cameras and with others, the best number of a column in bold."""
    first = matrices[0]
    title = f"## {first.pair} with other cameras, test set {first.evaluation[:8]}: {_say(first.score)} in rad"
    lines, numbers = [], []
    for matrix in matrices:
        for row in matrix.rows:
            own, others = _known(matrix.own(row)), _known(matrix.others(row))
            everything = own + others
            lines.append([matrix.label, row.params["camera"]])
            numbers.append([_mean(own), _mean(others), _mean(everything), max(everything, default=math.nan)])
    best = [min(_known(column), default=math.nan) for column in zip(*numbers, strict=True)]
    cells = [
        [*line, *(_emphasise(value, value == least) for value, least in zip(values, best, strict=True))]
        for line, values in zip(lines, numbers, strict=True)
    ]
    heading = ["model", "trained on", "with own cameras", "with others", "with all, mean", "worst"]
    return [title, align_table([heading, *cells], left=2)]


def _grid(matrix: Matrix) -> str:
    lines = [
        [
            row.params["camera"],
            *(_emphasise(matrix.value(row, camera), camera in row.cameras) for camera in matrix.cameras),
        ]
        for row in matrix.rows
    ]
    return align_table([["trained on", *matrix.cameras], *lines])


def _without_cameras(row: Row) -> dict[str, str]:
    return {key: value for key, value in row.params.items() if key not in _OF_CAMERAS}


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def _emphasise(value: float, is_emphasised: bool) -> str:
    if math.isnan(value):
        return "-"
    return f"**{value:.{_DIGITS}f}**" if is_emphasised else f"{value:.{_DIGITS}f}"


def _say(score: str) -> str:
    return {"sam/masked": "SAM masked", "sam/full": "SAM with background"}[score]


def _say_seeds(matrix: Matrix) -> str:
    return f", mean over {matrix.seed_count} seeds" if matrix.seed_count > 1 else ""


def _file_name(matrix: Matrix) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", matrix.label.lower()).strip("_")
    return f"{matrix.pair}-{name}-{matrix.evaluation[:8]}"
