"""One unit of training: what it is, and the key under which its result is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import hyperskin
from hyperskin.data.manifest import Manifest
from hyperskin.data.scaling import InputScale
from hyperskin.errors import DataError, UnknownNameError
from hyperskin.pairs import Pair, find_pair
from hyperskin.params import ALL, AND, FILE_NAME, Params, section_values
from hyperskin.steps.captures import code_version, make_key

CHECKPOINTS = Path("mlruns/checkpoints")

_PACKAGE = Path(hyperskin.__file__).parent
_CODE_FOLDERS = ("models", "training", "data", "metrics", "skin")
_CODE_STEPS = (
    "train_unit",
    "examine",
    "evaluate",
    "cameras",
    "exposures",
    "bare_skin",
    "fidelity",
    "gain_prior",
    "subject_calibration",
    "fit",
)
_CODE_FILES = ("bands.py", "cube.py", "pairs.py", *(f"steps/{name}.py" for name in _CODE_STEPS))
_CODE_OF_IMPORTS = ("steps/import_unit.py",)
_WEIGHTS_DIGITS = 12
_REGRESSION = "regression_"
_NO_INFLUENCE = ("pairs", "models", "slots", "cameras", "test_cameras", "test_exposures")


class UnitName(NamedTuple):
    """What a person calls a unit: its model, its pair, whose pictures it is trained on, and by which seed.

    The seed is None where it is that of `train.seed`, and for a regression, which has none.
    """

    model: str
    pair: str
    camera: str
    seed: int | None = None


@dataclass(frozen=True)
class Unit:
    """One model on one pair, trained on the pictures of one camera, of several or of all.

    Attributes:
        model: A network's name, or `regression_<kind>`.
        pair: The reconstruction task.
        config: The network's sizes; empty for a regression.
        recipe: All parameters that decide the result, as plain values.
        key: Hash of model, pair, parameters, manifest and code.
        code: Hash of the code alone.
        manifest: Digest of the data.
        cameras: Whose pictures it is trained on, in the order in which they were rendered. It is examined with those
            of the first.
        test_cameras: Whose pictures it is examined with too.
        rendered: All cameras of the data.
        test_exposures: In how many times its light it is examined too.
        is_repeat: Whether it is trained by another seed than `train.seed`: to see what chance does, and not to be used.
    """

    model: str
    pair: Pair
    config: dict[str, Any]
    recipe: dict[str, Any]
    key: str
    code: str
    manifest: str
    cameras: tuple[str, ...]
    test_cameras: tuple[str, ...]
    rendered: tuple[str, ...]
    test_exposures: tuple[float, ...] = ()
    is_repeat: bool = False

    @property
    def name(self) -> UnitName:
        """What a person calls it."""
        return UnitName(
            self.model, self.pair.name, self.recipe["camera"], self.recipe["seed"] if self.is_repeat else None
        )

    @property
    def title(self) -> str:
        """The same in words; the camera is told where there are several."""
        return f"{self.model} on {self.pair.name}" + self.title_end

    @property
    def run_name(self) -> str:
        """What people call its run in MLflow."""
        return f"{self.model}-{self.pair.name}" + (f" ({self.size})" if self.size else "") + self.title_end

    @property
    def title_end(self) -> str:
        """What a title of it ends with: the camera where the data know several, and the seed of a repeated training."""
        camera = f", camera {self.recipe['camera']}" if len(self.rendered) > 1 else ""
        return camera + (f", seed {self.recipe['seed']}" if self.is_repeat else "")

    @property
    def camera(self) -> str:
        """Whose pictures it is examined with."""
        return self.cameras[0]

    @property
    def regression_kind(self) -> str | None:
        """The kind of regression, or None for a network."""
        return regression_kind(self.model) if is_regression(self.model) else None

    @property
    def size(self) -> str:
        """How big the network is, such as "blocks 8", for people."""
        return describe_size(self.config)

    @property
    def folder(self) -> Path:
        """Where its checkpoint lies while it is trained."""
        return CHECKPOINTS / self.key

    def facts(self) -> dict[str, str]:
        """Return all that makes up the key, as plain text by name, to tell what differs between two units."""
        made_with = {"model": self.model, "pair": self.pair.name, "data": self.manifest, "code": self.code}
        numbers = {**self.config, **self.recipe}
        return made_with | {
            name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in numbers.items()
        }

    @classmethod
    def of(
        cls,
        model: str,
        pair_name: str,
        params: Params,
        manifest: Manifest,
        *,
        camera: str = "",
        seed: int | None = None,
        **changes: Any,
    ) -> Unit:
        """Return the unit that params describe for this model, pair and camera, with `changes` to its recipe.

        Args:
            model: Its name.
            pair_name: The pair's.
            params: Parameters.
            manifest: The data.
            camera: One of the trainings in `train.cameras`; the first where empty.
            seed: In place of `train.seed`; a regression has none.
            changes: Values of the recipe that differ.

        Raises:
            UnknownNameError: The params know no such model, pair or training.
            DataError: The data do not hold a camera's pictures.
        """
        pair = find_pair(pair_name)
        config, recipe = model_recipe(model, pair_name, params)
        rendered = manifest.cameras
        cameras = _find_cameras(camera or params.train.cameras[0], params, rendered)
        tested = _find_tested(params, cameras, rendered)
        recipe |= _examination(params, cameras, tested, rendered) | changes
        is_repeat = not is_regression(model) and seed not in (None, params.train.seed)
        if is_repeat:
            recipe["seed"] = seed
        code = training_code_version()
        key = make_key(model, pair.name, config, recipe, manifest.digest, code)
        return cls(
            model,
            pair,
            config,
            recipe,
            key,
            code,
            manifest.digest,
            cameras,
            tested,
            rendered,
            params.train.test_exposures,
            is_repeat,
        )

    @classmethod
    def of_file(
        cls, sha256: str, model: str, pair_name: str, params: Params, manifest: Manifest, *, input_scale: InputScale
    ) -> Unit:
        """Return the examination of a network that was trained elsewhere, with the pictures that examine a champion.

        Its key is of the file and not of how that came about; its sizes are known when the file is read.

        Args:
            sha256: Hash of the file of weights.
            model: Which network it holds.
            pair_name: What it reconstructs.
            params: Their cameras are read.
            manifest: The data.
            input_scale: How it wants its pictures.

        Raises:
            UnknownNameError: There is no such pair.
            DataError: The data do not hold a camera's pictures.
        """
        pair, rendered = find_pair(pair_name), manifest.cameras
        cameras = (champion_camera(params, manifest),)
        tested = _find_tested(params, cameras, rendered)
        recipe = {
            "origin": "pretrained",
            "weights": sha256[:_WEIGHTS_DIGITS],
            "input_scale": input_scale,
            **_examination(params, cameras, tested, rendered),
        }
        code = make_key(training_code_version(), code_version(*_CODE_OF_IMPORTS))
        key = make_key(sha256, model, pair.name, recipe, manifest.digest, code)
        exposures = params.train.test_exposures
        return cls(model, pair, {}, recipe, key, code, manifest.digest, cameras, tested, rendered, exposures)


def params_units(root: Path, manifest: Manifest) -> list[Unit]:
    """Return every unit of params.yaml on these data, in its order; what two names mean comes once."""
    params = Params.read(root / FILE_NAME)
    units = [Unit.of(name.model, name.pair, params, manifest, camera=name.camera) for name in unit_names(params)]
    return list({unit.key: unit for unit in units}.values())


def unit_names(params: Params) -> list[UnitName]:
    """Return every unit of params by its name: model by model, on each pair, on each camera."""
    return [
        UnitName(model, pair, camera)
        for model in model_names(params)
        for pair in params.train.pairs
        for camera in params.train.cameras
    ]


def champion_camera(params: Params, manifest: Manifest) -> str:
    """Return whose pictures a champion is examined with: those of the first training of params."""
    return _split_entry(params.train.cameras[0], manifest.cameras)[0]


def camera_tags(unit: Unit, params: Params, manifest: Manifest) -> dict[str, str]:
    """Return what a run's tags say of cameras: whose pictures the model knows, and with whose it is examined."""
    examined = [name for name in unit.rendered if name in (unit.camera, *unit.test_cameras)]
    return {
        "cameras": ", ".join(unit.cameras),
        "test_camera": unit.camera,
        "test_cameras": ", ".join(examined) or unit.camera,
        "champion_camera": champion_camera(params, manifest),
    }


