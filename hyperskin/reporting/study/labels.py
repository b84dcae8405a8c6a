"""Names of points in a figure, placed so that none lies on another, on a point or outside."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes

_LETTER, _HEIGHT = 0.62, 1.35  # of a letter, and of a line, in parts of the size of the letters
_STEPS = (1.0, 2.2, 3.4, 4.8, 6.4, 8.2, 10.0)  # lines away from the point
_WAYS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
_POINT = 5.0  # half a side of what a mark takes, in points
_BAR = 2.0  # half of what a bar takes, in points
_DOTS = 24  # along a line to a name, so many pieces are looked at
_INCH = 72.0  # points

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points of the figure."""


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    *,
    colours: Sequence[str],
    size: float,
    bars: Sequence[tuple[float, float]],
) -> None:
    """Write a name beside every point; the limits of the axes must be final.

    Places are tried from near to far; where all are taken, the nearest is.

    Args:
        axes: Where the points are.
        points: In the units of the axes.
        labels: Their names.
        colours: Of the names.
        size: Of the letters, in points.
        bars: From where to where a bar through each point reaches, which no name may cross.
    """
    figure = axes.figure
    scale = _INCH / figure.dpi

    def find(point: tuple[float, float]) -> tuple[float, float]:
        x, y = axes.transData.transform(point)
        return float(x) * scale, float(y) * scale

    at = [find(point) for point in points]
    frame = axes.bbox
    room = (frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)
    lines = []
    for (place, _), ends in zip(points, bars, strict=True):
        (x, low), (_, high) = find((place, ends[0])), find((place, ends[1]))
        lines.append((x - _BAR, low, x + _BAR, high))
    sizes = [(_LETTER * size * len(label), _HEIGHT * size) for label in labels]
    for number, (across, up, is_far) in enumerate(arrange(at, sizes, room=room, taken=lines)):
        axes.annotate(
            labels[number],
            points[number],
            xytext=(across - at[number][0], up - at[number][1]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            color=colours[number],
            arrowprops={"arrowstyle": "-", "color": colours[number], "linewidth": 0.6} if is_far else None,
        )


def arrange(
    at: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], *, room: Box, taken: Sequence[Box]
) -> list[tuple[float, float, bool]]:
    """Return the middle of every name, and whether it stands so far away that a line must lead to it.

    Args:
        at: Where the points are,
        sizes: width and height of their names,
        room: where these may stand, and
        taken: where they may not, besides the points themselves; all in points of the figure.
    """
    blocked = [*taken, *((x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in at)]
    names: list[Box] = []
    found: dict[int, tuple[float, float, bool]] = {}
    for number in sorted(range(len(at)), key=at.__getitem__):
        boxes = [_box(*at[number], *sizes[number], way, step) for step, way in itertools.product(_STEPS, _WAYS)]
        lines = [_line(at[number], box) if place >= len(_WAYS) else [] for place, box in enumerate(boxes)]
        free = [
            place
            for place, box in enumerate(boxes)
            if _is_within(box, room)
            and not _meets(box, blocked)
            and not any(_meets(dot, names) for dot in lines[place])
        ]
        chosen = free[0] if free else 0
        box = boxes[chosen]
        names.append(box)
        blocked += [box, *lines[chosen]]
        found[number] = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, bool(lines[chosen]))
    return [found[number] for number in range(len(at))]


def _line(point: tuple[float, float], box: Box) -> list[Box]:
    """Return what a line from a point to a name takes, as small boxes along it, those at its ends left out."""
    x, y = point
    end_x, end_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    dots = []
    for place in range(1, _DOTS):
        middle_x, middle_y = x + (end_x - x) * place / _DOTS, y + (end_y - y) * place / _DOTS
        dots.append((middle_x - 1, middle_y - 1, middle_x + 1, middle_y + 1))
    return [dot for dot in dots if not _meet(dot, box) and max(abs(dot[0] - x), abs(dot[1] - y)) > _POINT]


def _meets(box: Box, others: Sequence[Box]) -> bool:
    return any(_meet(box, other) for other in others)


def _box(x: float, y: float, width: float, height: float, way: tuple[int, int], step: float) -> Box:
    """Return where a name would stand, so many lines to a side of its point."""
    across, up = way
    gap = _POINT + 1
    middle_x = x + across * (width / 2 + (gap if step == _STEPS[0] else gap * step))
    middle_y = y + up * (height / 2 + (gap / 2 if across and step == _STEPS[0] else gap * step))
    return middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2


def _is_within(box: Box, room: Box) -> bool:
    return box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
