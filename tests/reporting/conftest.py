"""Runs and a manifest made by hand: what a page is made of, without a store."""

import itertools
import math

import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest
from hyperskin.metrics.summary import CaptureScores, summarise
from hyperskin.pairs import find_pair
from hyperskin.reporting.examination import Examination
from hyperskin.reporting.page import Findings
from hyperskin.tracking.compare import Row, make_tables
from hyperskin.tracking.results import Result

SUBJECTS = ("p001", "p002", "p003")
CAPTURES = ("neutral_front", "smile_left")


@pytest.fixture
def make_result():
    """Return a function that makes a finished run; `angles` are SAM by subject, the same for each of its captures."""
    numbers = itertools.count(1)

    def make(
        model="hrnet", angles=None, *, pair="rgb_vis", label=None, masks=True, tables=None, pictures=(), params=None,
        captures=CAPTURES, evaluation="e" * 64, curve=(), **metrics,
    ):  # fmt: skip
        number = next(numbers)
        angles = angles or {"p001": 0.1, "p002": 0.12, "p003": 0.2}
        regions = ("masked", "full") if masks else ("full",)
        bands = find_pair(pair).target
        scores = []
        for subject, angle in angles.items():
            for place, name in enumerate(captures):
                values = {}
                for region in regions:
                    values |= {f"sam/{region}": angle + 0.001 * place, f"ssim/{region}": 1 - angle}
                    values |= {f"sam/published_{region}": angle, f"ssim/published_{region}": 1 - angle / 2}
                bands_of = {
                    f"{metric}/{region}": [math.exp(-angle * k) for k in range(len(bands))]
                    for metric in ("ssim", "rmse")
                    for region in regions
                }
                capture = CaptureId.parse(f"{subject}_{name}") if subject.startswith("p0") else None
                expression, direction = (capture.expression, capture.direction) if capture else (None, None)
                scores.append(CaptureScores(f"{subject}_{name}", subject, expression, direction, values, bands_of, {}))
        summary = summarise(scores)
        own = {
            "per_image": summary.per_image,
            "per_subject": summary.per_subject,
            "per_band": summary.per_band(bands.wavelength_nm),
            "per_expression": summary.per_expression,
            "per_direction": summary.per_direction,
        }
        row = Row(
            model=model,
            pair=pair,
            size="full",
            params={"model": model, "pair": pair, "size": "full", "camera": "cie", **(params or {})},
            evaluation=evaluation,
            metrics={**summary.metrics, "cost/parameters": 1234.0, "cost/training_s": 5.0, **metrics},
            run_id=f"{number:x}".ljust(32, "0"),
            started_ms=1_700_000_000_000 + number,
            camera=(params or {}).get("camera", "cie"),
        )
        return Result(
            row=row,
            label=label or model,
            ended_ms=1_700_000_060_000 + number,
            tags={
                "manifest": "d" * 64,
                "split": "s" * 64,
                "evaluation": evaluation,
                "code": "c" * 64,
                "params": f"{number:064x}",
                "git.commit": "a" * 40,
                "git.dirty": "true",
                "environment.device": "cpu",
            },
            tables={name: rows for name, rows in own.items() if rows} if tables is None else tables,
            curve_key="val_sam/masked" if curve else "",
            curve=tuple(curve),
            files="",
            pictures=tuple(pictures),
        )

    return make


@pytest.fixture
def examine_all():
    """Return a function that puts runs together, those of one pair, test set and camera in one examination."""

    def put(*results):
        tables = make_tables([result.row for result in results])
        by_id = {result.row.run_id: result for result in results}
        return Examination.of_all(tables, [[by_id[row.run_id] for row in table.rows] for table in tables])

    return put


@pytest.fixture
def examine(examine_all):
    """Return a function that puts runs of one pair, test set and camera together."""

    def put(*results):
        [exam] = examine_all(*results)
        return exam

    return put


@pytest.fixture
def make_manifest(tmp_path):
    """Return a function that makes a manifest of small captures; nothing of it lies on the disk."""

    def entry(name, split, mask):
        capture = CaptureId.parse(name)
        file = FileEntry(f"x/{name}", 3, "0" * 64)
        facts = {
            "range": {"vis": [-0.01, 1.2]},
            "wavelength_nm": {"vis": [400.0, 410.0]},
            "calibrate": {"counts": {"invalid": 2, "repaired": 5}, "snr_db": {"vis": [12.5, None]}, "notes": {}},
            "render": {"clipped": {"cie": 1}},
            "mask": {"origin": "given" if mask else "none", "pixel_count": 100 if mask else 0},
        }
        contents = {"vis": f"v{name}", "valid": f"m{name}"}
        return CaptureEntry(capture, split, file, file, file if mask else None, (24, 32), contents, facts)

    def make(test=SUBJECTS, *, source="lumo", masks=True):
        names = [(f"{who}_{name}", "test") for who in test for name in CAPTURES]
        names += [("p008_neutral_front", "train"), ("p009_neutral_front", "valid")]
        captures = {name: entry(name, split, masks) for name, split in names}
        return Manifest(tmp_path, source, {"calibrate": {"repair": True}}, captures, "d" * 64)

    return make


@pytest.fixture
def find(make_manifest):
    """Return a function that says what a page is made of, the fields that matter to a test by keyword."""

    def put(*exams, **fields):
        known = {"manifest": make_manifest(), "is_invented": False, "publishable": frozenset(), "version": "0"}
        return Findings(exams=exams, **{**known, **fields})

    return put