def work_digest(root: Path) -> str:
    """Return one hash over all units of params.yaml and the data: what a table or a sheet of theirs was made from."""
    return make_key([unit.key for unit in params_units(root, Manifest.read(root / "data" / "manifest.json"))])


def training_code_version() -> str:
    """Return the hash over the sources that decide a trained model and its scores."""
    modules = [
        path.relative_to(_PACKAGE).as_posix() for folder in _CODE_FOLDERS for path in (_PACKAGE / folder).glob("*.py")
    ]
    return code_version(*modules, *_CODE_FILES)


def model_names(params: Params) -> list[str]:
    """Return every model of params: the regressions, which are the floor, and then the networks."""
    return [f"{_REGRESSION}{kind}" for kind in params.regression.kinds] + list(params.train.models)


def is_regression(model: str) -> bool:
    """Tell whether a model is fitted in closed form, and not trained."""
    return model.startswith(_REGRESSION)


def regression_kind(model: str) -> str:
    """Return the kind of a regression by its name."""
    return model.removeprefix(_REGRESSION)


def describe_size(config: Mapping[str, int]) -> str:
    """Return how big a network is, such as "blocks 8", for people; empty for the published size and a regression."""
    return ", ".join(f"{name} {value}" for name, value in config.items())


def model_recipe(model: str, pair: str, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's sizes, and how it is fitted on a pair, as params have it.

    Raises:
        UnknownNameError: The params know no such model.
    """
    known = model_names(params)
    if model not in known:
        raise UnknownNameError(f"`model` must be one of {', '.join(known)}; got {model!r}.")
    if is_regression(model):
        return {}, {"ridge": params.regression.ridge, "transfer": params.render.transfer}
    network = params.train.models[model]
    recipe = {key: value for key, value in section_values(params.train).items() if key not in _NO_INFLUENCE}
    return network.config(), recipe | network.own_recipe(pair)


def _examination(
    params: Params, cameras: tuple[str, ...], tested: tuple[str, ...], rendered: tuple[str, ...]
) -> dict[str, str]:
    """Return what a recipe says of pictures: whose it is trained on, and with which it is examined too."""
    return {
        "camera": _call(cameras, rendered),
        "test_cameras": _call_tested(cameras, tested, rendered),
        "test_exposures": ", ".join(f"{gain:g}" for gain in params.train.test_exposures) or "none",
    }


def _find_cameras(entry: str, params: Params, rendered: Sequence[str]) -> tuple[str, ...]:
    """Return the cameras of one training, after checking that params want it."""
    wanted = [_split_entry(each, rendered) for each in params.train.cameras]
    cameras = _split_entry(entry, rendered)
    if cameras not in wanted:
        known = ", ".join(params.train.cameras)
        raise UnknownNameError(f"`camera` must be one of the trainings in `train.cameras` ({known}); got {entry!r}.")
    return cameras


def _split_entry(entry: str, rendered: Sequence[str]) -> tuple[str, ...]:
    if entry == ALL:
        if not rendered:
            raise DataError(
                f"`train.cameras` may say {ALL!r} where the manifest names the rendered cameras; it names none: run "
                "`dvc repro`."
            )
        return tuple(rendered)
    named = tuple(dict.fromkeys(entry.split(AND)))
    if not rendered:
        return named
    _require_rendered("cameras", named, rendered)
    return tuple(name for name in rendered if name in named)


def _find_tested(params: Params, cameras: Sequence[str], rendered: Sequence[str]) -> tuple[str, ...]:
    """Return the cameras with whose pictures a unit is examined beside the first of its own."""
    wanted = rendered if params.train.test_cameras == ALL else params.train.test_cameras
    if rendered:
        _require_rendered("test_cameras", wanted, rendered)
    return tuple(name for name in rendered if name in wanted and name != cameras[0])


def _require_rendered(key: str, names: Sequence[str], rendered: Sequence[str]) -> None:
    if strangers := [name for name in names if name not in rendered]:
        raise DataError(
            f"`train.{key}` must name cameras that were rendered ({', '.join(rendered)}); got {strangers[0]!r}: put it "
            "into `render.cameras` and run `dvc repro`."
        )


def _call(cameras: tuple[str, ...], rendered: tuple[str, ...]) -> str:
    """Return what a set of cameras is called, the same however it was written."""
    return ALL if len(cameras) > 1 and cameras == rendered else AND.join(cameras)


def _call_tested(cameras: tuple[str, ...], tested: tuple[str, ...], rendered: tuple[str, ...]) -> str:
    return ALL if {cameras[0], *tested} >= set(rendered) else AND.join(tested) or "none"
