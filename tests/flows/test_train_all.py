"""The flow's body without Prefect, and the flow on a temporary server."""

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import flows.train_all
from flows.follow import Run
from flows.jobs import hyperskin_command
from flows.train_all import train_all, train_all_units
from flows.units import choose_units, group_units
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, write_manifest
from hyperskin.errors import ServiceError, UnknownNameError
from hyperskin.params import FILE_NAME, Params

REGRESSIONS = ["regression_mean", "regression_linear", "regression_polynomial", "regression_root_polynomial"]
NETWORKS = ["hscnn_plus", "hrnet", "mst_plus_plus", "basal"]
PAIRS = ["rgb_vis", "msi_nir"]
TOGETHER = ".".join(REGRESSIONS)


def test_every_model_is_trained_on_every_pair_between_preparation_and_comparison(project):
    lines = train_all_units(project.root, command=project.command)

    assert set(project.trained()) == {f"{model}.{pair}" for model in [TOGETHER, *NETWORKS] for pair in PAIRS}
    first, last = project.trained()[0], project.trained()[-1]
    assert project.time_of("prepare.end") < project.time_of(f"train.{first}.start")
    assert project.time_of(f"train.{last}.end") < project.time_of("compare.start")
    assert lines == ["compare begins", "model      sam/masked", "hrnet      0.100"]


def test_the_regressions_come_first_on_all_pairs(project):
    units = choose_units(Params.read(project.root / FILE_NAME), None, None)

    assert units[: len(REGRESSIONS) * 2] == [(model, pair, "cie", None) for model in REGRESSIONS for pair in PAIRS]
    assert [unit.model for unit in units[-2 * len(NETWORKS) :: 2]] == NETWORKS


def test_the_regressions_of_a_pair_share_a_process(project):
    params = Params.read(project.root / FILE_NAME)
    jobs = group_units(choose_units(params, ["hrnet", *REGRESSIONS], None), params)

    assert [(job.models, job.pair) for job in jobs] == [
        (tuple(REGRESSIONS), "rgb_vis"),
        (tuple(REGRESSIONS), "msi_nir"),
        (("hrnet",), "rgb_vis"),
        (("hrnet",), "msi_nir"),
    ]
    assert jobs[0].words()[:5] == ["train", "--model", "regression_mean", "--model", "regression_linear"]
    assert str(jobs[3]) == "hrnet on msi_nir"


def test_models_and_pairs_can_be_restricted_by_name(project):
    train_all_units(project.root, models=["hrnet", "regression_mean"], pairs=["msi_nir"], command=project.command)

    assert sorted(project.trained()) == ["hrnet.msi_nir", "regression_mean.msi_nir"]


def test_an_empty_restriction_is_none(project):
    params = Params.read(project.root / FILE_NAME)

    assert choose_units(params, [], []) == choose_units(params, None, None)


