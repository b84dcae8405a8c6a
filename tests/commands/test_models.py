"""`hyperskin models`: the table, and the champion by a person's word."""

import logging
import subprocess
import sys

import pytest

from hyperskin.cli import main
from hyperskin.commands.models import list_models, promote, registered_name, rollback
from hyperskin.errors import UnknownNameError
from hyperskin.steps import present
from hyperskin.tracking import promotion, store, versions, waiting
from hyperskin.tracking.promotion import Promotion


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    """Stand in a repository whose store is not touched."""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "prepare_store", lambda root: f"store of {root.name}")
    return tmp_path


def test_both_names_of_a_model_are_known():
    assert registered_name("msi_nir") == registered_name("hyperskin-msi-nir") == "hyperskin-msi-nir"
    with pytest.raises(UnknownNameError, match=r"rgb_vis \(hyperskin-rgb-vis\), .*; got 'rgb-vis'"):
        registered_name("rgb-vis")


def test_list_prints_what_is_registered(repository, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(versions, "read_models", lambda uri: asked.append(uri) or [])
    monkeypatch.setattr(present, "present_digest", lambda root: asked.append(root))
    list_models()
    assert "No registered model yet" in capsys.readouterr().out
    assert asked == [f"store of {repository.name}", repository]


def test_runs_that_wait_are_told_of(monkeypatch, capsys, caplog):
    monkeypatch.setattr(waiting, "say_waiting", lambda root: "2 runs wait.")
    monkeypatch.setattr(versions, "read_models", lambda uri: [])
    list_models()
    assert caplog.messages == ["2 runs wait."]
    assert "wait" not in capsys.readouterr().out


def test_promote_and_rollback_say_what_came_of_it(repository, monkeypatch, caplog):
    def tell(*given, **named):
        return Promotion(True, f"{given[1:]} {named}")

    monkeypatch.setattr(promotion, "promote_by_hand", tell)
    monkeypatch.setattr(promotion, "roll_back", tell)
    with caplog.at_level(logging.INFO, "hyperskin"):
        promote("rgb_vis", "3", because="it is smaller")
        rollback("hyperskin-msi-nir")
    assert caplog.messages == [
        "('hyperskin-rgb-vis', '3') {'because': 'it is smaller'}",
        "('hyperskin-msi-nir',) {}",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("models --help", "take it back"),
        ("models", "rollback"),
        ("models list --help", "Print every version"),
        ("models promote --help", "--because"),
        ("models rollback --help", "hyperskin-rgb-vis"),
        ("models import --help", "never becomes champion by its score"),
        ("models export --help", "--may-pass-on"),
    ],
)
def test_help_explains_and_loads_nothing_heavy(words, said):
    script = (
        f"import sys\nfrom hyperskin.cli import main\ntry:\n    main({words.split()})\nexcept SystemExit:\n    pass\n"
        "assert not [name for name in ('mlflow', 'torch', 'prefect', 'optuna') if name in sys.modules]"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert said in result.stdout


@pytest.mark.parametrize("words", [["models", "lst"], ["models", "promote"], ["model"]])
def test_a_slip_is_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
