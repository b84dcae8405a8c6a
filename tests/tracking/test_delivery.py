"""What MLflow has in the end does not depend on how often, by whom and through which accidents it was delivered."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from hyperskin.errors import DataError, MissingFileError, VersionError
from hyperskin.models.baselines import build
from hyperskin.pairs import find_pair
from hyperskin.tracking import courier, weights
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.journal import FAILED, FINISHED, KILLED, Cursor, Journal
from hyperskin.tracking.promotion import Promotion
from hyperskin.tracking.records import Begin, End, File, Metrics, Tags
from hyperskin.tracking.store import STORE, SWEEPS, experiment_id
from tests.mlflow_server import lose_runs

CALLS = (
    "get_experiment_by_name",
    "search_runs",
    "get_run",
    "create_run",
    "update_run",
    "log_batch",
    "log_inputs",
    "log_artifact",
    "set_tag",
    "set_terminated",
)
MODEL = {
    "pair": find_pair("rgb_vis"),
    "model": "hscnn_plus",
    "config": {"blocks": 2},
    "parameter_count": 868,
    "size_multiple": 8,
}
MANY = {f"per_subject/p{number:03d}": number / 10 for number in range(2500)}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def write(root):
    """Write the journal of a run: two attempts, of which the first was killed, and an end, unless told otherwise."""

    def make(key, *, end=FINISHED, parent="", experiment="hyperskin", process="host:2:9") -> Journal:
        journal = Journal(root, key)
        tags = {"mlflow.note.content": "about", "manifest": "m", "code": "c"}
        about = {"params": {"seed": "1"}, "data": [["phantom", "digest", "training"]], "experiment": experiment}
        begin = Begin(name=f"run of {key}", **about, tags=tags, parent=parent, process="host:1:9", time_ms=1_000_000)
        journal.begin(begin)
        for epoch in range(3):
            journal.append(Metrics(epoch, 1_001_000 + epoch, {"val": 1.0 - epoch, "loss": 0.1 * epoch}, is_epoch=True))
        journal.append(Tags({"not_finite/psnr": "inf"}))
        if end is None:
            return journal
        journal.append(End(KILLED, "KeyboardInterrupt", 1_002_000))
        journal.begin(dataclasses.replace(begin, process=process, time_ms=1_003_000))
        journal.append(Metrics(3, 1_004_000, {"val": 0.5, "loss": 0.0}, is_epoch=True))
        for folder, name in (("", "table.json"), ("figures", "curve.json")):
            path = journal.file_path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([key[:1], name]))
            journal.append(File(folder, name))
        journal.append(Metrics(0, 1_005_000, {"sam/masked": 0.1}, is_epoch=False))
        journal.append(Tags({"mlflow.note.content": "scores"}))
        journal.append(End(end, "" if end == FINISHED else "DataError", 1_006_000))
        return journal

    return make


@pytest.fixture
def network():
    """A small network that can be built again by its name."""
    torch.manual_seed(0)
    return build("hscnn_plus", in_channels=3, out_channels=31, blocks=2)


def _runs(uri, key, view=ViewType.ACTIVE_ONLY, experiment="hyperskin"):
    return MlflowClient(uri).search_runs([experiment_id(uri, experiment)], f"tags.unit_key = '{key}'", view)


def _hash(uri, run_id, path):
    return hashlib.sha256(Path(MlflowClient(uri).download_artifacts(run_id, path)).read_bytes()).hexdigest()


def _content(uri, key):
    """Return all that MLflow has of a unit, without the names that differ between units."""
    client = MlflowClient(uri)
    [run] = _runs(uri, key)
    run = client.get_run(run.info.run_id)  # which brings its inputs
    history = {
        name: [(each.step, each.timestamp, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    places = [*client.list_artifacts(run.info.run_id), *client.list_artifacts(run.info.run_id, "figures")]
    files = {place.path: _hash(uri, run.info.run_id, place.path) for place in places if not place.is_dir}
    tags = {
        name: value for name, value in run.data.tags.items() if name not in ("unit_key", "journal", "mlflow.runName")
    }
    inputs = [(given.dataset.name, given.dataset.digest, given.tags[0].value) for given in run.inputs.dataset_inputs]
    times = (run.info.status, run.info.start_time, run.info.end_time)
    return {"numbers": history, "params": run.data.params, "tags": tags, "files": files, "data": inputs, "times": times}


def _kill_at(monkeypatch, count, *, is_before):
    """Let the delivery die at its `count`-th request, before it is sent or after it was answered."""
    told = []

    def wrap(name):
        real = getattr(MlflowClient, name)

        def call(self, *arguments, **fields):
            told.append(name)
            if is_before and len(told) == count:
                raise Killed
            answer = real(self, *arguments, **fields)
            if not is_before and len(told) == count:
                raise Killed
            return answer

        monkeypatch.setattr(MlflowClient, name, call)

    for name in CALLS:
        wrap(name)
    return told


# once, however often


def test_everything_arrives_with_its_own_times(uri, write):
    journal = write("unit")
    delivered = deliver(journal, uri)
    assert (delivered.left, delivered.sent, delivered.reason) == (0, 13, "")
    found = _content(uri, "unit")
    assert found["numbers"]["val"] == [
        (0, 1_001_000, 1.0),
        (1, 1_001_001, 0.0),
        (2, 1_001_002, -1.0),
        (3, 1_004_000, 0.5),
    ]
    assert found["times"] == ("FINISHED", 1_000_000, 1_006_000)
    assert found["data"] == [("phantom", "digest", "training")]
    assert sorted(found["files"]) == ["figures/curve.json", "table.json"]
    assert found["tags"]["mlflow.note.content"] == "scores"
    assert found["tags"]["not_finite/psnr"] == "inf"
    assert found["tags"]["process"] == "host:2:9"


def test_delivered_twice_is_delivered_once(uri, write):
    journal = write("unit")
    deliver(journal, uri)
    once = _content(uri, "unit")
    again = deliver(journal, uri)
    assert (again.sent, again.left) == (0, 0)
    assert _content(uri, "unit") == once


@pytest.mark.parametrize("is_before", [pytest.param(True, marks=pytest.mark.slow), False], ids=["before", "after"])
def test_a_delivery_killed_at_any_request_is_completed_by_the_next(uri, write, monkeypatch, is_before):
    deliver(write("undisturbed"), uri)
    expected = _content(uri, "undisturbed") | {"files": None}
    count = 0
    while True:
        count += 1
        key = f"unit-{count}"
        journal = write(key)
        with monkeypatch.context() as killing:
            told = _kill_at(killing, count, is_before=is_before)
            try:
                deliver(journal, uri)
            except Killed:
                pass
            else:
                break
        assert len(told) == count
        assert deliver(journal, uri).is_whole
        assert _content(uri, key) | {"files": None} == expected, f"killed at request {count}, {told[-1]}"
        assert sorted(_content(uri, key)["files"]) == ["figures/curve.json", "table.json"]
    assert count > 15


def test_a_note_that_is_lost_in_the_end_changes_nothing(uri, write):
    journal = write("unit")
    deliver(journal, uri)
    once = _content(uri, "unit")
    journal.move_cursor(Cursor())
    assert deliver(journal, uri).is_whole
    assert _content(uri, "unit") == once


def test_a_note_that_is_lost_on_the_way_changes_nothing(uri, write):
    deliver(write("undisturbed"), uri)
    journal = write("unit", end=None)
    deliver(journal, uri)
    journal.move_cursor(Cursor())
    write("unit")  # it goes on: epochs told again are other records of other times
    assert deliver(journal, uri).is_whole
    [run] = _runs(uri, "unit")
    assert run.info.status == "FINISHED"


def test_an_epoch_that_two_attempts_told_is_there_once(uri, write):
    """An attempt that was asleep when another began writes one more line before it knows."""
    journal = write("unit", end=None)
    deliver(journal, uri)
    for moment in range(2):
        journal.append(Metrics(2, 1_005_000 + moment, {"val": 2.0}, is_epoch=True))
        journal.append(Metrics(3, 1_006_000 + moment, {"val": 3.0}, is_epoch=True))
    assert deliver(journal, uri).is_whole
    assert [each[:2] for each in _content(uri, "unit")["numbers"]["val"]][2:] == [(2, 1_001_002), (3, 1_006_000)]


def test_more_numbers_than_mlflow_takes_in_a_request_arrive(uri, write):
    journal = write("unit", end=None)
    journal.append(Metrics(0, 9, MANY, is_epoch=False))
    for number in range(250):
        journal.append(Tags({f"tag-{number}": "x"}))
    assert deliver(journal, uri).is_whole
    [run] = _runs(uri, "unit")
    assert run.data.metrics.items() >= MANY.items()
    assert sum(name.startswith("tag-") for name in run.data.tags) == 250


def test_two_at_once_do_not_mix(uri, write):
    journal = write("unit")
    with journal.lock():
        held = deliver(journal, uri)
    assert (held.sent, held.left, held.may_come) == (0, 13, True)
    assert "another process" in held.reason
    assert _runs(uri, "unit") == []


def test_a_request_whose_answer_was_lost_leaves_no_second_run(uri, write, monkeypatch):
    real = MlflowClient.create_run

    def create_twice(self, *arguments, **fields):
        real(self, *arguments, **fields)
        return real(self, *arguments, **fields)

    monkeypatch.setattr(MlflowClient, "create_run", create_twice)
    deliver(write("unit"), uri)
    assert len(_runs(uri, "unit")) == 1
    assert len(_runs(uri, "unit", ViewType.ALL)) == 2


# what is away, and what is refused


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("refused"),
        TimeoutError("no answer"),
        MlflowException("API request failed with exception"),
        MlflowException("locked", error_code=TEMPORARILY_UNAVAILABLE),
    ],
    ids=["connection", "timeout", "request", "database"],
)
def test_while_mlflow_is_away_everything_stays(uri, write, monkeypatch, error):
    def fail(*_, **__):
        raise error

    journal = write("unit")
    with monkeypatch.context() as away:
        away.setattr(MlflowClient, "log_inputs", fail)
        delivered = deliver(journal, uri)
    assert delivered.is_away
    assert delivered.left == 13
    assert deliver(journal, uri).is_whole
    assert _content(uri, "unit")["times"][0] == "FINISHED"


def test_what_is_refused_for_good_is_skipped_told_and_kept(uri, write, caplog):
    journal = write("unit", end=None)
    journal.append(Metrics(0, 9, {"what? a name": 1.0}, is_epoch=False))
    journal.append(Metrics(0, 9, {"a/good/name": 1.0}, is_epoch=False))
    journal.append(End(FINISHED, "", 10))
    assert deliver(journal, uri).is_whole
    found = _content(uri, "unit")
    assert found["times"][0] == "FINISHED"
    assert {"a/good/name", "val"} <= set(found["numbers"])
    assert "what? a name" not in found["numbers"]
    assert found["tags"]["not_taken"] == "1 records; what? a name"
    assert "does not take what? a name" in caplog.text


def test_other_parameters_are_refused_and_the_other_run_stays_as_it_was(uri, write, root):
    deliver(write("unit", end=None), uri)
    [before] = _runs(uri, "unit")
    MlflowClient(uri).set_terminated(before.info.run_id, "KILLED")
    elsewhere = Journal(root / "elsewhere", "unit")
    elsewhere.begin(Begin("other", {"seed": "2"}, {}, [], "hyperskin", "", "host:3:9", 5))
    delivered = deliver(elsewhere, uri)
    assert isinstance(delivered.refusal, VersionError)
    assert "its own parameters" in delivered.reason
    assert not delivered.may_come
    [after] = _runs(uri, "unit")
    assert after.info.status == "KILLED"
    assert after.data.tags == before.data.tags


def test_an_unfinished_run_of_the_unit_from_elsewhere_is_taken_up_without_telling_an_epoch_twice(uri, write, root):
    deliver(write("unit", end=None), uri)
    elsewhere = Journal(root / "elsewhere", "unit")
    elsewhere.begin(Begin("other", {"seed": "1"}, {}, [], "hyperskin", "", "host:3:9", 5))
    for epoch in range(5):  # three of them were in the checkpoint
        elsewhere.append(Metrics(epoch, 2_000_000 + epoch, {"val": 1.0 - epoch}, is_epoch=True))
    assert deliver(elsewhere, uri).is_whole
    numbers = _content(uri, "unit")["numbers"]["val"]
    assert [step for step, *_ in numbers] == [0, 1, 2, 3, 4]


def test_a_run_that_another_host_took_up_is_told_of_by_that_one_alone(uri, write, root):
    here = write("unit", end=None)
    deliver(here, uri)
    elsewhere = Journal(root / "elsewhere", "unit")
    elsewhere.begin(Begin("other", {"seed": "1"}, {}, [], "hyperskin", "", "host:3:9", 5))
    deliver(elsewhere, uri)
    here.append(Metrics(7, 2_000_000, {"val": 7.0}, is_epoch=True))
    here.append(End(KILLED, "its process was gone", 10))
    late = deliver(here, uri)
    assert (late.left, late.reason) == (0, "host:3:9 took the run up")
    [run] = _runs(uri, "unit")
    assert run.info.status == "RUNNING"
    assert run.data.metrics["val"] == -1.0


# what a person deleted


def test_a_run_that_a_person_deleted_is_not_made_again(uri, write):
    journal = write("unit", end=None)
    deliver(journal, uri)
    [run] = _runs(uri, "unit")
    MlflowClient(uri).delete_run(run.info.run_id)
    journal.append(Metrics(7, 2_000_000, {"val": 7.0}, is_epoch=True))
    delivered = deliver(journal, uri)
    assert (delivered.left, delivered.sent) == (0, 0)
    assert "a person deleted the run" in delivered.reason
    journal.append(End(FINISHED, "", 10))
    assert deliver(journal, uri).is_whole
    assert _runs(uri, "unit") == []


def test_another_attempt_at_a_deleted_run_is_a_new_run_with_all_its_epochs(uri, write):
    journal = write("unit", end=None)
    deliver(journal, uri)
    [run] = _runs(uri, "unit")
    MlflowClient(uri).delete_run(run.info.run_id)
    journal.append(Metrics(7, 2_000_000, {"val": 7.0}, is_epoch=True))
    begin = journal.history().begin
    journal.begin(begin)
    journal.append(Metrics(8, 2_000_001, {"val": 8.0}, is_epoch=True))
    delivered = deliver(journal, uri)
    assert delivered.is_whole
    assert delivered.run_id != run.info.run_id
    assert [step for step, *_ in _content(uri, "unit")["numbers"]["val"]] == [0, 1, 2, 7, 8]


def test_another_store_gets_everything_from_the_start(uri, write):
    journal = write("unit", end=None)
    deliver(journal, uri)
    MlflowClient(uri).delete_run(journal.cursor().run_id)
    journal.move_cursor(dataclasses.replace(journal.cursor(), store="another", run_id="0" * 32))
    journal.append(Metrics(7, 2_000_000, {"val": 7.0}, is_epoch=True))
    assert deliver(journal, uri).is_whole
    assert [step for step, *_ in _content(uri, "unit")["numbers"]["val"]] == [0, 1, 2, 7]


@pytest.mark.parametrize("told", ["all", "a part"])
def test_a_store_that_lost_the_run_gets_all_of_it_again(uri, root, write, told):
    journal = write("unit", end=None)
    deliver(journal, uri)
    before = _content(uri, "unit")
    lose_runs(root)
    if told == "all":
        journal.forget_delivery()
    else:
        journal.append(Metrics(7, 2_000_000, {"val": 7.0}, is_epoch=True))
    delivered = deliver(journal, uri)
    assert (delivered.is_whole, delivered.reason) == (True, "")
    after = _content(uri, "unit")
    assert [step for step, *_ in after["numbers"]["val"]] == [0, 1, 2] + [7] * (told == "a part")
    assert after["tags"] == before["tags"]


@pytest.mark.parametrize("lacks", ["a file", "the network"])
def test_a_finished_run_whose_files_went_with_the_store_comes_as_failed_and_good_again_later(
    uri, root, start, network, provenance, monkeypatch, lacks
):
    monkeypatch.setattr(weights, "register", lambda *_, **__: "1")
    monkeypatch.setattr(weights, "promote", lambda *_: Promotion(False, "not better"))

    def train() -> str:
        with start() as run:
            run.log_epoch({"val": 0.5}, 0)
            run.log_tables({"per_image": [{"image": "p001", "sam/masked": 0.1}]})
            run.log_summary({"sam/masked": 0.1})
            if lacks == "the network":
                run.log_model(network, **MODEL)
        return run.run_id

    lost, journal = train(), Journal(root, provenance.unit_key)
    lose_runs(root)
    journal.forget_delivery()
    delivered = deliver(journal, uri)
    assert delivered.is_whole
    assert "must come with its files and its network" in str(delivered.refusal)
    found = MlflowClient(uri).get_run(delivered.run_id)
    assert (found.info.status, found.data.tags["ended_by"]) == ("FAILED", "MissingFileError")
    assert found.data.metrics == {"val": 0.5, "sam/masked": 0.1}
    assert train() == delivered.run_id != lost
    found = MlflowClient(uri).get_run(delivered.run_id)
    assert found.info.status == "FINISHED"
    assert not {"ended_by", "refused", "not_taken"} & found.data.tags.keys()
    assert found.data.metrics == {"val": 0.5, "sam/masked": 0.1}
    assert [each.step for each in MlflowClient(uri).get_metric_history(delivered.run_id, "val")] == [0]
    assert [file.path for file in MlflowClient(uri).list_artifacts(delivered.run_id)] == ["per_image.json"]


def test_a_damaged_store_is_not_waited_for_and_left_as_it_is(root, write):
    database = root / "damaged.db"
    database.write_bytes((root / STORE).read_bytes()[:200_000])
    before = database.read_bytes()
    delivered = deliver(write("unit"), f"sqlite:///{database}")
    assert "must be a whole database" in delivered.reason
    assert (delivered.is_away, delivered.may_come, delivered.sent) == (False, False, 0)
    assert delivered.left == 13
    assert database.read_bytes() == before


# whose child it is


def test_a_child_points_to_its_parent(uri, write):
    deliver(write("study", end=None, experiment=SWEEPS), uri)
    deliver(write("trial", parent="study", experiment=SWEEPS), uri)
    [study], [trial] = _runs(uri, "study", experiment=SWEEPS), _runs(uri, "trial", experiment=SWEEPS)
    assert trial.data.tags["mlflow.parentRunId"] == study.info.run_id


def test_a_parent_that_is_here_is_delivered_first(uri, write):
    write("study", end=None, experiment=SWEEPS)
    assert deliver(write("trial", parent="study", experiment=SWEEPS), uri).is_whole
    [study], [trial] = _runs(uri, "study", experiment=SWEEPS), _runs(uri, "trial", experiment=SWEEPS)
    assert trial.data.tags["mlflow.parentRunId"] == study.info.run_id


def test_a_child_waits_for_a_parent_that_is_nowhere(uri, write):
    delivered = deliver(write("trial", parent="study", experiment=SWEEPS), uri)
    assert delivered.may_come
    assert not delivered.is_away
    assert "it belongs to is not in MLflow yet" in delivered.reason
    assert _runs(uri, "trial", experiment=SWEEPS) == []


def test_a_child_does_not_wait_for_a_parent_that_a_person_deleted(uri, write):
    study = write("study", experiment=SWEEPS)
    deliver(study, uri)
    MlflowClient(uri).delete_run(study.cursor().run_id)
    assert deliver(write("trial", parent="study", experiment=SWEEPS), uri).is_whole
    [trial] = _runs(uri, "trial", experiment=SWEEPS)
    assert "mlflow.parentRunId" not in trial.data.tags


# how it ends


def test_what_is_whole_and_finished_leaves_only_its_lines_here(uri, write):
    journal = write("unit")
    journal.network.write_bytes(b"weights")
    deliver(journal, uri)
    assert sorted(path.name for path in journal.folder.iterdir()) == [".lock", "cursor.json", "records.jsonl"]


def test_what_failed_keeps_its_files(uri, write):
    journal = write("unit", end=FAILED)
    deliver(journal, uri)
    assert journal.file_path("", "table.json").exists()
    found = _content(uri, "unit")
    assert found["times"][0] == "FAILED"
    assert found["tags"]["ended_by"] == "DataError"


def test_a_network_is_built_again_and_registered_when_all_else_is_there(uri, start, network, scores):
    with start(model="hscnn_plus", size="blocks 2") as run:
        run.log_model(network, **MODEL)
        run.log_summary(scores)  # later than the network, and yet among the version's tags
    name = find_pair("rgb_vis").registered_name
    version = MlflowClient(uri).get_model_version_by_alias(name, "champion")
    assert len(MlflowClient(uri).search_model_versions(f"name = '{name}'")) == 1
    assert version.run_id == run.run_id
    assert version.tags["sam/masked"] == "0.1"
    assert set(version.aliases) == {"candidate", "champion"}
    assert MlflowClient(uri).get_run(run.run_id).info.status == "FINISHED"


def test_a_killed_run_registers_nothing(uri, start, network, monkeypatch):
    monkeypatch.setattr(weights, "register", lambda *_, **__: pytest.fail("it was registered"))
    with pytest.raises(KeyboardInterrupt), start() as run:  # noqa: PT012 - the network comes before the end
        run.log_model(network, **MODEL)
        raise KeyboardInterrupt


def test_a_refused_registration_ends_the_run_failed_and_is_raised(uri, start, network, monkeypatch):
    def refuse(*_, **__):
        raise VersionError("The data must be those.")

    monkeypatch.setattr(weights, "register", refuse)
    with pytest.raises(VersionError, match="must be those"), start() as run:
        run.log_model(network, **MODEL)
    found = MlflowClient(uri).get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert (found.data.tags["ended_by"], found.data.tags["refused"]) == ("VersionError", "The data must be those.")


@pytest.mark.parametrize(("damage", "kind"), [("changed", DataError), ("gone", MissingFileError)])
def test_weights_that_changed_on_the_disk_are_not_registered(uri, root, start, network, damage, kind, provenance):
    journal = Journal(root, provenance.unit_key)
    with pytest.raises(kind, match="train it again"), start() as run:  # noqa: PT012 - broken before the end
        run.log_model(network, **MODEL)
        if damage == "gone":
            journal.network.unlink()
        else:
            content = bytearray(journal.network.read_bytes())
            content[len(content) // 2] ^= 1
            journal.network.write_bytes(bytes(content))
    assert MlflowClient(uri).get_run(run.run_id).info.status == "FAILED"


def test_a_kill_between_registration_and_the_end_keeps_the_version(uri, root, start, network, monkeypatch, provenance):
    asked = []

    def register(*_, run_id, **__):
        asked.append(run_id)
        return "1"

    monkeypatch.setattr(weights, "register", register)
    monkeypatch.setattr(weights, "promote", lambda *_: Promotion(False, "not better"))
    journal = Journal(root, provenance.unit_key)
    monkeypatch.setattr(courier, "PATIENCE_S", 0.0)
    with start(uri="http://127.0.0.1:1") as run:
        run.log_model(network, **MODEL)
    with monkeypatch.context() as killing:
        killing.setattr(MlflowClient, "set_terminated", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            deliver(journal, uri)
    assert deliver(journal, uri).is_whole
    assert asked[0] == asked[1]
    assert MlflowClient(uri).get_run(asked[0]).info.status == "FINISHED"
    assert not journal.network.exists()
