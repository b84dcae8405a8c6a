import dataclasses
import json
import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from hyperskin.errors import ConsentError, DataError, VersionError
from hyperskin.tracking import courier
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.identity import log_data
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.runs import require_text
from hyperskin.tracking.store import find_finished

FACE = np.zeros((24, 32, 3), np.uint8)


def _read(uri, run_id):
    return MlflowClient(uri).get_run(run_id)


def _artifacts(uri, run_id, folder=None):
    return sorted(entry.path for entry in MlflowClient(uri).list_artifacts(run_id, folder))


def _text(uri, run_id, name, tmp_path):
    return Path(MlflowClient(uri).download_artifacts(run_id, name, str(tmp_path))).read_text()


def _cut_short(run, metrics=None):
    with pytest.raises(KeyboardInterrupt), run:  # noqa: PT012 - the numbers must be sent before the end
        run.log_epoch(metrics or {}, 0)
        raise KeyboardInterrupt
    return run.run_id


def _with_key(start, provenance, key, **fields):
    return start(provenance=dataclasses.replace(provenance, unit_key=key), **fields)


# one run


def test_run_says_what_was_trained_on_what(uri, start, provenance):
    params = {"learning_rate": 0.00044, "seed": 3, "augment": True}
    with start(params=params, size="stages 1") as log:
        pass
    run = _read(uri, log.run_id)
    assert run.info.run_name == "mst_plus_plus-rgb_vis (stages 1)"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "model": "mst_plus_plus",
        "pair": "rgb_vis",
        "size": "stages 1",
        "learning_rate": "0.00044",
        "seed": "3",
        "augment": "True",
    }
    tags = run.data.tags
    assert {key: tags[key] for key in dataclasses.asdict(provenance)} == dataclasses.asdict(provenance)
    assert {"git.commit", "environment.python", "environment.torch", "environment.device"} <= set(tags)
    assert "**mst_plus_plus** on **rgb_vis**" in tags["mlflow.note.content"]
    found = [(given.dataset.name, given.dataset.digest, given.tags[0].value) for given in run.inputs.dataset_inputs]
    assert sorted(found) == [("phantom", "manifest-a", "training"), ("phantom test captures", "test-set-a", "test")]


def test_runs_that_bring_the_same_new_data_at_once_all_get_it(uri, finish):
    run_id = finish()
    for turn in range(3):  # one process hardly ever meets the moment; eight threads meet it often
        barrier = threading.Barrier(8)

        def bring(turn=turn, barrier=barrier):
            client = MlflowClient(uri)
            barrier.wait()
            log_data(client.log_inputs, run_id, [["phantom", f"new-{turn}", "training"]])

        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(bring) for _ in range(8)]:
                future.result()
        assert f"new-{turn}" in {given.dataset.digest for given in _read(uri, run_id).inputs.dataset_inputs}


def test_full_size_does_not_stand_in_the_name(uri, finish):
    run = _read(uri, finish())
    assert run.info.run_name == "mst_plus_plus-rgb_vis"
    assert run.data.params["size"] == "full"


def test_epochs_keep_their_order(uri, start):
    with start() as log:
        for epoch, value in enumerate((0.3, 0.2, 0.1)):
            log.log_epoch({"val_sam/masked": value, "train/loss": value / 2}, epoch)
    history = MlflowClient(uri).get_metric_history(log.run_id, "val_sam/masked")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.3), (1, 0.2), (2, 0.1)]


def test_epochs_wait_while_mlflow_is_away_and_none_is_lost(uri, start, monkeypatch, caplog, wait_until):
    real, answers = MlflowClient.log_batch, [True, False, False]

    def log_batch(self, *args, **kwargs):
        if kwargs.get("metrics") and answers and not answers.pop(0):
            raise ConnectionError("connection refused")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    with start() as log:
        for epoch in range(4):
            log.log_epoch({"val_sam/masked": 1.0 - epoch / 10}, epoch)
            wait_until(lambda: len(answers) < 3)
    history = MlflowClient(uri).get_metric_history(log.run_id, "val_sam/masked")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.0), (1, 0.9), (2, 0.8), (3, 0.7)]
    assert log.delivered
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "for now: connection refused" in warning.getMessage()


def test_more_numbers_than_mlflow_takes_at_once_all_arrive(uri, finish):
    many = {f"per_subject/p{number:03d}": number / 10 for number in range(250)}
    assert _read(uri, finish(many)).data.metrics == many


def test_scores_that_mlflow_does_not_take_leave_the_run_unfinished_there_and_whole_here(
    uri, root, start, provenance, monkeypatch, wait_until
):
    def refuse(self, *args, **kwargs):
        raise ConnectionError("connection refused")

    with monkeypatch.context() as away, start() as log:
        wait_until(lambda: log.run_id)
        away.setattr(MlflowClient, "log_batch", refuse)
        away.setattr(courier, "PATIENCE_S", 0.3)
        log.log_summary({"sam/full": 0.1})
    assert not log.delivered
    assert "run `hyperskin sync`" in courier.say_kept()
    assert find_finished(uri, [provenance.unit_key]) == {}
    assert deliver(Journal(root, provenance.unit_key), uri).is_whole
    assert find_finished(uri, [provenance.unit_key]) == {provenance.unit_key: log.run_id}
    assert _read(uri, log.run_id).data.metrics == {"sam/full": 0.1}


