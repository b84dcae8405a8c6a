"""Where every number comes from: its run, and the data, code, commit and parameters behind it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hyperskin.reporting.document import Grid, Section, Span, Words, bullets, line
from hyperskin.reporting.examination import Examination, run_anchor
from hyperskin.tracking.results import Result

_SHORT = 10
_DIGESTS = {
    "manifest": "data",
    "split": "split",
    "evaluation": "test set",
    "code": "code",
    "git.commit": "commit",
    "git.diff": "not committed",
}
_MACHINE = {"environment.python": "Python", "environment.torch": "torch", "environment.mlflow": "MLflow"}
_IN_TABLE = ("model", "pair", "size")  # parameters that the label says


def provenance_section(exams: Sequence[Examination], *, present_digest: str) -> Section:
    """Return a line for each run that numbers link to, its parameters, and every digest in full."""
    results = [result for exam in exams for result in exam.results]
    if not results:
        return Section("Where the numbers come from", "provenance", (line("There is no run."),))
    blocks: list[object] = [
        line(
            "Every model's name in a table leads to its line here. A run with another data digest than the present one "
            "was trained on other data, though examined on the same test captures."
        ),
        *(_runs(exam, present_digest) for exam in exams),
        _parameters(exams),
        line("Digests in full; the tables have their first digits:"),
        bullets(*(line(f"{what} ", Span(value, style="code"), f": {runs}") for what, value, runs in _digests(results))),
        line(f"Made with {_say_versions(results)}."),
    ]
    return Section("Where the numbers come from", "provenance", tuple(blocks))


def say_when(results: Sequence[Result]) -> str:
    """Return when the runs ended: the only date of the page, so that the same runs make the same page."""
    ends = sorted(result.ended_ms for result in results)
    first, last = (datetime.fromtimestamp(end / 1000, UTC).strftime("%Y-%m-%d %H:%M") for end in (ends[0], ends[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"


def _runs(exam: Examination, present_digest: str) -> Grid:
    rows: list[tuple[Words, ...]] = []
    for result in exam.results:
        tags = result.tags
        data = _short(tags.get("manifest")) + ("" if tags.get("manifest") == present_digest else " (other)")
        commit = _short(tags.get("git.commit")) + (" + edits" if tags.get("git.dirty") == "true" else "")
        row: tuple[Words, ...] = (
            result.label,
            Span(result.row.run_id, style="code"),
            say_when([result]).removesuffix(" UTC"),
            *(
                Span(text, style="code")
                for text in (data, _short(tags.get("code")), commit, _short(tags.get("params")))
            ),
        )
        rows.append(row)
    return Grid(
        caption=f"Runs of {exam.name}, test set {exam.table.evaluation[:_SHORT]}.",
        heading=("model", "run", "ended, UTC", "data", "code", "commit", "parameters"),
        rows=tuple(rows),
        left=7,
        anchors=tuple(run_anchor(result) for result in exam.results),
    )


def _parameters(exams: Sequence[Examination]) -> Grid:
    """Return the parameters of every run; those of one model on all pairs are told once if they are the same."""
    told: dict[tuple[str, str], list[str]] = {}
    for exam in exams:
        for result in exam.results:
            values = ", ".join(
                f"{name} {value}" for name, value in sorted(result.row.params.items()) if name not in _IN_TABLE
            )
            told.setdefault((result.label, values), []).append(exam.name)
    rows = tuple((label, ", ".join(pairs), values or "none") for (label, values), pairs in told.items())
    return Grid("Parameters of the runs.", ("model", "pairs", "parameters"), rows, left=3)


def _digests(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """Return every digest once, with how many runs have it."""
    found: dict[tuple[str, str], int] = {}
    for tag, what in _DIGESTS.items():
        for result in results:
            if value := result.tags.get(tag):
                found[what, value] = found.get((what, value), 0) + 1
    return [(what, value, f"{count} of {len(results)} runs") for (what, value), count in found.items()]


def _say_versions(results: Sequence[Result]) -> str:
    parts = []
    for tag, what in _MACHINE.items():
        versions = sorted({result.tags[tag] for result in results if tag in result.tags})
        parts.append(f"{what} {', '.join(versions) or 'unknown'}")
    return "; ".join(parts)


def _short(value: str | None) -> str:
    return value[:_SHORT] if value else "none"
