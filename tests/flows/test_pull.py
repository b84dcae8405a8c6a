"""Deployments on workers: what prefect.yaml names is there, and a run finds its repository on every machine."""

import importlib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import hyperskin
from flows.pull import enter_repository
from hyperskin.errors import MissingFileError

ROOT = Path(__file__).parent.parent.parent


def deployments():
    return YAML(typ="safe").load((ROOT / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", deployments(), ids=lambda deployment: deployment["name"])
def test_every_deployment_has_the_name_of_its_flow_for_prefect_finds_it_by_both(deployment):
    path, name = deployment["entrypoint"].split(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert flow.name == deployment["name"]


def test_flows_that_wait_for_others_hold_no_slot():
    pools = {deployment["name"]: deployment["work_pool"]["name"] for deployment in deployments()}
    assert pools == {
        "train-all": "control", "study": "control", "sweep": "control", "train-unit": "gpu", "tune-unit": "gpu",
    }  # fmt: skip


def test_no_machine_s_path_is_committed():
    text = (ROOT / "prefect.yaml").read_text()
    assert str(ROOT) not in text
    assert "directory:" not in text


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / "there" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "there"


def test_a_run_enters_the_repository_that_its_machine_names(repository, monkeypatch):
    monkeypatch.setenv("HYPERSKIN_ROOT", str(repository))
    assert enter_repository() == {"directory": str(repository)}
    assert Path.cwd() == repository


def test_without_a_name_it_enters_the_one_that_hyperskin_was_installed_from(repository, monkeypatch):
    monkeypatch.delenv("HYPERSKIN_ROOT", raising=False)
    (repository / "hyperskin").mkdir()
    monkeypatch.setattr(hyperskin, "__file__", str(repository / "hyperskin" / "__init__.py"))
    assert enter_repository() == {"directory": str(repository)}


def test_a_name_that_leads_nowhere_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERSKIN_ROOT", str(tmp_path))
    with pytest.raises(MissingFileError, match=r"a folder with params.yaml and dvc.yaml"):
        enter_repository()
