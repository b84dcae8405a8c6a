"""A small healthy repository with data, a store, a champion and a ledger, and the ways to break it."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hyperskin.atomic import file_sha256, temporary_path
from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, describe_file, write_manifest
from hyperskin.health.runs import _move
from hyperskin.ledger import Ledger
from hyperskin.pairs import PAIRS
from hyperskin.tracking.journal import FINISHED, Journal
from hyperskin.tracking.records import Begin, End, Metrics
from hyperskin.tracking.store import ARTIFACTS, STORE, experiment_id, prepare_store

HERE = Path(__file__).parent.parent.parent
NOBODY = 2**22 + 1  # no system numbers its processes so high
DEAD = f"{platform.node()}:{NOBODY}:1"
MODEL = PAIRS["rgb_vis"].registered_name
SECRET = "hyperskin:secret-of-the-tests"
CAMERAS = "hyperskin/spectral/tables/measured_cameras.csv"
LOCK = """schema: '2.0'
stages:
  manifest:
    cmd: python -m hyperskin.cli manifest data
    outs:
    - path: data/manifest.json
      hash: md5
      md5: {md5}
      size: {size}
"""
# Claims a unit and lives until it is killed.
TRAINING = """
import sys, time
from pathlib import Path
from hyperskin.health.runs import _move
from hyperskin.ledger import Ledger

with Ledger.of(Path(sys.argv[1])).claim("killed", about={"model": "hrnet", "pair": "rgb_vis"}, stale_s=60):
    print("at work", flush=True)
    time.sleep(600)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_template(root: Path) -> None:
    """Make a healthy repository."""
    digest = _write_data(root)
    (root / ".dvc").mkdir()
    shutil.copyfile(HERE / ".dvc" / "config", root / ".dvc" / "config")
    shutil.copyfile(HERE / "dvc.yaml", root / "dvc.yaml")
    (root / "params.yaml").write_text(shipped_params())
    (root / CAMERAS).parent.mkdir(parents=True)
    shutil.copyfile(HERE / CAMERAS, root / CAMERAS)
    uri = prepare_store(root)
    _register_champion(uri, digest)
    Ledger.of(root)
    with contextlib.closing(sqlite3.connect(root / "mlruns" / "optuna.db")) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY)")
        connection.commit()
    for folder in ("data", "mlruns"):
        for path in (root / folder, *(root / folder).rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)


def copy_template(template: Path, root: Path) -> Path:
    """Copy it to another folder, where its store looks for its files there."""
    shutil.copytree(template, root, symlinks=True)
    _move(root / STORE, (template / ARTIFACTS).resolve().as_uri(), (root / ARTIFACTS).resolve())
    access = f"PREFECT_API_URL=http://127.0.0.1:{free_port()}/api\nPREFECT_API_AUTH_STRING={SECRET}\n"
    (root / ".env").write_text(access)
    (root / ".env").chmod(0o600)
    return root


@contextlib.contextmanager
def store(root: Path):
    with contextlib.closing(sqlite3.connect(root / STORE)) as connection, connection:
        yield connection


def _write_data(root: Path) -> str:
    captures = []
    for number, split in enumerate(("train", "valid", "test"), start=1):
        identity = CaptureId.parse(f"p00{number}_smile_left")
        path = root / "data" / "cubes" / f"p00{number}" / f"{identity.name}.h5"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"a cube")
        file = describe_file(path, root / "data", file_sha256(path))
        contents = {"vis": f"vis {number}", "nir": "nir", "valid": "valid"}
        captures.append(CaptureEntry(identity, split, file, file, None, (24, 32), contents, {}))
    digest = write_manifest(root / "data" / "manifest.json", source="phantom", settings={}, captures=captures)
    content = (root / "data" / "manifest.json").read_bytes()
    (root / "dvc.lock").write_text(LOCK.format(md5=hashlib.md5(content).hexdigest(), size=len(content)))
    return digest


