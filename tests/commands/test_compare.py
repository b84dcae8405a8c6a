import pytest

from hyperskin.commands import compare as command
from hyperskin.errors import ServiceError
from hyperskin.tracking import compare, store, waiting


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "prepare_store", lambda root: f"store of {root.name}")
    monkeypatch.setattr(compare, "read_rows", lambda uri: [])
    return tmp_path


def test_table_is_printed_and_written(repository, capsys):
    command.compare()
    printed = capsys.readouterr().out
    assert printed == (repository / "reports" / "comparison.md").read_text()
    assert "No finished run yet" in printed


def test_table_goes_where_it_is_asked_to(repository, capsys):
    command.compare(output=repository / "elsewhere")
    assert (repository / "elsewhere" / "comparison.tex").exists()
    assert not (repository / "reports").exists()


def test_runs_that_wait_are_told_of_and_not_in_the_table(repository, capsys, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "say_waiting", lambda root: f"2 runs wait in {root.name}.")
    command.compare()
    assert caplog.messages == [f"2 runs wait in {repository.name}."]
    assert "wait" not in capsys.readouterr().out


def test_runs_that_wait_are_told_of_even_where_mlflow_is_away(repository, caplog, monkeypatch):
    def refuse(_):
        raise ServiceError("it does not answer")

    monkeypatch.setattr(waiting, "say_waiting", lambda root: "2 runs wait.")
    monkeypatch.setattr(store, "prepare_store", refuse)
    with pytest.raises(ServiceError, match="does not answer"):
        command.compare()
    assert caplog.messages == ["2 runs wait."]
