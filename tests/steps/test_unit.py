"""A unit's key changes with what decides its result, and with nothing else."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest, write_manifest
from hyperskin.data.scaling import InputScale
from hyperskin.errors import DataError, UnknownNameError
from hyperskin.ledger import Ledger
from hyperskin.params import FILE_NAME, Params
from hyperskin.steps.claim import checkpoint_path, find_interrupted
from hyperskin.steps.finished import open_units
from hyperskin.steps.unit import Unit, champion_camera, model_names


def _params(**train: Any) -> Params:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["train"].update(train)
    return Params.parse(values, "test")


def _manifest(digest: str = "d") -> Manifest:
    return Manifest(Path(), "cave", {}, {}, digest)


def _key(model: str = "hrnet", manifest: Manifest | None = None, **train: Any) -> str:
    return Unit.of(model, "rgb_vis", _params(**train), manifest or _manifest()).key


def test_equal_units_have_equal_keys() -> None:
    assert _key() == _key()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"crop_px": 24},
        {"loss": "mrae"},
        {"seconds": 61.0},
        {"models": {"hrnet": {"width": 32}}},
        {"schedule": "cosine_per_epoch"},
        {"crop_padding_px": 8},
        {"crop_stride_px": 8},
        {"input_scale": "min_max"},
        {"monitor": "val_mae/full"},
        {"steps_per_epoch": None},
    ],
)
def test_a_parameter_that_decides_changes_the_key(change: dict[str, Any]) -> None:
    assert _key(**change) != _key()


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 7},
        {"pairs": ["rgb_vis", "msi_nir"]},
        {"models": {"hrnet": {"width": 8}, "mst_plus_plus": {"stages": 3}}},
    ],
)
def test_a_parameter_of_others_does_not(change: dict[str, Any]) -> None:
    assert _key(**change) == _key()


def test_other_data_or_another_model_is_another_unit() -> None:
    assert _key(manifest=_manifest("e")) != _key()
    assert _key("mst_plus_plus") != _key()


def test_a_regression_does_not_depend_on_how_networks_are_trained() -> None:
    assert _key("regression_linear", seed=5) == _key("regression_linear")
    assert Unit.of("regression_linear", "rgb_vis", _params(), _manifest()).regression_kind == "linear"


def test_a_training_by_another_seed_is_another_unit_and_says_so() -> None:
    one, two = (Unit.of("hrnet", "rgb_vis", _params(), _manifest(), seed=seed) for seed in (1, 2))
    assert one == Unit.of("hrnet", "rgb_vis", _params(), _manifest())
    assert (one.is_repeat, one.name.seed, one.title) == (False, None, "hrnet on rgb_vis")
    assert (two.is_repeat, two.name.seed, two.title) == (True, 2, "hrnet on rgb_vis, seed 2")
    assert (two.recipe["seed"], two.run_name) == (2, "hrnet-rgb_vis (width 8), seed 2")
    assert two.key == _key(seed=2) != one.key


def test_a_training_broken_off_is_that_of_its_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    broken, other = (Unit.of("hrnet", "rgb_vis", _params(), _manifest(), seed=seed) for seed in (2, 3))
    with ledger.claim(broken.key, about=broken.facts(), stale_s=60):
        broken.folder.mkdir(parents=True)
        checkpoint_path(broken.folder).touch()
    again = Unit.of("hrnet", "rgb_vis", _params(crop_px=24), _manifest(), seed=2)
    assert set(find_interrupted(again, ledger)) == {broken.key}
    assert find_interrupted(other, ledger) == {}


def test_a_regression_has_no_seed() -> None:
    unit = Unit.of("regression_linear", "rgb_vis", _params(), _manifest(), seed=2)
    assert unit == Unit.of("regression_linear", "rgb_vis", _params(), _manifest())


def test_a_models_own_rate_wins() -> None:
    params = _params(models={"hrnet": {"width": 16, "learning_rate": 5e-4}})
    unit = Unit.of("hrnet", "rgb_vis", params, _manifest())
    assert unit.recipe["learning_rate"] == 5e-4
    assert unit.config == {"width": 16}


CAMERAS = ("cie", "nikon", "phone")


def _seen(*cameras: str, digest: str = "d") -> Manifest:
    """Return a manifest of two captures with pictures of these cameras, of which one has another's too."""
    file = FileEntry("file", 3, "0" * 64)
    captures = {
        name: CaptureEntry(
            CaptureId.parse(name), "train", file, file, None, (24, 32), {}, {"render": {"cameras": names}}
        )
        for name, names in (("p001_smile_left", [*cameras]), ("p002_smile_left", ["lone", *cameras[::-1]]))
    }
    return Manifest(Path(), "cave", {}, captures, digest)


