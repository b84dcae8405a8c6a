"""The study as a document of its own, and as files: study.md, its figures, a CSV file for every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperskin.atomic import write_text
from hyperskin.pictures import save_figure
from hyperskin.reporting.document import Document, Drawing, Grid, Section, line, said, text_of
from hyperskin.reporting.examination import count_of, run_anchor
from hyperskin.reporting.markdown import to_markdown
from hyperskin.reporting.provenance import say_when
from hyperskin.reporting.study.numbers import Rows, to_csv
from hyperskin.reporting.study.section import scores_grid, study_section
from hyperskin.reporting.study.seeds import Pool
from hyperskin.tracking.grid import align_table
from hyperskin.tracking.results import Record, Result

TEXT = "study.md"
FIGURES = "figures"


def make_study(pools: Sequence[Pool], measured: Sequence[Record], *, source: str, digest: str) -> Document:
    """Return the study of all pairs.

    Args:
        pools: The groups of every pair.
        measured: Rows of what reconstructions cost.
        source: What the data are called.
        digest: Of the manifest.
    """
    runs = [run for pool in pools for group in pool.groups for run in group.members]
    lines = [
        line(
            f"Several seeds, other light, cost: {count_of(len(runs), 'finished run')} on {source}, data {digest[:12]}."
        )
    ]
    if runs:
        lines.append(line(f"They ended {say_when(runs)}."))
        sections = [*(study_section(pool, measured, title=pool.exam.name) for pool in pools), _runs(pools)]
    else:
        lines.append(said("No finished run on the present data yet: `prefect deployment run train-all` makes some."))
        sections = []
    return Document("hyperskin study", tuple(lines), tuple(sections))


def write_study(document: Document, tables: Mapping[str, Rows], folder: Path) -> Path:
    """Write all of it and return the path of the text; figures and tables of an earlier study go.

    Args:
        document: The study.
        tables: Its numbers by name.
        folder: Gets study.md, a CSV file for every table, and the folder figures.
    """
    names = {}
    for drawing in document.pictures():
        assert isinstance(drawing, Drawing), "a study shows nobody"
        names[drawing.name] = f"{drawing.name}.png"
        save_figure(drawing.figure, path=folder / FIGURES / names[drawing.name])
    for name, rows in tables.items():
        write_text(folder / f"{name}.csv", to_csv(rows))
    write_text(folder / TEXT, to_markdown(document, {name: f"{FIGURES}/{file}" for name, file in names.items()}))
    kept = {folder / FIGURES / file for file in names.values()} | {folder / f"{name}.csv" for name in tables}
    for path in {*folder.glob("*.csv"), *folder.glob(f"{FIGURES}/*.png")} - kept:
        path.unlink()
    return folder / TEXT


def main_tables(pools: Sequence[Pool]) -> str:
    """Return the table of scores of every pair, for a terminal, where no link leads anywhere."""
    parts = []
    for pool in pools:
        grid = scores_grid(pool)
        heading = [
            f"{above}: {text}" if above else text for above, text in zip(_above(grid), grid.heading, strict=True)
        ]
        rows = [[text_of(cell) for cell in row] for row in grid.rows]
        parts += [pool.exam.name, align_table([heading, *rows])]
    return "\n\n".join(parts) or "No finished run on the present data yet."


def _above(grid: Grid) -> list[str]:
    """Return the heading above every column."""
    return [text for text, count in grid.over for _ in range(count)]


def _runs(pools: Sequence[Pool]) -> Section:
    """Return which runs stand behind every model; a model's name in a table leads here."""
    grids: list[object] = []
    for pool in pools:
        rows = [
            (group.mean.label, ", ".join(filter(None, group.seeds)) or "none", _ids(group.members))
            for group in pool.groups
        ]
        anchors = tuple(run_anchor(group.mean) for group in pool.groups)
        heading = ("model", "seeds", "runs")
        grids.append(
            Grid(
                f"Runs of {pool.exam.name}, in the order of their seeds.", heading, tuple(rows), left=3, anchors=anchors
            )
        )
    return Section("Runs", "runs", tuple(grids))


def _ids(members: Sequence[Result]) -> str:
    return ", ".join(member.row.run_id for member in members)
