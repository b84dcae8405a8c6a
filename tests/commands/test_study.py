"""`hyperskin study` in a folder of its own: what is read, written and told to MLflow, and told once."""

import csv
import io
import re

import pytest
from mlflow import MlflowClient

from hyperskin.commands import study as command
from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest, write_manifest
from hyperskin.errors import MissingFileError, ServiceError
from hyperskin.steps.present import present_evaluations
from hyperskin.tracking.compare import read_rows
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import STUDIES, find_runs, prepare_store
from tests.stores import copy_store


def _entry(name, split):
    file = FileEntry(f"x/{name}", 3, "0" * 64)
    facts = {"calibrate": {"counts": {"invalid": 0}, "snr_db": {"vis": [10.0]}}, "wavelength_nm": {"vis": [400.0]}}
    contents = {"vis": f"v{name}", "valid": f"m{name}"}
    return CaptureEntry(CaptureId.parse(name), split, file, file, None, (24, 32), contents, facts)


@pytest.fixture
def repository(tmp_path, monkeypatch, empty_store):
    """A folder with parameters, a manifest of two test subjects and an empty store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy_store(empty_store, tmp_path)
    (tmp_path / "params.yaml").write_text(shipped_params())
    (tmp_path / "dvc.yaml").touch()
    splits = {"p001": "train", "p002": "valid", "p003": "test", "p004": "test"}
    entries = [_entry(f"{who}_neutral_front", split) for who, split in splits.items()]
    write_manifest(tmp_path / "data/manifest.json", source="lumo", settings={}, captures=entries)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log(repository):
    """Return a function that logs a finished run on a test set, with epochs and in two lights if it has a seed."""

    def put(model="regression_linear", angle=0.25, *, seed=None, evaluation=None):
        manifest = Manifest.read(repository / "data/manifest.json")
        [present] = present_evaluations(repository)
        params = {} if seed is None else {"seed": seed}
        origin = Provenance(
            f"{model}-{seed}-{evaluation}", manifest.digest, "split", evaluation or present, "code", "params"
        )
        about = {"model": model, "pair": "rgb_vis", "params": params, "provenance": origin, "data_name": "lumo"}
        images = [{"image": f"{who}_neutral_front", "subject": who, "sam/full": angle * times, "ssim/full": 0.5}
                  for who, times in (("p003", 1), ("p004", 3))]  # fmt: skip
        exposed = [{"exposure": gain, **image} for gain in (1.0, 0.25) for image in images]
        with RunLog(prepare_store(repository), **about, root=repository) as run:
            for epoch in range(1, 7) if seed else ():
                pace = {"train/steps": 10.0 * epoch, "train/seconds": 0.5 * epoch}
                run.log_epoch({"val_sam/full": 0.5 / epoch, **pace}, epoch)
            run.log_summary({"sam/full": 2 * angle, "ssim/full": 0.5, "n_images": 2.0, "cost/parameters": 9.0 + angle})
            run.log_tables({"per_image": images} | ({"per_exposure": exposed} if seed else {}))

    return put


def _studies(repository):
    return find_runs(prepare_store(repository), "", STUDIES)


def test_seeds_become_one_model_files_and_a_run_of_its_own(repository, log, capsys):
    log()
    log("basal", 0.125, seed=1)
    log("basal", 0.375, seed=2)
    log("basal", 0.375, seed=2, evaluation="another test set")
    command.study()
    out = capsys.readouterr().out
    assert out.rstrip().endswith("reports/study/study.md")
    [line] = [line for line in out.splitlines() if line.startswith("| basal")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["2", "0.5000", "0.2500 to 0.7500", "0.2500 to 0.7500"]
    folder = repository / "reports/study"
    assert sorted(path.name for path in folder.glob("figures/*")) == [
        "rgb_vis-learning-over-seeds.png", "rgb_vis-light-sam-full.png", "rgb_vis-pareto.png",
    ]  # fmt: skip
    learning = list(csv.DictReader(io.StringIO((folder / "learning.csv").read_text())))
    assert [(row["steps"], row["seconds"]) for row in learning][:2] == [("10", "0.5"), ("20", "1")]
    [run] = _studies(repository)
    assert (run.info.status, run.info.run_name, run.data.params["seeds"]) == ("FINISHED", "study", "1, 2")
    files = {file.path for file in MlflowClient(prepare_store(repository)).list_artifacts(run.info.run_id)}
    assert files == {
        "differences.json", "figures", "learning.json", "light.json", "runs.json", "scores.json", "study.md",
    }  # fmt: skip
    assert len(read_rows(prepare_store(repository))) == 4, "it is not among the models"


def test_the_same_runs_make_no_second_run_and_another_run_does(repository, log):
    log("basal", seed=1)
    command.study()
    before = (repository / "reports/study/study.md").read_bytes()
    command.study(output=repository / "elsewhere")
    assert (repository / "elsewhere/study.md").read_bytes() == before
    assert len(_studies(repository)) == 1
    log("basal", 0.5, seed=2)
    command.study()
    assert len(_studies(repository)) == 2


def test_what_was_measured_stands_beside_the_scores_and_in_the_run(repository, log, monkeypatch):
    row = {"model": "basal", "pair": "rgb_vis", "size": "full", "parameters": 1, "kmac_per_px": 4.5, "frame_s": 0.75,
           "peak_mb": 321.0, "frame_px": 1024, "threads": 1, "processor": "a processor"}  # fmt: skip
    monkeypatch.setattr("hyperskin.steps.cost.read_costs", lambda _root, _params: [row])
    log("basal", seed=1)
    command.study()
    text = (repository / "reports/study/study.md").read_text()
    assert "A frame: 1024 x 1024 px, threads 1, a processor." in text
    assert re.search(r"\| +9 \| +4.5 \| +0.75 \| +321 \|", text), "the run's own parameters, the rest as measured"
    [run] = _studies(repository)
    files = {file.path for file in MlflowClient(prepare_store(repository)).list_artifacts(run.info.run_id)}
    assert "cost.json" in files


def test_without_runs_it_says_what_to_do_and_tells_mlflow_nothing(repository, capsys):
    command.study()
    assert "No finished run on the present data yet" in capsys.readouterr().out
    assert _studies(repository) == []


def test_without_data_it_says_what_to_do(repository):
    (repository / "data/manifest.json").unlink()
    with pytest.raises(MissingFileError, match="run `dvc repro`"):
        command.study()


def test_where_mlflow_is_away_nothing_is_written(repository, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="must answer"):
        command.study()
    assert not (repository / "reports").exists()
