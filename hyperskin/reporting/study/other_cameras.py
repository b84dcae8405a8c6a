"""How a model does with the pictures of other cameras than its own, mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hyperskin.reporting.document import Grid, Words
from hyperskin.reporting.examination import model_cell, score
from hyperskin.reporting.study.seeds import Group, Pool
from hyperskin.tracking.compare import Column


def camera_grids(pool: Pool) -> Iterator[Grid]:
    """Yield every model's score with the pictures of each camera, where it was examined with several."""
    column = pool.exam.deciding
    cameras = list(dict.fromkeys(name for group in pool.groups for name in camera_scores(group, column)))
    if len(cameras) < 2:
        return
    yield Grid(
        caption=(
            f"{column.heading} with the pictures of each camera, mean over seeds. Worst: the highest of the row. What "
            "every training scores with every camera, as a matrix, is what hyperskin compare says."
        ),
        heading=("model", "trained on", *cameras, "worst"),
        rows=tuple(_row(group, cameras, column) for group in pool.groups),
        left=2,
    )


def camera_scores(group: Group, column: Column) -> dict[str, float]:
    """Return a score by the camera whose pictures went in; empty where it was examined with those of one."""
    row = group.mean.row
    keys = {camera: f"camera_{column.metric.replace('/', '_')}/{camera}" for camera in row.tested}
    return {camera: value for camera, key in keys.items() if math.isfinite(value := score(group.mean, key))}


def _row(group: Group, cameras: Sequence[str], column: Column) -> tuple[Words, ...]:
    found = camera_scores(group, column)
    values = [*(found.get(camera) for camera in cameras), max(found.values(), default=None)]
    cells = ["-" if value is None else f"{value:.{column.digits}f}" for value in values]
    return (model_cell(group.mean), ", ".join(group.mean.row.cameras) or "-", *cells)