def _unit(camera: str, manifest: Manifest, **train: Any) -> Unit:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["render"]["cameras"] = [*CAMERAS, "sim28"]
    values["train"] |= {"cameras": [camera]} | train
    return Unit.of("regression_linear", "rgb_vis", Params.parse(values, "x"), manifest)


def test_a_manifest_knows_the_cameras_that_every_capture_has_in_the_order_rendered() -> None:
    assert _seen("phone", "cie").cameras == ("phone", "cie")
    assert _manifest().cameras == ()


def test_all_cameras_are_those_that_were_rendered() -> None:
    unit = _unit("all", _seen(*CAMERAS))
    assert (unit.cameras, unit.camera, unit.test_cameras) == (CAMERAS, "cie", ("nikon", "phone"))
    assert unit.recipe["camera"] == unit.recipe["test_cameras"] == "all"
    assert unit.title == "regression_linear on rgb_vis, camera all"


@pytest.mark.parametrize(("entry", "same"), [("all", "cie"), ("cie + cie", "cie")])
def test_all_of_one_camera_and_one_camera_twice_are_the_training_with_it_alone(entry: str, same: str) -> None:
    assert _unit(entry, _seen("cie")) == _unit(same, _seen("cie"))
    assert _unit(same, _seen("cie")).title == "regression_linear on rgb_vis"


def test_a_set_of_cameras_has_one_key_however_it_is_written() -> None:
    manifest = _seen(*CAMERAS)
    assert _unit("nikon + cie", manifest) == _unit("cie + nikon", manifest)
    assert _unit("cie + phone + nikon", manifest) == _unit("all", manifest)
    keys = [_unit(entry, manifest).key for entry in ("cie", "nikon", "cie + nikon", "all")]
    assert len(set(keys)) == 4


def test_who_is_tested_is_part_of_the_key_and_what_stands_beside_is_not() -> None:
    manifest = _seen(*CAMERAS)
    less = _unit("cie", manifest, test_cameras=["cie", "phone"])
    assert (less.test_cameras, less.recipe["test_cameras"]) == (("phone",), "phone")
    assert less.key != _unit("cie", manifest).key
    assert _unit("cie", manifest, test_cameras=[]).recipe["test_cameras"] == "none"
    assert _unit("cie", manifest, test_cameras=["nikon", "phone"]) == _unit("cie", manifest)
    assert _unit("cie", manifest, cameras=["cie", "all"]) == _unit("cie", manifest)


@pytest.mark.parametrize("model", ["regression_linear", "hrnet"])
def test_the_light_of_the_examination_is_part_of_the_key(model: str) -> None:
    params = _params(test_exposures=[0.7, 0.25])
    darker = Unit.of(model, "rgb_vis", params, _manifest())
    assert darker.test_exposures == (0.7, 0.25)
    assert darker.recipe["test_exposures"] == "0.7, 0.25"
    assert Unit.of(model, "rgb_vis", _params(), _manifest()).recipe["test_exposures"] == "none"
    assert darker.key != _key(model)
    of_file = Unit.of_file("ab", "hrnet", "rgb_vis", params, _manifest(), input_scale="fixed")
    assert (of_file.test_exposures, of_file.recipe["test_exposures"]) == ((0.7, 0.25), "0.7, 0.25")


@pytest.mark.parametrize("change", [{"cameras": ["sim28_01"]}, {"test_cameras": ["sim28_01"]}])
def test_a_camera_that_was_not_rendered_is_refused_by_name(change: dict[str, Any]) -> None:
    key = next(iter(change))
    with pytest.raises(DataError, match=rf"`train\.{key}` must name .* \(cie, nikon\); got 'sim28_01': put it into"):
        _unit("cie", _seen("cie", "nikon"), **change)


