"""All sections in their order, and at the top what they come to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hyperskin.data.manifest import Manifest
from hyperskin.data.test_sets import OWN
from hyperskin.metrics.intervals import clustered_mean
from hyperskin.reporting.bands import bands_section
from hyperskin.reporting.calibration import calibration_section
from hyperskin.reporting.cost import cost_section
from hyperskin.reporting.document import Bullets, Document, Grid, Line, Section, Span, Words, bullets, line, said
from hyperskin.reporting.examination import Examination, by_subject, count_of, image_count, model_cell, score
from hyperskin.reporting.groups import groups_section
from hyperskin.reporting.people import people_section
from hyperskin.reporting.provenance import provenance_section, say_when
from hyperskin.reporting.quality import quality_section
from hyperskin.reporting.scores import TITLES, scores_section
from hyperskin.reporting.skin import skin_section
from hyperskin.reporting.study.section import study_section
from hyperskin.reporting.study.seeds import Pool
from hyperskin.reporting.subjects import differences, subjects_section
from hyperskin.tracking.results import Record, Result, Unfinished


@dataclass(frozen=True)
class Findings:
    """All that the page is made of.

    Attributes:
        manifest: The data as they are.
        is_invented: Whether their source makes people up.
        publishable: Whose pictures may be shown.
        exams: The finished runs on the present test captures, by pair.
        pictures: Files of pictures that were asked for, each with its run.
        unfinished: Runs on them that did not finish.
        others: Number of finished runs on other test captures.
        waiting: What waits on this machine for MLflow, as a sentence; empty for nothing.
        measured: What reconstructions cost, a row a model.
        version: Of this program.
    """

    manifest: Manifest
    is_invented: bool
    publishable: frozenset[str]
    exams: tuple[Examination, ...]
    pictures: tuple[tuple[Result, Path], ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    others: int = 0
    waiting: str = ""
    measured: tuple[Record, ...] = ()
    version: str = field(default="", kw_only=True)


def make_page(found: Findings) -> Document:
    """Return the page.

    Raises:
        DataError: A picture's file is none.
    """
    results = [result for exam in found.exams for result in exam.results]
    test = found.manifest.of_split("test")
    subjects = {entry.id.subject for entry in test}
    pools = [Pool.of(exam) for exam in found.exams]
    lines = [
        line(
            f"How well facial skin spectra are reconstructed, on {count_of(len(test), 'test capture')} of "
            f"{count_of(len(subjects), 'subject')} whom no model saw; source {found.manifest.source}"
            + (", whose people the computer made up" if found.is_invented else "")
            + ("" if found.manifest.test_set == OWN else f"; the published test set {found.manifest.test_set}")
            + f". Data {found.manifest.digest[:12]}, hyperskin {found.version}."
        )
    ]
    if results:
        lines.append(line(f"{count_of(len(results), 'finished run')}, ended {say_when(results)}."))
    return Document(
        title=f"hyperskin report: {found.manifest.source}",
        lines=tuple(lines),
        sections=(
            _summary(found, [pool.exam for pool in pools], test_subjects=subjects),
            *(_pair_section(pool, found) for pool in pools),
            people_section(found.exams, found.pictures, test_subjects=subjects, publishable=found.publishable),
            quality_section(found.manifest),
            provenance_section(found.exams, present_digest=found.manifest.digest),
        ),
    )


def _pair_section(pool: Pool, found: Findings) -> Section:
    """Return all about one pair; trainings that differ in their seed alone stand there as one, by their means."""
    exam = pool.exam
    cameras = sorted({result.row.camera or result.row.params.get("camera", "") for result in exam.results} - {""})
    about = [line(f"RGB as by {', '.join(cameras)}.")] if cameras else []
    if pool.is_repeated:
        about.append(line("Trainings that differ in their seed alone are one row: means over seeds."))
    is_study = pool.is_repeated or pool.is_exposed
    study = [study_section(pool, found.measured, title="Seeds, light and cost")] if is_study else []
    return Section(
        TITLES[exam.pair.name] + exam.name.removeprefix(exam.pair.name),
        exam.anchor,
        (
            *about,
            scores_section(
                exam,
                source=found.manifest.source,
                is_invented=found.is_invented,
                test_set=found.manifest.test_set,
            ),
            subjects_section(exam, compares=not is_study),
            *study,
            bands_section(exam),
            groups_section(exam),
            skin_section(exam),
            calibration_section(exam),
            cost_section(exam, draws=not is_study),
        ),
    )


def _summary(found: Findings, exams: Sequence[Examination], *, test_subjects: Collection[str]) -> Section:
    if not exams:
        blocks: list[object] = [
            said("No finished run on the present data yet: `prefect deployment run train-all` makes some.")
        ]
    else:
        told = [line(each) for exam in exams for each in _tell(exam)]
        blocks = [_best(exams), *([bullets(*told)] if told else [])]
    return Section("In short", "summary", (*blocks, *_tell_left_out(found, test_subjects)))


def _best(exams: Sequence[Examination]) -> Grid:
    """Return the best network of every pair beside the best regression."""
    rows = []
    for exam in exams:
        pair = (exam.best_network, exam.best_floor)
        names: list[Words] = ["none" if result is None else model_cell(result) for result in pair]
        scores = ["-" if result is None else _say_score(exam, result) for result in pair]
        rows.append((exam.name, *names, *scores, "-" if exam.best is None else image_count(exam.best)))
    column = exams[0].deciding
    return Grid(
        caption=f"Lowest {column.heading} in rad, with its 95 % interval over subjects. Pairs do not compare.",
        heading=("pair", "best network", "best regression, the floor", "network", "regression", "n"),
        rows=tuple(rows),
        left=3,
    )


def _say_score(exam: Examination, result: Result) -> str:
    values = {who: list(own.values()) for who, own in by_subject(result, exam.deciding.metric).items()}
    mean = score(result, exam.deciding.metric)
    words = f"{mean:.4f}" if math.isfinite(mean) else "-"
    interval = clustered_mean(values) if values else None
    if interval is None or interval.low is None or interval.high is None:
        return words
    return f"{words} ({interval.low:.4f} to {interval.high:.4f})"


def _tell(exam: Examination) -> Iterator[str]:
    """Say of a pair how the networks stand to the floor, and whether that is more than chance."""
    floor, key = exam.best_floor, exam.deciding.metric
    if floor is None or not exam.networks:
        return
    better = [result for result in exam.networks if score(result, key) < score(floor, key)]
    others = differences([result for result in exam.results if result is not floor], floor, exam.deciding)
    clear = [each for each in others if each.is_clear and each.result in better]
    networks = count_of(len(exam.networks), "network")
    words = f"{exam.name}: {len(better)} of {networks} better than {floor.label} by the mean"
    if better:
        words += f", {len(clear)} of them beyond chance"
    yield f"{words}."


def _tell_left_out(found: Findings, test_subjects: Collection[str]) -> Iterator[Line | Bullets]:
    """Say what is not on the page, so that nobody takes it for all there is."""
    left_out = []
    for (pair, model, status), count in sorted(
        Counter((run.pair, run.model, run.status) for run in found.unfinished).items()
    ):
        times = f", {count} times" if count > 1 else ""
        left_out.append(line(f"Not finished: {model} on {pair} ({status}{times})."))
    if found.others:
        others = count_of(found.others, "finished run")
        left_out.append(said(f"{others} on other test captures, masks or metrics: `hyperskin compare` has them."))
    if found.waiting:
        left_out.append(said(found.waiting))
    if refused := len(set(test_subjects) - found.publishable):
        left_out.append(line(f"Pictures of {count_of(refused, 'test subject')} who did not consent to be shown."))
    if left_out:
        yield line(Span("Left out of this page", style="strong"))
        yield Bullets(tuple(left_out))