def _register_champion(uri: str, digest: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    client.create_registered_model(MODEL)
    run = client.create_run(experiment_id(uri))
    client.set_terminated(run.info.run_id)
    version = client.create_model_version(MODEL, run.info.artifact_uri, run.info.run_id, tags={"manifest": digest})
    client.set_registered_model_alias(MODEL, "champion", version.version)


# what may be wrong


@dataclass(frozen=True)
class Damage:
    """One way to break a repository, and what must be found.

    Attributes:
        do: Breaks it; what it puts into the environment is the environment of whoever looks.
        check: Which check finds it.
        severity: How bad it is.
        words: What the finding says.
        is_mended: Whether `--fix` mends it.
        stands_alone: It hides others, or they hide it.
    """

    do: Callable[[Path, dict[str, str]], None]
    check: str
    severity: str
    words: str
    is_mended: bool = False
    stands_alone: bool = False

    @property
    def name(self) -> str:
        return self.do.__name__


def _distribution(folder: Path, name: str, version: str, *lines: str) -> None:
    path = folder / f"{name}-{version}.dist-info"
    path.mkdir(parents=True)
    text = "\n".join([f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *lines])
    (path / "METADATA").write_text(f"{text}\n")


def another_fastapi(root, environment):
    for name, version in (("prefect", "3.8.8"), ("fastapi", "0.165.0"), ("uvicorn", "1.0")):
        _distribution(root / "packages", name, version)
    environment["PYTHONPATH"] = str(root / "packages")


def fastapi_elsewhere(root, environment):
    _distribution(root / "packages", "fastapi", "0.150.0")
    environment["PYTHONPATH"] = str(root / "packages")


def a_missing_package(root, environment):
    _distribution(root / "packages", "hyperskin", "0.1.0", "Requires-Dist: there-is-no-such-thing>=2")
    environment["PYTHONPATH"] = str(root / "packages")


def another_python(root, environment):
    _distribution(root / "packages", "hyperskin", "0.1.0", "Requires-Python: >=4")
    environment["PYTHONPATH"] = str(root / "packages")


def edit(root, old, new):
    path = root / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def a_misspelled_key(root, environment):
    edit(root, "  batch_size:", "  batchsize:")


def a_network_that_there_is_not(root, environment):
    edit(root, "    hrnet:", "    unet:")


def a_subject_on_two_sides(root, environment):
    edit(root, 'valid: ["p004"', 'valid: ["p001"')


def no_params(root, environment):
    (root / "params.yaml").unlink()


def no_yaml(root, environment):
    (root / "params.yaml").write_bytes(b"train: [\xff")


def a_damaged_profile(root, environment):
    (root / "params.tuned.yaml").write_text("train: {}\n")


def no_camera_file(root, environment):
    (root / CAMERAS).unlink()


def a_dask_that_is_away(root, environment):
    edit(root, 'dask: ""', f'dask: "tcp://127.0.0.1:{free_port()}"')


def more_trainings_than_cores(root, environment):
    edit(root, "  slots: 2", "  slots: 1000")


def tracking_is_wanted(root, environment):
    environment["DO_NOT_TRACK"] = "0"


def pickles_are_let_in(root, environment):
    environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"


def plugins_are_let_in(root, environment):
    environment["HDF5_PLUGIN_PATH"] = str(root)


def too_many_threads(root, environment):
    environment["OMP_NUM_THREADS"] = "1000"


def an_empty_dvc_lock(root, environment):
    (root / "dvc.lock").write_text("")


def a_half_dvc_lock(root, environment):
    (root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  manifest:\n    outs: [1, 2]\n")


def reflinks_alone(root, environment):
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n[cache]\n    type = reflink\n")


def dvc_reports(root, environment):
    path = root / ".dvc" / "config"
    path.write_text(path.read_text().replace("analytics = false", "analytics = true"))


def a_broken_rwlock(root, environment):
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir()
    path.touch()
    os.utime(path, (1e9, 1e9))


def a_file_that_is_gone(root, environment):
    (root / "data" / "cubes" / "p001" / "p001_smile_left.h5").unlink()


def a_file_that_is_cut_off(root, environment):
    (root / "data" / "cubes" / "p002" / "p002_smile_left.h5").write_bytes(b"a c")


def a_file_that_was_made_anew(root, environment):
    path = root / "data" / "cubes" / "p003" / "p003_smile_left.json"
    path.write_text(json.dumps({"key": "", "files": {"p003_smile_left.h5": "another"}, "facts": {}}))


def no_manifest(root, environment):
    (root / "data" / "manifest.json").unlink()


def an_edited_manifest(root, environment):
    path = root / "data" / "manifest.json"
    path.write_text(path.read_text().replace('"test"', '"train"'))


def a_manifest_that_was_not_recorded(root, environment):
    path = root / "dvc.lock"
    lines = [
        f"      md5: {'0' * 32}" if "md5: " in line and "hash" not in line else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


def no_data(root, environment):
    shutil.rmtree(root / "data")
    (root / "dvc.lock").unlink()


def data_for_all_to_see(root, environment):
    (root / "data").chmod(0o755)
    (root / "data" / "cubes").chmod(0o755)


def runs_for_all_to_see(root, environment):
    (root / "mlruns").chmod(0o755)
    (root / "mlruns" / "optuna.db").chmod(0o644)


def a_secret_for_all_to_see(root, environment):
    (root / ".env").chmod(0o644)


def a_link_to_nowhere(root, environment):
    (root / STORE).unlink()
    (root / STORE).symlink_to("/nowhere/mlflow.db")


def a_damaged_store(root, environment):
    _damage(root / STORE)


def damaged_searches(root, environment):
    _damage(root / "mlruns" / "optuna.db")


def a_damaged_ledger(root, environment):
    _damage(root / "mlruns" / "ledger.db")


def _damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(600))


def a_store_of_files(root, environment):
    (root / "mlruns" / "0").mkdir(mode=0o700)
    (root / "mlruns" / "0" / "meta.yaml").touch(mode=0o600)


def an_older_store(root, environment):
    with store(root) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")


def a_newer_store(root, environment):
    with store(root) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '123456789abc'")


def a_repository_that_was_moved(root, environment):
    with store(root) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 'file:///nowhere/else' WHERE name LIKE 'hyper%'")


def files_of_another_repository(root, environment):
    other = root / "other"
    other.mkdir()
    with store(root) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE name LIKE 'hyper%'", [other.as_uri()])


def other_data_than_the_champion_s(root, environment):
    with store(root) as connection:
        connection.execute("UPDATE model_version_tags SET value = 'before' WHERE key = 'manifest'")


def a_killed_training(root, environment):
    command = [sys.executable, "-c", TRAINING, str(root)]
    inherited = {**os.environ, "PYTHONPATH": str(HERE)}
    with subprocess.Popen(command, env=inherited, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()


def a_run_of_a_dead_process(root, environment):
    from mlflow import MlflowClient

    uri = prepare_store(root)
    MlflowClient(uri).create_run(experiment_id(uri), tags={"process": DEAD})


def a_run_that_was_not_delivered(root, environment):
    journal = Journal(root, "undelivered")
    about = {"params": {}, "tags": {}, "data": [], "experiment": "hyperskin", "parent": ""}
    journal.begin(Begin(name="hrnet-rgb_vis", process=DEAD, time_ms=1000, **about))
    journal.append(Metrics(0, 2000, {"loss": 0.1}, is_epoch=True))
    journal.append(End(FINISHED, "", 3000), durable=True)


def files_of_dead_writers(root, environment):
    (root / "mlruns" / "checkpoints").mkdir(mode=0o700)
    _orphan(root / "mlruns" / "checkpoints" / "last.pt")


def cubes_of_dead_writers(root, environment):
    _orphan(root / "data" / "cubes" / "p001.h5")


def _orphan(path: Path) -> None:
    temporary = temporary_path(path)
    temporary.with_name(temporary.name.replace(f"-{os.getpid()}.", f"-{NOBODY}.")).touch()


def a_server_without_driver(root, environment):
    environment["HYPERSKIN_DATABASE"] = "postgresql://me@127.0.0.1:1/hyperskin"


def a_server_of_the_wrong_driver(root, environment):
    environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = "postgresql+psycopg://me@127.0.0.1:1/prefect"


def a_database_that_is_away(root, environment):
    environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"postgresql+asyncpg://me@127.0.0.1:{free_port()}/prefect"


def no_address_at_all(root, environment):
    environment["HYPERSKIN_DATABASE"] = "my database"


def an_mlflow_server_that_is_away(root, environment):
    environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"


def an_mlflow_store_of_files(root, environment):
    environment["MLFLOW_TRACKING_URI"] = str(root / "files")


def a_prefect_server_that_is_away(root, environment):
    environment["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"


def _driver(root: Path, environment: dict[str, str], script: str) -> None:
    """Put a driver's own program on the path, which says what a driver says."""
    folder = root / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    environment["PATH"] = f"{folder}:{os.environ['PATH']}"


def a_gpu_and_a_torch_without_cuda(root, environment):
    _driver(root, environment, 'case "$1" in *query-gpu*) echo "NVIDIA H100, 1 MiB, 81559 MiB";; esac')


def a_driver_that_does_not_answer(root, environment):
    _driver(root, environment, 'echo "NVIDIA-SMI has failed because it could not talk to the driver."; exit 9')


BROKEN, WARNING, HINT = "broken", "warning", "hint"
_ALL = (
    Damage(another_fastapi, "programs", BROKEN, "fastapi", stands_alone=True),
    Damage(fastapi_elsewhere, "programs", BROKEN, "one folder", stands_alone=True),
    Damage(a_missing_package, "programs", BROKEN, "there-is-no-such-thing"),
    Damage(another_python, "programs", BROKEN, "Python must be >=4", stands_alone=True),
    Damage(a_misspelled_key, "settings", BROKEN, "batchsize", stands_alone=True),
    Damage(a_network_that_there_is_not, "settings", BROKEN, "got 'unet'", stands_alone=True),
    Damage(a_subject_on_two_sides, "settings", BROKEN, "both name p001", stands_alone=True),
    Damage(no_params, "settings", BROKEN, "params.yaml must be there, or nothing runs; it is gone", stands_alone=True),
    Damage(no_yaml, "settings", BROKEN, "UTF-8", stands_alone=True),
    Damage(a_damaged_profile, "settings", WARNING, "params.tuned.yaml"),
    Damage(no_camera_file, "settings", BROKEN, "measured_cameras.csv"),
    Damage(a_dask_that_is_away, "settings", BROKEN, "Dask scheduler"),
    Damage(more_trainings_than_cores, "machine", WARNING, "`train.slots`, 1000"),
    Damage(tracking_is_wanted, "variables", WARNING, "DO_NOT_TRACK"),
    Damage(pickles_are_let_in, "variables", WARNING, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"),
    Damage(plugins_are_let_in, "variables", WARNING, "HDF5_PLUGIN_PATH"),
    Damage(too_many_threads, "variables", WARNING, "OMP_NUM_THREADS"),
    Damage(an_empty_dvc_lock, "dvc", BROKEN, "is empty"),
    Damage(a_half_dvc_lock, "dvc", BROKEN, "holds something else", stands_alone=True),
    Damage(reflinks_alone, "dvc", BROKEN, "cache.type", stands_alone=True),
    Damage(dvc_reports, "dvc", WARNING, "core.analytics"),
    Damage(a_broken_rwlock, "leftovers", BROKEN, "rwlock", is_mended=True),
    Damage(a_file_that_is_gone, "data", BROKEN, "gone: data/cubes/p001/p001_smile_left.h5"),
    Damage(a_file_that_is_cut_off, "data", BROKEN, "of another size: data/cubes/p002/p002_smile_left.h5"),
    Damage(a_file_that_was_made_anew, "data", BROKEN, "made anew since: data/cubes/p003/p003_smile_left.h5"),
    Damage(no_manifest, "data", BROKEN, "come to their end", stands_alone=True),
    Damage(an_edited_manifest, "data", BROKEN, "digest", stands_alone=True),
    Damage(a_manifest_that_was_not_recorded, "data", BROKEN, "dvc.lock records", stands_alone=True),
    Damage(no_data, "data", HINT, "no data yet", stands_alone=True),
    Damage(data_for_all_to_see, "privacy", WARNING, "The folder data must be closed", is_mended=True),
    Damage(runs_for_all_to_see, "privacy", WARNING, "The folder mlruns must be closed", is_mended=True),
    Damage(a_secret_for_all_to_see, "privacy", BROKEN, ".env", is_mended=True),
    Damage(a_link_to_nowhere, "databases", BROKEN, "link to /nowhere/mlflow.db", stands_alone=True),
    Damage(a_damaged_store, "databases", BROKEN, "mlruns/mlflow.db must be a whole database", stands_alone=True),
    Damage(damaged_searches, "databases", BROKEN, "mlruns/optuna.db must be a whole database"),
    Damage(a_damaged_ledger, "databases", BROKEN, "mlruns/ledger.db must be a whole database", stands_alone=True),
    Damage(a_store_of_files, "runs", WARNING, "refuses to read its old store"),
    Damage(an_older_store, "runs", BROKEN, "it is older (0584bdc529eb)", stands_alone=True),
    Damage(a_newer_store, "runs", BROKEN, "123456789abc", stands_alone=True),
    Damage(a_repository_that_was_moved, "runs", BROKEN, "was moved", is_mended=True),
    Damage(files_of_another_repository, "runs", BROKEN, "of another repository", stands_alone=True),
    Damage(other_data_than_the_champion_s, "models", WARNING, "champion of rgb_vis (version 1)"),
    Damage(a_killed_training, "leftovers", WARNING, "training of hrnet on rgb_vis", is_mended=True),
    Damage(a_run_of_a_dead_process, "leftovers", WARNING, DEAD, is_mended=True),
    Damage(a_run_that_was_not_delivered, "leftovers", WARNING, "hrnet-rgb_vis"),
    Damage(files_of_dead_writers, "leftovers", WARNING, "temporary file in mlruns", is_mended=True),
    Damage(cubes_of_dead_writers, "leftovers", WARNING, "data holds 1", is_mended=True),
    Damage(a_server_without_driver, "databases", BROKEN, "postgresql+psycopg://", stands_alone=True),
    Damage(a_server_of_the_wrong_driver, "databases", BROKEN, "postgresql+asyncpg://", stands_alone=True),
    Damage(a_database_that_is_away, "databases", BROKEN, "must let us in"),
    Damage(no_address_at_all, "databases", BROKEN, "HYPERSKIN_DATABASE must be an address", stands_alone=True),
    Damage(an_mlflow_server_that_is_away, "databases", BROKEN, "MLflow server", stands_alone=True),
    Damage(an_mlflow_store_of_files, "databases", BROKEN, "MLFLOW_TRACKING_URI", stands_alone=True),
    Damage(a_prefect_server_that_is_away, "flows", BROKEN, "PREFECT_API_URL"),
    Damage(a_gpu_and_a_torch_without_cuda, "gpu", WARNING, "must be a CUDA build", stands_alone=True),
    Damage(a_driver_that_does_not_answer, "gpu", BROKEN, "could not talk to the driver", stands_alone=True),
)
# Where there is a GPU, its trainings need no cores, and torch is built for it.
_WITHOUT_GPU = (more_trainings_than_cores, a_gpu_and_a_torch_without_cuda)
DAMAGES = tuple(one for one in _ALL if one.do not in _WITHOUT_GPU or shutil.which("nvidia-smi") is None)
