"""Runs are read with all they hold, from our file and from a server, and what is gone is gone."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from mlflow import MlflowClient

from hyperskin.errors import ServiceError
from hyperskin.tracking.compare import make_tables, read_rows
from hyperskin.tracking.results import fetched_pictures, read_results, read_unfinished
from hyperskin.tracking.store import ARTIFACTS

ROWS = [{"image": "p001_smile_left", "subject": "p001", "sam/masked": 0.1, "psnr/masked": float("nan")}]


@pytest.fixture
def full(start, scores):
    """A finished run with epochs, a table and a picture."""
    with start() as run:
        for step, value in ((1, 0.3), (2, 0.2)):
            run.log_epoch({"val_sam/masked": value, "val_sam/full": 1.0}, step)
        run.log_summary(scores)
        run.log_tables({"per_image": ROWS})
        pixels = np.full((8, 12, 3), 7, np.uint8)
        run.log_picture(pixels, "sheet_p001_smile_left", subjects=["p001"], publishable=["p001"])
    return run.run_id


def _read(uri):
    [[result]] = read_results(uri, make_tables(read_rows(uri)))
    return result


def test_a_run_is_read_whole(uri, full, provenance):
    result = _read(uri)
    assert (result.row.run_id, result.label) == (full, "mst_plus_plus")
    assert (result.curve_key, result.curve) == ("val_sam/masked", ((1, 0.3), (2, 0.2)))
    assert result.tables == {"per_image": [{"image": "p001_smile_left", "subject": "p001", "sam/masked": 0.1}]}
    assert result.pictures == ("sheet_p001_smile_left.png",)
    assert result.tags["manifest"] == provenance.manifest
    assert result.ended_ms == MlflowClient(uri).get_run(full).info.end_time


def test_what_a_training_had_taken_comes_with_its_curve(uri, start, scores):
    with start() as run:
        for epoch in (1, 2):
            taken = {"train/steps": 50.0 * epoch, "train/seconds": 1.5 * epoch}
            run.log_epoch({"val_sam/masked": 0.3, **taken}, epoch)
        run.log_summary(scores)
    result = _read(uri)
    assert result.steps == ((1, 50.0), (2, 100.0))
    assert result.seconds == ((1, 1.5), (2, 3.0))


def test_a_run_that_does_not_say_what_it_took_has_its_curve(uri, full):
    result = _read(uri)
    assert (result.steps, result.seconds) == ((), ())


def test_a_regression_is_validated_and_has_no_curve(uri, start, scores):
    with start(model="regression_linear") as run:
        run.log_summary({**scores, "val_sam/masked": 0.25})
    result = _read(uri)
    assert (result.curve_key, result.curve) == ("", ())
    assert result.row.metrics["val_sam/masked"] == 0.25


def test_a_picture_is_there_for_as_long_as_it_is_needed(uri, full):
    with fetched_pictures(uri, [(_read(uri), "sheet_p001_smile_left.png")]) as [path]:
        assert path.name == "sheet_p001_smile_left.png"
        assert path.read_bytes().startswith(b"\x89PNG")
    assert not path.exists()


def test_a_run_whose_files_are_gone_keeps_its_numbers(uri, root, full, scores):
    shutil.rmtree(root / ARTIFACTS)
    result = _read(uri)
    assert (result.tables, result.pictures) == ({}, ())
    assert result.row.metrics["sam/masked"] == scores["sam/masked"]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"columns": ["a"], "data": [[1, 2]]})])
def test_a_file_that_is_no_table_is_left_out(uri, root, full, content, caplog):
    [path] = (root / ARTIFACTS).rglob("per_image.json")
    path.write_text(content)
    assert _read(uri).tables == {}
    assert "per_image.json is left out: it holds no table" in caplog.text


def test_what_did_not_finish_is_told(uri, start, full, provenance):
    with (
        pytest.raises(KeyboardInterrupt),
        start(model="hrnet", provenance=dataclasses.replace(provenance, unit_key="2")),
    ):
        raise KeyboardInterrupt
    [found] = read_unfinished(uri, {provenance.evaluation})
    assert (found.model, found.pair, found.status) == ("hrnet", "rgb_vis", "KILLED")
    assert read_unfinished(uri, {"another test set"}) == []


def test_a_store_that_is_away_is_a_sentence(uri, full, dead_uri):
    tables = make_tables(read_rows(uri))
    for read in (lambda: read_results(dead_uri, tables), lambda: read_unfinished(dead_uri, set())):
        with pytest.raises(ServiceError, match="must answer"):
            read()
