"""`hyperskin report` in a folder of its own: what is read, what is written, and what is not."""

import pytest

from hyperskin.commands import report as command
from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest, write_manifest
from hyperskin.errors import MissingFileError, ServiceError
from hyperskin.steps.present import present_evaluations
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import prepare_store


def _entry(name, split):
    file = FileEntry(f"x/{name}", 3, "0" * 64)
    facts = {"calibrate": {"counts": {"invalid": 0}, "snr_db": {"vis": [10.0]}}, "wavelength_nm": {"vis": [400.0]}}
    contents = {"vis": f"v{name}", "valid": f"m{name}"}
    return CaptureEntry(CaptureId.parse(name), split, file, file, None, (24, 32), contents, facts)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder with parameters, a manifest of a recorder's captures and an empty store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text(shipped_params())
    (tmp_path / "dvc.yaml").touch()
    splits = {"p001": "train", "p002": "valid", "p003": "test"}
    entries = [_entry(f"{who}_neutral_front", split) for who, split in splits.items()]
    write_manifest(tmp_path / "data/manifest.json", source="lumo", settings={}, captures=entries)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log(repository):
    """Return a function that logs a finished run on a test set."""

    def put(evaluation, model="regression_linear"):
        digest = Manifest.read(repository / "data/manifest.json").digest
        origin = Provenance(f"{model}-{evaluation}", digest, "split", evaluation, "code", "params")
        about = {"model": model, "pair": "rgb_vis", "params": {}, "provenance": origin, "data_name": "lumo"}
        with RunLog(prepare_store(repository), **about, root=repository) as run:
            run.log_summary({"sam/full": 0.125, "ssim/full": 0.5, "n_images": 1.0})
            run.log_tables({"per_image": [{"image": "p003_neutral_front", "subject": "p003", "sam/full": 0.125}]})

    return put


def test_runs_on_the_present_data_are_on_the_page_and_others_are_counted(repository, log, capsys):
    [evaluation] = present_evaluations(repository)
    log(evaluation)
    log("another test set")
    command.report()
    assert capsys.readouterr().out == "reports/report.html\n"
    text = (repository / "reports/report.md").read_text()
    assert "0.1250" in text
    assert "1 finished run, ended" in text
    assert "1 finished run on other test captures" in text
    assert "Pictures of 1 test subject who did not consent" in text
    again = (repository / "reports/report.html").read_bytes()
    command.report()
    assert (repository / "reports/report.html").read_bytes() == again


def test_it_goes_where_it_is_asked_to(repository):
    command.report(output=repository / "elsewhere")
    assert "No finished run on the present data yet" in (repository / "elsewhere/report.md").read_text()
    assert not (repository / "reports").exists()


def test_without_data_it_says_what_to_do(repository):
    (repository / "data/manifest.json").unlink()
    with pytest.raises(MissingFileError, match="run `dvc repro`"):
        command.report()


def test_where_mlflow_is_away_nothing_is_written(repository, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="must answer"):
        command.report()
    assert not (repository / "reports").exists()
