"""What a process of ours starts with."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hyperskin import environment
from hyperskin.environment import (
    apply_closed_settings,
    child_environment,
    closed_settings,
    opened_settings,
    own_origins,
    real_data,
    repository_root,
    tracking_uri,
    visible_gpus,
)
from hyperskin.errors import MissingFileError

ROOT = Path(__file__).parent.parent


def test_the_repository_is_found_from_any_folder_below_it(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    below = tmp_path / "data" / "cubes"
    below.mkdir(parents=True)

    assert repository_root(below) == tmp_path
    assert repository_root(tmp_path) == tmp_path


def test_the_working_folder_is_where_the_search_starts(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)

    assert repository_root() == tmp_path


def test_a_folder_outside_any_repository_is_refused(tmp_path):
    (tmp_path / "params.yaml").touch()

    with pytest.raises(MissingFileError, match=r"params\.yaml and dvc\.yaml; .* is in none: .* `hyperskin init`"):
        repository_root(tmp_path)


def test_runs_are_kept_in_the_tree_unless_the_environment_names_a_server(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://10.0.0.7:5000")
    assert tracking_uri(tmp_path) == "http://10.0.0.7:5000"


def test_a_relative_root_gives_an_absolute_database(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)

    assert tracking_uri(Path()) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


def test_the_folder_of_real_data_is_optional(monkeypatch):
    monkeypatch.delenv("HYPERSKIN_REALDATA", raising=False)
    assert real_data() is None
    monkeypatch.setenv("HYPERSKIN_REALDATA", "measured")
    assert real_data() == Path("measured")


@pytest.mark.parametrize(
    ("listed", "gpus"),
    [
        (None, None),
        ("", ()),
        ("-1", ()),
        ("0", ("0",)),
        ("2, 0", ("2", "0")),
        ("0,-1,1", ("0",)),
        ("GPU-aa,MIG-bb", ("GPU-aa", "MIG-bb")),
    ],
)
def test_visible_gpus_are_those_cuda_would_see(monkeypatch, listed, gpus):
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)

    assert visible_gpus() == gpus


def test_every_path_of_the_closed_settings_lies_in_the_tree(tmp_path):
    paths = {name: value for name, value in closed_settings(tmp_path).items() if value.startswith("/")}

    assert set(paths) == {"DVC_SITE_CACHE_DIR", "MPLCONFIGDIR", "PREFECT_HOME", "PREFECT_PROFILES_PATH"}
    assert all(Path(path).is_relative_to(tmp_path) for path in paths.values())


def test_an_inherited_value_wins_but_for_what_guards_people(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", "/srv/prefect")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "0")

    environment = child_environment(tmp_path, {"OMP_NUM_THREADS": "3"})

    assert environment["PREFECT_HOME"] == "/srv/prefect"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def test_a_process_that_closes_itself_hands_the_settings_to_its_children(tmp_path):
    ask = "import os, sys; sys.stdout.write('\\n'.join(f'{k}={v}' for k, v in os.environ.items()))"
    script = (
        "import pathlib, subprocess, sys\n"
        "from hyperskin.environment import apply_closed_settings\n"
        "apply_closed_settings(pathlib.Path.cwd())\n"
        "pathlib.Path('made').touch()\n"
        f"subprocess.run([sys.executable, '-c', {ask!r}], check=True)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    seen = dict(line.split("=", 1) for line in run.stdout.splitlines())
    assert closed_settings(tmp_path).items() <= seen.items()
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_closing_this_process_sets_what_is_unset(tmp_path, monkeypatch):
    for name in closed_settings(tmp_path):
        monkeypatch.delenv(name, raising=False)
    before = os.umask(0o022)
    try:
        apply_closed_settings(tmp_path)
        assert os.environ.items() >= closed_settings(tmp_path).items()
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)
        for name in closed_settings(tmp_path):
            monkeypatch.setenv(name, "")  # so that the fixture takes them away again


def test_a_bare_prefect_command_reads_the_same_settings_from_the_repository(tmp_path):
    """The settings of our processes and those in pyproject.toml are two ways to say one thing."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prefect"]
    said = dict(_flatten(table, "PREFECT"))
    for name, value in closed_settings(ROOT).items():
        if name.startswith("PREFECT_"):
            assert said[name] == value.removeprefix(f"{ROOT}/"), name


def test_only_this_module_reads_the_environment():
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("hyperskin", "flows")
        for path in (ROOT / folder).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]

    assert readers == ["hyperskin/environment.py"]


def test_what_opens_a_locked_setting_is_remembered_from_before_it_was_closed(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_opened", {})
    for name in environment._LOCKED:
        monkeypatch.delenv(name, raising=False)
    assert opened_settings() == {}
    monkeypatch.setenv("DO_NOT_TRACK", "true")  # another word for the same
    monkeypatch.setenv("DVC_NO_ANALYTICS", "")
    assert opened_settings() == {}
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "True")
    opened = {"DO_NOT_TRACK": "0", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "True"}
    assert opened_settings() == opened
    before, mask = dict(os.environ), os.umask(0o077)
    try:
        apply_closed_settings(tmp_path)
        assert os.environ["DO_NOT_TRACK"] == "1"
        assert opened_settings() == opened
    finally:
        os.umask(mask)
        os.environ.clear()
        os.environ.update(before)


def test_the_origins_are_the_two_names_of_this_machine():
    assert own_origins(4201) == "http://127.0.0.1:4201,http://localhost:4201"


def _flatten(table, prefix):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}_{key.upper()}")
        else:
            yield f"{prefix}_{key.upper()}", str(value).lower() if isinstance(value, bool) else str(value)
