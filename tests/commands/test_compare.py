import pytest

from hyperskin.commands import compare as command
from hyperskin.tracking import compare, store


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
