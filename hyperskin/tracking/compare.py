"""The comparison table: mean and spread of SSIM and SAM, with background and without, by pair and test set."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from hyperskin.atomic import write_text
from hyperskin.models.regression import KINDS
from hyperskin.pairs import PAIRS
from hyperskin.tracking.answers import ask
from hyperskin.tracking.facts import PRETRAINED
from hyperskin.tracking.grid import align_table
from hyperskin.tracking.runs import is_floor
from hyperskin.tracking.store import experiment_id

_PAGE = 200  # what a server on a busy machine gives well within the patience with it
_DIGITS = 4


@dataclass(frozen=True)
class Column:
    """One number of the table: which metric it is, its heading, which way is better, and digits after the point."""

    metric: str
    heading: str
    is_higher_better: bool
    digits: int = 4

    def beats(self, score: float, other: float) -> bool:
        """Tell whether `score` is better than `other`."""
        return score > other if self.is_higher_better else score < other


@dataclass(frozen=True)
class Row:
    """One finished run.

    Attributes:
        params: Everything the run was started with, as MLflow keeps it.
        file: The file that the network came in, if it was trained elsewhere; else empty.
        evaluation: Fingerprint of the test set and the metric; equal ones may be ranked.
        metrics: Its final numbers.
        started_ms: When it began.
        test_set: The published name of the test set; "own" or empty where it has none.
        camera: With whose pictures it was examined.
        cameras: On whose pictures it was trained.
        tested: With whose pictures it was examined at all, in the order in which they were rendered.
    """

    model: str
    pair: str
    size: str
    params: dict[str, str]
    evaluation: str
    metrics: dict[str, float]
    run_id: str
    started_ms: int
    test_set: str = ""
    camera: str = ""
    cameras: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    file: str = ""

    @property
    def parameter_count(self) -> int | None:
        """Number of fitted weights, where the run says."""
        count = self.metrics.get("cost/parameters")
        return None if count is None else int(count)

    @property
    def image_count(self) -> int | None:
        """Number of captures the means are over."""
        count = self.metrics.get("n_images")
        return None if count is None else int(count)


@dataclass(frozen=True)
class Table:
    """Runs of one pair on one test set, floors first, and how each is told from its like.

    Attributes:
        is_present: Whether the test set is that of the data as they are now; None where nobody said.
    """

    pair: str
    evaluation: str
    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    is_present: bool | None = None


OURS = (
    Column("ssim/full", "SSIM with background", is_higher_better=True),
    Column("sam/full", "SAM with background", is_higher_better=False),
    Column("ssim/masked", "SSIM masked", is_higher_better=True),
    Column("sam/masked", "SAM masked", is_higher_better=False),
)
PUBLISHED = (
    Column("ssim/published_full", "SSIM with background", is_higher_better=True),
    Column("sam/published_full", "SAM with background", is_higher_better=False),
    Column("ssim/published_masked", "SSIM masked", is_higher_better=True),
    Column("sam/published_masked", "SAM masked", is_higher_better=False),
)
SKIN = (
    Column("fidelity/melanin_relative_error", "melanin off by, relative", is_higher_better=False, digits=3),
    Column("fidelity/blood_relative_error", "blood off by, relative", is_higher_better=False, digits=3),
    Column("fidelity/oxygenation_mae_pp", "oxygenation off by, pp", is_higher_better=False, digits=1),
    Column("fidelity/water_mae_pp", "water off by, pp", is_higher_better=False, digits=1),
    Column("fidelity/melanin_r", "melanin r", is_higher_better=True, digits=2),
    Column("fidelity/melanin_r_within", "melanin r within", is_higher_better=True, digits=2),
    Column("fidelity/blood_r", "blood r", is_higher_better=True, digits=2),
    Column("fidelity/blood_r_within", "blood r within", is_higher_better=True, digits=2),
    Column("fidelity/oxygenation_r", "oxygenation r", is_higher_better=True, digits=2),
)
_TIE = 0.05  # masked angles so near each other, in parts of the smaller, are called a tie
_DIFFERENT = 1.5  # times as much melanin error is not
TRUTH = Column("sam/skin_truth", "SAM skin, noise-free", is_higher_better=False)
UNSEEN = Column("sam/masked_unseen", "SAM masked, without given bands", is_higher_better=False)
_DECIDING = (OURS[3], OURS[1])  # masked SAM; SAM over everything where there is no mask
_CONSTANT = "fidelity/oxygenation_constant_mae_pp"
_FLOORS = {"sam/floor_masked": "masked", "sam/floor_skin": "on skin"}
_IN_CSV = (
    "sam/skin",
    TRUTH.metric,
    UNSEEN.metric,
    "sam/full_unseen",
    "ssim/masked_unseen",
    "ssim/full_unseen",
    *_FLOORS,
)


def write_comparison(uri: str, folder: Path, *, present: Collection[str] | None = None) -> str:
    """Write comparison.md, .csv and .tex to `folder` and return the Markdown; `present` as in `make_tables`."""
    tables = make_tables(read_rows(uri), present=present)
    text = to_markdown(tables)
    write_text(folder / "comparison.md", text)
    write_text(folder / "comparison.csv", to_csv(tables))
    write_text(folder / "comparison.tex", to_latex(tables))
    return text


def read_rows(uri: str) -> list[Row]:
    """Return the newest finished run of every model, pair, parameters and test set.

    Raises:
        ServiceError: The store does not answer within seconds.
    """
    client, experiment = MlflowClient(uri), ask(uri, lambda: experiment_id(uri))
    newest: dict[tuple[Any, ...], Row] = {}

    def read_page(token: str | None) -> Any:
        return client.search_runs([experiment], "attributes.status = 'FINISHED'", max_results=_PAGE, page_token=token)

    token = None
    while True:
        page = ask(uri, partial(read_page, token))
        for row in map(_to_row, page):
            key = (tuple(sorted(row.params.items())), row.evaluation)
            if key not in newest or row.started_ms > newest[key].started_ms:
                newest[key] = row
        token = page.token
        if not token:
            return list(newest.values())


def scored_pairs(uri: str) -> list[str]:
    """Return the pairs that have a finished run, in their usual order."""
    found = {row.pair for row in read_rows(uri)}
    return [name for name in PAIRS if name in found]


def make_tables(rows: Sequence[Row], *, present: Collection[str] | None = None) -> list[Table]:
    """Return one table for each pair, test set and camera in front of it, so that nothing is ranked that may not be.

    Args:
        rows: Runs, in any order.
        present: Fingerprints of the test sets of the data as they are now, whose tables stand first and are marked;
            None where they are not known.
    """
    order = list(PAIRS)

    def group_of(row: Row) -> tuple[int, bool, str, str]:
        is_other = present is not None and row.evaluation not in present
        return order.index(row.pair), is_other, row.evaluation, row.camera

    def order_of(row: Row) -> tuple[Any, ...]:
        return group_of(row), place_of(row.model), row.model, not row.file, row.started_ms

    in_order = sorted(rows, key=order_of)
    tables = []
    for _, group in itertools.groupby(in_order, key=group_of):
        members = tuple(group)
        labels = tuple(label_row(row, members) for row in members)
        pair, evaluation = members[0].pair, members[0].evaluation
        tables.append(Table(pair, evaluation, members, labels, None if present is None else evaluation in present))
    return tables


def find_best(rows: Sequence[Row], column: Column) -> Row | None:
    """Return the row with the best number in a column; None where no row has one."""
    scored = [row for row in rows if _is_scored(row, column)]
    choose = max if column.is_higher_better else min
    return choose(scored, key=lambda row: row.metrics[column.metric]) if scored else None


def networks_below_floor(table: Table) -> list[str]:
    """Return the networks whose SAM is not better than that of the best regression in the table."""
    column = next((column for column in _DECIDING if find_best(table.rows, column) is not None), None)
    if column is None:
        return []
    floor = find_best([row for row in table.rows if is_floor(row.model)], column)
    if floor is None:
        return []
    return [
        label
        for row, label in zip(table.rows, table.labels, strict=True)
        if not is_floor(row.model)
        and not (_is_scored(row, column) and column.beats(row.metrics[column.metric], floor.metrics[column.metric]))
    ]


def to_markdown(tables: Sequence[Table]) -> str:
    """Return the tables for a person: the best mean of a column is bold, the floor is in italics."""
    if not tables:
        return "No finished run yet: `prefect deployment run train-all` makes some.\n"
    parts = ["Mean ± spread (population) over test captures. SSIM: higher is better. SAM in rad: lower is better."]
    parts += _warn_of_several_test_sets(tables)
    for table in tables:
        parts.append(f"## {table.pair}, test set {_say_test_set(table)}{_say_data(table)}{_say_cameras(table)}")
        parts.append(_markdown_grid(table, (*OURS, *(column for column in (UNSEEN, TRUTH) if _knows(table, column)))))
        parts += tell_noise(table)
        if below := networks_below_floor(table):
            parts.append(f"Not better by SAM than the best regression, the floor: {'; '.join(below)}.")
        parts += _tell_skin(table)
        if any(_knows(table, column) for column in PUBLISHED):
            parts.append("By the rule of the published evaluation code, to hold against the paper's Tables 3 and 4:")
            parts.append(_markdown_grid(table, PUBLISHED))
    return "\n\n".join(parts) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """Return every number in full, one line for each run."""
    names = [column.metric for column in (*OURS, *PUBLISHED)]
    names = [name for metric in names for name in (metric, f"{metric}_std")]
    measured = {name for table in tables for row in table.rows for name in row.metrics}
    names += [name for name in (*_IN_CSV, *(column.metric for column in SKIN)) if name in measured]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["pair", "evaluation", "model", "size", "label", "n_images", "parameters", *names, "run_id"])
    for table in tables:
        for row, label in zip(table.rows, table.labels, strict=True):
            identity = [table.pair, table.evaluation, row.model, row.size, label]
            counts = [row.image_count, row.parameter_count]
            writer.writerow([*identity, *counts, *(row.metrics.get(name, "") for name in names), row.run_id])
    return stream.getvalue()


def to_latex(tables: Sequence[Table]) -> str:
    """Return one `tabular` for each table; booktabs does the lines."""
    return "\n".join(_latex_tabular(table) for table in tables)


def _markdown_grid(table: Table, columns: Sequence[Column]) -> str:
    lines = [["model", *(column.heading for column in columns), "n", "parameters"]]
    best = [find_best(table.rows, column) for column in columns]
    for row, label in zip(table.rows, table.labels, strict=True):
        name = f"*{label}*" if is_floor(row.model) else label
        cells = [
            _emphasise(_cell(row, column, " ± "), row is winner, "**{}**")
            for column, winner in zip(columns, best, strict=True)
        ]
        lines.append([name, *cells, _count(row.image_count), _count(row.parameter_count)])
    return align_table(lines)


def _latex_tabular(table: Table) -> str:
    best = [find_best(table.rows, column) for column in OURS]
    lines = [
        f"% {table.pair}, test set {table.evaluation}",
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        r" & \multicolumn{2}{c}{with background} & \multicolumn{2}{c}{masked} & & \\",
        r"model & SSIM & SAM & SSIM & SAM & $n$ & parameters \\",
        r"\midrule",
    ]
    for row, label in zip(table.rows, table.labels, strict=True):
        cells = [
            _emphasise(_cell(row, column, r" \pm "), row is winner, r"\mathbf{{{}}}")
            for column, winner in zip(OURS, best, strict=True)
        ]
        numbers = [f"${cell}$" if any(map(str.isdigit, cell)) else cell for cell in cells]
        counts = [_count(row.image_count), _count(row.parameter_count)]
        lines.append(" & ".join([_escape_latex(label), *numbers, *counts]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _emphasise(cell: str, is_best: bool, form: str) -> str:
    return form.format(cell) if is_best else cell


def _cell(row: Row, column: Column, between: str) -> str:
    if not _is_scored(row, column):
        return "-"
    spread = row.metrics.get(f"{column.metric}_std") if row.image_count != 1 else None  # one image spreads nowhere
    number = f"{row.metrics[column.metric]:.{column.digits}f}"
    return number if spread is None else f"{number}{between}{spread:.{column.digits}f}"


def place_of(model: str) -> int:
    """Return where a model stands: the regressions from simple to rich, then the networks."""
    order = [f"regression_{kind}" for kind in KINDS]
    return order.index(model) if model in order else len(order)


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def _is_scored(row: Row, column: Column) -> bool:
    return math.isfinite(row.metrics.get(column.metric, math.nan))


def _knows(table: Table, column: Column) -> bool:
    return any(_is_scored(row, column) for row in table.rows)


def tell_noise(table: Table) -> list[str]:
    """Say what the truth itself would score against the measured cubes, where it is known: nobody can do better."""
    row = next((row for row in table.rows if _FLOORS.keys() <= row.metrics.keys()), None)
    if row is None:
        return []
    floors = " and ".join(f"{row.metrics[key]:.{_DIGITS}f} {where}" for key, where in _FLOORS.items())
    return [f"The noise-free cubes themselves would score a SAM of {floors}: that is the noise of the measured ones."]


def _tell_skin(table: Table) -> list[str]:
    """Return what the reconstructions keep of what skin is read for, where that was examined."""
    columns = [column for column in SKIN if _knows(table, column)]
    if not columns:
        return []
    heading = (
        "What is left of the skin: melanin, blood, oxygenation and water read from the reconstruction, against the "
        "same reading of the measured cube; r over the pixels of all people, and within each face:"
    )
    return [heading, _markdown_grid(table, columns), *tell_constant(table), *tell_ties(table)]


def tell_constant(table: Table) -> list[str]:
    """Say how far off one oxygenation for all would be, where that was examined."""
    constants = {row.metrics.get(_CONSTANT) for row in table.rows} - {None}
    if not constants:
        return []
    off_pp = max(filter(None, constants))
    said = f"Saying the same oxygenation for every pixel would be off by {off_pp:.1f} pp: "
    return [said + "whoever is not below that reads none."]


def tell_ties(table: Table) -> list[str]:
    """Name models that are as near by angle and far from each other in melanin."""
    angle, melanin = OURS[3], SKIN[0]
    known = [
        (row.metrics[angle.metric], row.metrics[melanin.metric], label)
        for row, label in zip(table.rows, table.labels, strict=True)
        if _is_scored(row, angle) and _is_scored(row, melanin)
    ]
    said = []
    for (one, keeps, name), (other, loses, other_name) in itertools.combinations(sorted(known, key=lambda k: k[1]), 2):
        if abs(one - other) <= _TIE * min(one, other) and loses >= _DIFFERENT * keeps:
            said.append(
                f"{name} and {other_name} tie in masked SAM ({one:.{_DIGITS}f}, {other:.{_DIGITS}f}) and differ in "
                f"melanin: off by {keeps:.{melanin.digits}f} and {loses:.{melanin.digits}f}."
            )
    return said


def label_row(row: Row, rows: Sequence[Row]) -> str:
    """Name a row by its model and size, and by what tells it from rows of the same model and size."""
    size = "" if row.size in ("full", "closed form") else row.size
    details = [detail for detail in (size, PRETRAINED if row.file else "") if detail]
    name = f"{row.model} ({', '.join(details)})" if details else row.model
    like = [other for other in rows if (other.model, other.size, not other.file) == (row.model, row.size, not row.file)]
    keys = sorted({key for other in like for key in _told(other)})
    differing = [key for key in keys if len({_told(other).get(key) for other in like}) > 1]
    if "file" in differing:
        differing = [key for key in differing if key != "weights"]  # the name says it better than the hash
    return name + "".join(f", {key} {_told(row).get(key, 'unset')}" for key in differing)


def _told(row: Row) -> dict[str, str]:
    return {**row.params, "file": row.file}


def _say_test_set(table: Table) -> str:
    """Return the beginning of the fingerprint, before it the name under which the test set was published."""
    published = sorted({row.test_set for row in table.rows} - {"", "own"})
    return " ".join([*published, table.evaluation[:8]])


def _say_data(table: Table) -> str:
    """Tell a table of the data as they are now from one of other data."""
    return {None: "", True: " (present data)", False: " (other data)"}[table.is_present]


def _say_cameras(table: Table) -> str:
    """Name the camera whose RGB went in: it belongs to a run, not to the test set."""
    camera = table.rows[0].camera
    return f", RGB as by {camera}" if camera else ""


def _warn_of_several_test_sets(tables: Sequence[Table]) -> list[str]:
    pairs = [pair for pair, _ in {(table.pair, table.evaluation) for table in tables}]
    several = [pair for pair in PAIRS if pairs.count(pair) > 1]
    if not several:
        return []
    reason = "the test captures, masks or metric differ, so these scores may not be ranked against each other."
    return [f"{', '.join(several)}: one table for each test set; {reason}"]


def _escape_latex(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&").replace("#", r"\#")


def _split(names: str) -> tuple[str, ...]:
    return tuple(names.split(", ")) if names else ()


def _to_row(run: Any) -> Row:
    params = dict(run.data.params)
    return Row(
        model=params.get("model", ""),
        pair=params.get("pair", ""),
        size=params.get("size", ""),
        params=params,
        evaluation=run.data.tags.get("evaluation", ""),
        metrics=dict(run.data.metrics),
        run_id=run.info.run_id,
        started_ms=int(run.info.start_time),
        test_set=run.data.tags.get("test_set", ""),
        camera=run.data.tags.get("test_camera") or params.get("camera", ""),
        cameras=_split(run.data.tags.get("cameras", "")),
        tested=_split(run.data.tags.get("test_cameras", "")),
        file=run.data.tags.get(PRETRAINED, ""),
    )