def test_scores_stand_in_the_description(uri, finish, scores):
    run = _read(uri, finish())
    assert run.data.metrics == scores
    note = run.data.tags["mlflow.note.content"]
    assert "| SAM in rad, lower is better | 0.1200 | 0.1000 ± 0.0100 |" in note
    assert "over 6 captures" in note


def test_number_that_is_none_becomes_a_tag(uri, finish):
    run = _read(uri, finish({"psnr/full": math.inf, "sam/full": 0.1}))
    assert run.data.metrics == {"sam/full": 0.1}
    assert run.data.tags["not_finite/psnr/full"] == "inf"


def test_table_leads_with_its_rows_name_and_the_masked_angle(uri, start, tmp_path):
    rows = [
        {"image": "p001_neutral_front", "expression": "neutral", "ssim/full": 0.9, "sam/full": 0.2, "sam/masked": 0.1},
        {"image": "p001_smile_front", "expression": "smile", "ssim/full": math.nan},
    ]
    with start() as log:
        log.log_tables({"per_image": rows})
    table = json.loads(_text(uri, log.run_id, "per_image.json", tmp_path))
    assert table["columns"] == ["image", "sam/masked", "sam/full", "ssim/full", "expression"]
    assert table["data"] == [
        ["p001_neutral_front", 0.1, 0.2, 0.9, "neutral"],
        ["p001_smile_front", None, None, None, "smile"],
    ]
    shown = json.loads(_read(uri, log.run_id).data.tags["mlflow.loggedArtifacts"])
    assert shown == [{"path": "per_image.json", "type": "table"}]


def test_table_of_pixels_is_refused(start):
    with start() as log, pytest.raises(DataError, match="only text and numbers; got list"):
        log.log_tables({"per_image": [{"image": "p001", "pixels": [0.1, 0.2]}]})


# how it ends


@pytest.mark.parametrize(
    ("error", "status"),
    [(DataError("diverged"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")],
)
def test_run_that_is_cut_short_says_so_and_is_not_finished(uri, start, provenance, error, status):
    with pytest.raises(type(error)), start() as log:
        raise error
    run = _read(uri, log.run_id)
    assert run.info.status == status
    assert run.data.tags["ended_by"] == type(error).__name__
    assert find_finished(uri, [provenance.unit_key]) == {}


def test_unfinished_unit_is_taken_up_in_the_same_run(uri, start, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("hyperskin.tracking.runs._STOPPED_PATIENCE_S", 15.0)  # how long is waited is no part of this
    first = _cut_short(start(), {"val_sam/masked": 0.3})
    with start() as second:
        second.log_epoch({"val_sam/masked": 0.2}, 1)
    assert "the run is taken up again after 1 epoch" in caplog.messages
    assert second.run_id == first
    assert _read(uri, first).info.status == "FINISHED"
    assert len(MlflowClient(uri).get_metric_history(first, "val_sam/masked")) == 2


def test_run_is_not_taken_up_with_other_parameters(start):
    _cut_short(start(params={"seed": 1}))
    with pytest.raises(VersionError, match="its own parameters"), start(params={"seed": 2}):
        pass


def test_another_unit_is_another_run(start, provenance):
    first = _cut_short(_with_key(start, provenance, "one"))
    with _with_key(start, provenance, "two") as second:
        pass
    assert first != second.run_id


# what may be sent


def test_curves_are_sent(uri, start):
    figure = Figure()
    figure.subplots().plot([1, 2])
    with start() as log:
        log.log_figure(figure, "per_band")
    assert _artifacts(uri, log.run_id, "figures") == ["figures/per_band.png"]


def test_picture_of_a_publishable_subject_is_sent(uri, start):
    with start() as log:
        assert log.log_picture(FACE, "p003", subjects=["p003"], publishable=["p003"])
    assert _artifacts(uri, log.run_id, "pictures") == ["pictures/p003.png"]


def test_picture_of_anyone_else_is_left_out_and_counted_without_a_name(uri, start):
    with start() as log:
        assert not log.log_picture(FACE, "sheet", subjects=["p004"], publishable=["p003"])
    run = _read(uri, log.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["pictures_without_consent"] == "1"
    assert _artifacts(uri, log.run_id) == []
    assert "p004" not in json.dumps(run.data.tags)


def test_figure_that_holds_an_image_is_not_sent_as_curves(start):
    figure = Figure()
    figure.subplots().imshow(FACE)
    with start() as log, pytest.raises(ConsentError, match="save_picture"):
        log.log_figure(figure, "per_band")


def test_text_file_is_sent(uri, start, tmp_path):
    (tmp_path / "params.yaml").write_text("train: {}\n")
    with start() as log:
        log.log_file(tmp_path / "params.yaml")
    assert _artifacts(uri, log.run_id) == ["params.yaml"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("face.png", b"\x89PNG\r\n\x1a\n"),
        ("cube.h5", b"\x89HDF"),
        ("face.txt", b"\x89PNG\r\n\x1a\n\xff"),
        ("cube.json", b"\x93NUMPY\x01\x00"),
        ("zeros.csv", b"\0" * 99),
    ],
)
def test_what_is_no_text_by_name_and_content_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="Only text may be logged"):
        require_text(tmp_path / name)