def test_all_needs_a_manifest_that_names_them() -> None:
    with pytest.raises(DataError, match="it names none: run `dvc repro`"):
        _unit("all", _manifest())


def test_a_training_that_params_do_not_want_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"`camera` must be one of the trainings in `train.cameras` \(cie\)"):
        Unit.of("hrnet", "rgb_vis", _params(), _manifest(), camera="nikon")


def test_a_champion_is_examined_with_the_first_camera_of_the_first_training() -> None:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["render"]["cameras"] = list(CAMERAS)
    for first, expected in (("phone", "phone"), ("phone + nikon", "nikon"), ("all", "cie")):
        values["train"]["cameras"] = [first, "cie"]
        assert champion_camera(Params.parse(values, "x"), _seen(*CAMERAS)) == expected


def test_the_regressions_come_first() -> None:
    assert model_names(_params())[:2] == ["regression_mean", "regression_linear"]
    assert model_names(_params())[-4:] == ["hscnn_plus", "hrnet", "mst_plus_plus", "basal"]


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"`model` must be one of regression_mean, .*got 'unet'"):
        Unit.of("unet", "rgb_vis", _params(), _manifest())


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with parameters and a manifest, and tables as MLflow has them, without a run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / FILE_NAME).write_text(shipped_params())
    write_manifest(tmp_path / "data" / "manifest.json", source="cave", settings={}, captures=[])
    (tmp_path / "mlruns").mkdir()
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as database:
        database.executescript(
            "create table experiments (experiment_id, name); insert into experiments values (1, 'hyperskin');"
            "create table runs (run_uuid, experiment_id, status, lifecycle_stage, start_time);"
            "create table tags (run_uuid, key, value);"
        )
    return tmp_path


def _finish(root: Path, model: str, pair: str) -> None:
    params = Params.read(root / FILE_NAME)
    key = Unit.of(model, pair, params, Manifest.read(root / "data" / "manifest.json")).key
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database:
        database.execute("insert into runs values (?, 1, 'FINISHED', 'active', 0)", [key])
        database.execute("insert into tags values (?, 'unit_key', ?)", [key, key])
        database.commit()


def test_what_is_not_finished_is_open(repository: Path) -> None:
    params = Params.read(repository / FILE_NAME)
    everything = [(model, pair, "cie", None) for model in model_names(params) for pair in params.train.pairs]
    assert open_units(repository) == everything
    _finish(repository, *everything[1][:2])
    assert open_units(repository) == everything[:1] + everything[2:]


def test_without_a_manifest_everything_is_open(repository: Path) -> None:
    _finish(repository, "hrnet", "rgb_vis")
    assert ("hrnet", "rgb_vis", "cie", None) not in open_units(repository)
    (repository / "data" / "manifest.json").unlink()
    assert ("hrnet", "rgb_vis", "cie", None) in open_units(repository)


def test_whoever_asks_what_is_open_loads_neither_torch_nor_mlflow(repository: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hyperskin.steps.finished import open_units; open_units(Path('.'));"
        "import hyperskin.steps.train, hyperskin.steps.prepare;"
        "print(sorted({'mlflow', 'torch', 'matplotlib', 'prefect'} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent.parent
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert said.stdout == "[]\n", said.stderr


def _file_key(
    sha256: str = "ab" * 32, manifest: Manifest | None = None, scale: InputScale = "fixed", **train: Any
) -> str:
    params = _params(**train)
    return Unit.of_file(sha256, "hrnet", "rgb_vis", params, manifest or _manifest(), input_scale=scale).key


def test_a_file_of_weights_is_a_unit_of_its_own_whatever_params_say_of_training() -> None:
    assert _file_key() == _file_key(seed=5, loss="mrae", crop_px=24)
    others = {_file_key("cd" * 32), _file_key(scale="min_max"), _file_key(manifest=_manifest("e")), _key()}
    assert len(others | {_file_key()}) == 5