@pytest.mark.parametrize(
    ("restriction", "message"),
    [
        (
            {"models": ["unet"]},
            "`models` must be among regression_mean, .*, basal, as in params.yaml; got 'unet'",
        ),
        ({"pairs": ["rgb_swir"]}, "`pairs` must be among rgb_vis, msi_nir, as in params.yaml; got 'rgb_swir'"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_runs(project, restriction, message):
    with pytest.raises(UnknownNameError, match=message):
        train_all_units(project.root, command=project.command, **restriction)
    assert not (project.notes / "prepare.start").exists()


def test_one_broken_training_stops_no_other_and_is_named_in_the_end(project):
    project.break_down("hscnn_plus")

    with pytest.raises(ServiceError) as caught:
        train_all_units(project.root, pairs=["rgb_vis"], command=project.command)

    assert len(project.trained()) == 1 + len(NETWORKS)
    assert (project.notes / "compare.end").exists()
    assert str(caught.value) == (
        "All 8 trainings and the comparison must end well, and these did not: "
        "hscnn_plus on rgb_vis (the loss must be finite; it is nan). "
        "Mend it and run train-all again: what is finished is skipped."
    )


def test_nothing_is_compared_where_nothing_was_trained(project):
    project.break_down("train")

    with pytest.raises(ServiceError, match=r"hrnet on rgb_vis, hrnet on msi_nir \(the loss"):
        train_all_units(project.root, models=["hrnet"], command=project.command)
    assert not (project.notes / "compare.start").exists()


def test_a_broken_comparison_is_told_beside_broken_trainings(project):
    project.break_down("compare", "hrnet")

    with pytest.raises(ServiceError, match=r"hrnet on rgb_vis, the comparison \(the loss"):
        train_all_units(project.root, models=["hrnet", "hscnn_plus"], pairs=["rgb_vis"], command=project.command)


def test_each_reason_is_told_once(project):
    def command(*words):
        if words[0] == "train" and "regression_mean" in words:
            return [sys.executable, "-c", "import sys; sys.exit('hyperskin: the sums must not be singular.')"]
        return project.command(*words)

    project.break_down("hrnet", "mst_plus_plus")
    with pytest.raises(ServiceError) as caught:
        train_all_units(project.root, models=["regression_mean", *NETWORKS], command=command)

    assert "did not: regression_mean on rgb_vis, regression_mean on msi_nir (the sums must not be singular); " in str(
        caught.value
    )
    assert (
        "; hrnet on rgb_vis, hrnet on msi_nir, mst_plus_plus on rgb_vis, mst_plus_plus on msi_nir "
        "(the loss must be finite; it is nan). Mend it"
    ) in str(caught.value)


def test_data_without_validation_are_refused_before_a_server_starts(project, monkeypatch, capsys):
    file = FileEntry("file", 1, "0" * 64)
    contents = {"vis": "v", "nir": "n", "valid": "m"}
    entries = [
        CaptureEntry(CaptureId.parse(f"p00{number}_smile_left"), "train", file, file, None, (24, 32), contents, {})
        for number in (1, 2)
    ]
    write_manifest(project.root / "data" / "manifest.json", source="phantom", settings={}, captures=entries)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(flows.train_all, "train_all", lambda: pytest.fail("the server started"))
    monkeypatch.setattr(flows.train_all, "apply_closed_settings", lambda root: None)
    with pytest.raises(SystemExit, match=r"^hyperskin: The split 'valid' must hold a capture; it holds none: name "):
        flows.train_all.main()


def test_a_broken_preparation_ends_the_flow_at_once(project):
    project.break_down("prepare")

    with pytest.raises(ServiceError, match="the loss must be finite"):
        train_all_units(project.root, command=project.command)
    assert project.trained() == []


@pytest.mark.parametrize("slots", [1, 3])
def test_no_more_trainings_run_at_once_than_there_are_slots(project, monkeypatch, slots):
    text = (project.root / FILE_NAME).read_text()
    (project.root / FILE_NAME).write_text(text.replace("slots: 2", f"slots: {slots}"))
    monkeypatch.setenv("FAKE_SECONDS", "0.3")

    train_all_units(project.root, models=NETWORKS, command=project.command)

    spans = [
        (project.time_of(f"train.{name}.start"), project.time_of(f"train.{name}.end")) for name in project.trained()
    ]
    at_once = [sum(start <= begin < end for start, end in spans) for begin, _ in spans]
    assert max(at_once) == slots


def test_each_training_has_one_thread_and_the_closed_settings(project):
    train_all_units(project.root, models=["hrnet"], pairs=["rgb_vis"], command=project.command)

    environment = project.environment_of("train.hrnet.rgb_vis")
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"


def test_each_training_sees_one_gpu(project, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("FAKE_SECONDS", "0.3")

    train_all_units(project.root, models=["hrnet", "hscnn_plus"], pairs=["rgb_vis"], command=project.command)

    seen = [project.environment_of(f"train.{name}")["CUDA_VISIBLE_DEVICES"] for name in project.trained()]
    assert sorted(seen) == ["3", "5"]


def test_what_a_training_says_is_passed_on_while_it_runs(project, monkeypatch, caplog):
    monkeypatch.setenv("FAKE_SECONDS", "1")
    caplog.set_level(logging.INFO, "flows")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(train_all_units, project.root, models=["hrnet"], pairs=["rgb_vis"], command=project.command)
        said = "train begins"
        while said not in caplog.messages:
            assert not done.done()
            time.sleep(0.02)
        assert not (project.notes / "train.hrnet.rgb_vis.end").exists()
    assert done.result()


class Workers:
    """A Prefect server and two workers, played by threads that run the stand-in; jobs named in `broken` fail."""

    def __init__(self, project, broken=()):
        self._project = project
        self._broken = broken
        self._pool = ThreadPoolExecutor(2)
        self._futures = {}
        self.asked = []

    @contextlib.contextmanager
    def __call__(self, deployment):
        assert deployment == "train-unit/train-unit"
        with self._pool:
            yield self

    def start(self, job, attempt):
        self.asked.append((str(job), attempt))
        run_id = f"{job}-{attempt}"
        self._futures[run_id] = self._pool.submit(self._work, job)
        return Run(run_id, "waiting")

    def _work(self, job):
        if str(job) in self._broken:
            raise OSError("the loss must be finite; it is nan.")
        subprocess.run(self._project.command(*job.words()), check=True, cwd=self._project.root)

    def read(self, ids):
        return {run_id: Run(run_id, *self._phase(self._futures[run_id])) for run_id in ids}

    def _phase(self, future):
        if not future.done():
            return ("running" if future.running() else "waiting", "")
        return ("failed", str(future.exception())) if future.exception() else ("completed", "")

    def cancel(self, run_id):
        self._futures[run_id].cancel()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("flows.follow.POLL_S", 0.05)


@pytest.mark.usefixtures("quick")
def test_workers_train_what_is_not_finished_and_then_it_is_compared(on_workers):
    workers = Workers(on_workers)
    lines = train_all_units(on_workers.root, command=on_workers.command, workers=workers)

    units = on_workers.told("end")
    assert len(units) == len(set(units)) == 2 * (len(REGRESSIONS) + len(NETWORKS))
    assert len(workers.asked) == 2 * (1 + len(NETWORKS))
    assert lines == ["compare done"]


@pytest.mark.usefixtures("quick")
def test_a_unit_that_fails_on_workers_is_tried_three_times_and_told_while_the_others_are_trained(on_workers):
    workers = Workers(on_workers, broken=["hscnn_plus on rgb_vis"])
    with pytest.raises(
        ServiceError, match=r"did not: hscnn_plus on rgb_vis \(the loss must be finite; it is nan\)\. M"
    ):
        train_all_units(
            on_workers.root,
            models=["hscnn_plus", "hrnet"],
            pairs=["rgb_vis"],
            command=on_workers.command,
            workers=workers,
        )
    assert [job for job, _ in workers.asked].count("hscnn_plus on rgb_vis") == 3
    assert len(on_workers.told("end")) == 1
    assert ["compare"] in on_workers.story()


def test_ctrl_c_ends_a_flow_without_a_server_of_its_own_in_one_sentence(project, monkeypatch, capsys):
    def interrupted(root):
        raise KeyboardInterrupt

    monkeypatch.chdir(project.root)
    monkeypatch.setattr(flows.train_all, "apply_closed_settings", lambda root: None)
    with pytest.raises(SystemExit) as ended:
        flows.train_all.run_alone_or_served("study", left=lambda root: [], served=pytest.fail, rest=interrupted)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "hyperskin: stopped; the same command goes on where it was.\n"


def test_a_flow_without_a_server_of_its_own_does_not_wait_for_workers(on_workers, monkeypatch):
    monkeypatch.chdir(on_workers.root)
    monkeypatch.setattr(flows.train_all, "apply_closed_settings", lambda root: None)
    with pytest.raises(
        SystemExit, match=r"^hyperskin: `execution.training` in params.yaml must be here for a flow wit"
    ):
        flows.train_all.main()


@pytest.fixture
def listens_to_ctrl_c():
    """Python's own answer to Ctrl-C, which a shell's background would have taken away."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_ctrl_c_ends_the_trainings_too(project, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "60")

    def interrupt() -> None:
        while not (project.notes / "train.hrnet.rgb_vis.start").exists():
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    # preparation must be over quickly, so it is given a child of its own
    def command(*words):
        return project.command(*words) if words[0] == "train" else [sys.executable, "-c", ""]

    threading.Thread(target=interrupt).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train_all_units(project.root, pairs=["rgb_vis"], models=["hrnet", "mst_plus_plus"], command=command)
    assert time.monotonic() - begin < 20
    assert project.trained() == []


def test_the_command_is_our_own_interpreter_and_program():
    assert hyperskin_command("train", "--model", "hrnet") == [
        sys.executable, "-m", "hyperskin.cli", "train", "--model", "hrnet",
    ]  # fmt: skip


@pytest.fixture
def as_flow(project, prefect_server, monkeypatch):
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(flows.train_all, "hyperskin_command", project.command)
    return project


@pytest.mark.slow
def test_the_flow_completes_and_leaves_the_comparison_as_an_artifact(as_flow):
    from prefect.artifacts import Artifact

    state = train_all(models=["hrnet"], return_state=True)

    assert state.is_completed(), state.message
    assert sorted(as_flow.trained()) == ["hrnet.msi_nir", "hrnet.rgb_vis"]
    artifact = asyncio.run(Artifact.aget("comparison"))
    assert "model      sam/masked\nhrnet      0.100" in artifact.data
    assert not list((as_flow.root / ".prefect" / "alive").glob("*.lock"))


@pytest.mark.slow
def test_the_flow_ends_failed_and_its_tasks_have_speaking_names(as_flow):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId

    as_flow.break_down("hscnn_plus")
    state = train_all(models=["hrnet", "hscnn_plus"], pairs=["rgb_vis"], return_state=True)

    assert state.is_failed()
    assert "hscnn_plus on rgb_vis (the loss must be finite; it is nan)" in state.message
    of_this_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    expected = {"train hrnet on rgb_vis": "Completed", "train hscnn_plus on rgb_vis": "Failed"}
    patience = time.monotonic() + 30  # states of tasks reach the server as events, a little later
    with get_client(sync_client=True) as client:
        while (
            tasks := {run.name: run.state_name for run in client.read_task_runs(task_run_filter=of_this_run)}
        ) != expected and time.monotonic() < patience:
            time.sleep(0.2)
    assert tasks == expected
