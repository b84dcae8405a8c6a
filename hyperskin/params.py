"""The only reader of YAML: params.yaml as one frozen, typed section per stage, and what DVC's lock file records."""

from __future__ import annotations

import difflib
import io
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from hyperskin.data.test_sets import NAMES, OWN, find_test_set
from hyperskin.errors import DataError, HyperSkinError, MissingFileError, ParamsError
from hyperskin.pairs import find_pair
from hyperskin.sources.catalog import ARCHIVE, SOURCES
from hyperskin.sources.phantom import CAPTURES
from hyperskin.spectral.responses import camera_slug

FILE_NAME = "params.yaml"
NETWORKS = ("hscnn_plus", "hrnet", "mst_plus_plus", "basal")
"""The networks of `hyperskin.models.baselines`, which loads torch."""
ALL = "all"
"""In the place of a camera: every rendered one."""
AND = " + "
"""Between the cameras of one training."""
GROUPS = ("sim28", "file")
"""Names in `render.cameras` that stand for several cameras."""

_MOVED = {
    ("train", "camera"): f"it is `cameras` now, a list of trainings: write `cameras: [cie]` and `test_cameras: {ALL}`"
}
_DASK_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:]+\]|[^\s:/@\[\]]+):\d{1,5}")
_LARGEST_BYTES = 64 * 1024
_SMALL = 0.01  # numbers below it are written as powers of ten


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SourceParams(_Section):
    """Which source brings captures in, and where a person keeps them."""

    name: str
    path: str
    masks: str

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        _require_known("the source", name, tuple(SOURCES))
        return name


class PhantomParams(_Section):
    """Who is made up and how finely they are scanned; for the source `phantom` alone."""

    subjects: int = Field(ge=1, le=999)
    captures: tuple[str, ...] = Field(min_length=1)
    height_px: int = Field(ge=16, le=4096)
    width_px: int = Field(ge=16, le=4096)
    reference_lines: int = Field(ge=2, le=1000)
    noise: float = Field(ge=0, le=100)
    extended_optics: bool
    seed: int = Field(ge=0)

    @field_validator("captures")
    @classmethod
    def _are_known(cls, captures: tuple[str, ...]) -> tuple[str, ...]:
        strangers = [name for name in captures if name not in CAPTURES]
        if strangers or len(set(captures)) < len(captures):
            got = f"got {strangers[0]!r}" if strangers else f"one stands twice in {', '.join(captures)}"
            raise ValueError(f"each must be one of {', '.join(CAPTURES)}, once; {got}")
        return captures


class CalibrateParams(_Section):
    """Counts to reflectance, and 448 bands to 31 + 31."""

    resample: Literal["linear", "cubic", "gaussian"]
    gaussian_fwhm_nm: float = Field(gt=0)
    white_reflectance: float = Field(gt=0, le=1)
    repair: bool
    max_bad_fraction: float = Field(ge=0, le=1)
    keep_448: bool


class RenderParams(_Section):
    """Reflectance to what a consumer camera would have stored."""

    cameras: tuple[str, ...] = Field(min_length=1)
    camera_file: Path
    illuminant: Literal["d50", "d55", "d65", "d75"]
    colour_correction: bool
    exposure: Literal["none", "max", "p99.9"]
    transfer: Literal["srgb", "linear"]
    encoding: Literal["jpeg", "lossless"]

    @field_validator("cameras")
    @classmethod
    def _are_keys(cls, cameras: tuple[str, ...]) -> tuple[str, ...]:
        slugs = tuple(_camera_key(name) for name in cameras)
        if ALL in slugs:
            raise ValueError(f"cameras must be named; {ALL!r} is what `train.cameras` calls all of them")
        return slugs


class MaskParams(_Section):
    """Subject against background; a given mask replaces ours."""

    given_suffix: str
    make: bool
    smallest_fraction: float = Field(ge=0, le=1)


class SplitParams(_Section):
    """Subjects to train, valid and test."""

    test_set: str
    test: tuple[str, ...]
    valid: tuple[str, ...]
    test_fraction: float = Field(ge=0, lt=1)
    valid_fraction: float = Field(ge=0, lt=1)
    seed: int = Field(ge=0)

    @field_validator("test_set")
    @classmethod
    def _is_published(cls, name: str) -> str:
        _require_known("the test set", name, NAMES)
        try:
            return name if name == OWN else find_test_set(name).name
        except HyperSkinError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _leaves_some_for_training(self) -> Self:
        if self.test_fraction + self.valid_fraction >= 1:
            raise ValueError("`test_fraction` + `valid_fraction` must be below 1")
        return self

    @model_validator(mode="after")
    def _is_disjoint(self) -> Self:
        both = [subject for subject in self.test if subject in self.valid]
        if both:
            raise ValueError(
                f"`test` and `valid` must not share a subject; both name {', '.join(both)}: take it out of one"
            )
        return self


class OwnRecipe(_Section):
    """What one network may train with that differs from the rest; None: as the rest."""

    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    loss: Literal["l1", "mrae"] | None = None
    exposure_jitter: float | None = Field(default=None, ge=0, le=1)


class NetworkParams(OwnRecipe):
    """One network: its size and, where it differs from the rest, how it is trained, on all pairs or on one."""

    blocks: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=4)
    stages: int | None = Field(default=None, ge=1)
    by_pair: dict[str, OwnRecipe] = Field(default_factory=dict)

    @field_validator("by_pair")
    @classmethod
    def _are_pairs(cls, by_pair: dict[str, OwnRecipe]) -> dict[str, OwnRecipe]:
        for pair in by_pair:
            find_pair(pair)
        return by_pair

    def own_recipe(self, pair: str) -> dict[str, Any]:
        """Return what differs from the rest of `train` on one pair; what is said of the pair wins."""
        layers = [self, self.by_pair.get(pair, OwnRecipe())]
        values: dict[str, Any] = {}
        for layer in layers:
            own = layer.model_dump(mode="json", include=set(OwnRecipe.model_fields))
            values |= {key: value for key, value in own.items() if value is not None}
        return values

    def config(self) -> dict[str, int]:
        """Return the sizes that are set, by the names the network's builder knows."""
        sizes = {"blocks": self.blocks, "width": self.width, "stages": self.stages}
        return {name: size for name, size in sizes.items() if size is not None}


class TrainParams(_Section):
    """How every network is trained."""

    pairs: tuple[str, ...] = Field(min_length=1)
    models: dict[str, NetworkParams] = Field(min_length=1)
    cameras: tuple[str, ...] = Field(min_length=1)
    test_cameras: Literal["all"] | tuple[str, ...]
    test_exposures: tuple[float, ...]
    epochs: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    steps_per_epoch: int | None = Field(ge=1)
    crop_px: int = Field(ge=8)
    crop_padding_px: int = Field(ge=0)
    crop_stride_px: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    final_learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "cosine_per_epoch"]
    loss: Literal["l1", "mrae"]
    precision: Literal["fp32", "bf16", "fp16"]
    augment: bool
    exposure_jitter: float = Field(ge=0, le=1)
    input_scale: Literal["fixed", "min_max"]
    monitor: Literal["val_sam/masked", "val_mae/full", "val_mrae/full"]
    seed: int = Field(ge=0)
    slots: int = Field(ge=1)

    @field_validator("cameras")
    @classmethod
    def _are_trainings(cls, cameras: tuple[str, ...]) -> tuple[str, ...]:
        named = [tuple(dict.fromkeys(map(_camera_key, entry.split(AND)))) for entry in cameras]
        for entry, names in zip(cameras, named, strict=True):
            if ALL in names and len(names) > 1:
                raise ValueError(f"{ALL!r} must stand alone, for it is every camera; got {entry!r}")
            if [set(other) for other in named].count(set(names)) > 1:
                raise ValueError(f"each training must stand once; {AND.join(names)!r} stands twice")
        return tuple(AND.join(names) for names in named)

    @field_validator("test_cameras", mode="before")
    @classmethod
    def _is_all_or_list(cls, cameras: Any) -> Any:
        if cameras != ALL and not isinstance(cameras, list | tuple):
            raise ValueError(f"must be {ALL}, or a list of cameras such as [cie], or []; got {cameras!r}")
        return cameras if cameras == ALL else tuple(cameras)

    @field_validator("test_cameras")
    @classmethod
    def _are_keys(cls, cameras: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return ALL if cameras == ALL else tuple(dict.fromkeys(map(_camera_key, cameras)))

    @field_validator("test_exposures")
    @classmethod
    def _are_gains(cls, gains: tuple[float, ...]) -> tuple[float, ...]:
        if strangers := [gain for gain in gains if gain <= 0 or gain == 1 or gains.count(gain) > 1]:
            raise ValueError(
                "each must be how many times the light is left, above 0 and once; 1 is always examined; got "
                f"{strangers[0]:g}"
            )
        return gains

    @field_validator("models")
    @classmethod
    def _are_known(cls, models: dict[str, NetworkParams]) -> dict[str, NetworkParams]:
        for name in models:
            _require_known("each network", name, NETWORKS)
        return models

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.epochs is None and self.seconds is None:
            raise ValueError("one of `epochs` and `seconds` must be set, or training never ends")
        for pair in self.pairs:
            find_pair(pair)
        return self


class SweepParams(_Section):
    """How the best recipe of every network is looked for."""

    trials: int = Field(ge=1)
    workers: int = Field(ge=1)
    epochs: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    pruner: Literal["median", "hyperband", "none"]
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.epochs is None and self.seconds is None:
            raise ValueError("one of `epochs` and `seconds` must be set, or a trial never ends")
        return self


class StudyParams(_Section):
    """What a robustness study repeats and measures."""

    seeds: tuple[int, ...] = Field(min_length=1)
    frame_px: int = Field(ge=64, le=4096, multiple_of=8)

    @field_validator("seeds")
    @classmethod
    def _are_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if strangers := [seed for seed in seeds if not 0 <= seed < 2**63]:
            raise ValueError(f"each must be 0 or more, and below 2^63; got {strangers[0]}")
        if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
            raise ValueError(f"each must stand once; got {twice[0]} {seeds.count(twice[0])} times")
        return seeds


class RegressionParams(_Section):
    """The floor that every network must beat."""

    kinds: tuple[Literal["mean", "linear", "polynomial", "root_polynomial"], ...]
    ridge: float = Field(ge=0)


class PrivacyParams(_Section):
    """Whose pictures may leave the data folders."""

    publishable_subjects: tuple[str, ...]


class ExecutionParams(_Section):
    """Where the work is done."""

    workers: int = Field(ge=0)
    dask: str
    threads: int = Field(ge=1)
    training: Literal["here", "workers"]
    stale_s: float = Field(ge=5)

    @field_validator("dask")
    @classmethod
    def _is_address(cls, dask: str) -> str:
        if dask and not _DASK_ADDRESS.fullmatch(dask):
            raise ValueError(f"must be empty or a Dask scheduler's tcp://host:port or tls://host:port; got {dask!r}")
        return dask


class Params(_Section):
    """Everything a person may change, by section."""

    source: SourceParams
    phantom: PhantomParams
    calibrate: CalibrateParams
    render: RenderParams
    mask: MaskParams
    split: SplitParams
    train: TrainParams
    sweep: SweepParams
    study: StudyParams
    regression: RegressionParams
    privacy: PrivacyParams
    execution: ExecutionParams

    @model_validator(mode="after")
    def _cameras_are_rendered(self) -> Self:
        rendered = self.render.cameras
        if set(GROUPS) & set(rendered):  # who is in them is known where they are rendered
            return self
        tested = () if self.train.test_cameras == ALL else self.train.test_cameras
        trained = tuple(name for entry in self.train.cameras for name in entry.split(AND) if name != ALL)
        for key, names in (("cameras", trained), ("test_cameras", tested)):
            if strangers := [name for name in names if name not in rendered]:
                raise ValueError(
                    f"`train.{key}` must be among `render.cameras` ({', '.join(rendered)}); got {strangers[0]!r}"
                )
        return self

    @model_validator(mode="after")
    def _pictures_are_encoded(self) -> Self:
        recipes = [own for network in self.train.models.values() for own in (network, *network.by_pair.values())]
        jitters = [self.train.exposure_jitter, *(own.exposure_jitter or 0.0 for own in recipes)]
        takes_curve_away = "basal" in self.train.models or any(jitters) or self.train.test_exposures
        if self.render.transfer != "srgb" and takes_curve_away:
            raise ValueError(
                "`render.transfer` must be srgb where `train` has basal or an `exposure_jitter` or `test_exposures`, "
                f"which take that curve away; got {self.render.transfer!r}"
            )
        return self

    @model_validator(mode="after")
    def _names_its_own_test_set(self) -> Self:
        if self.split.test_set != OWN and self.source.name != ARCHIVE:
            raise ValueError(
                f"`split.test_set` {self.split.test_set} is one of the source {ARCHIVE!r}, whose people have the same "
                f"names as others; the source is {self.source.name!r}: write {OWN}"
            )
        return self

    @classmethod
    def read(cls, path: Path | str = FILE_NAME) -> Params:
        """Return the parameters in the file at `path`.

        Raises:
            MissingFileError: There is no such file.
            ParamsError: It is no YAML 1.2 mapping, or a key is unknown, missing, of the wrong type or out of range.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"Parameters must be in {path}; there is none: run `hyperskin init --help`.")
        return cls.parse(_read_yaml(path), str(path))

    @classmethod
    def parse_text(cls, text: str, origin: str) -> Params:
        """Return the parameters in YAML `text`; `origin` names it in messages."""
        return cls.parse(_parse_yaml(text, origin), origin)

    @classmethod
    def parse(cls, values: Any, origin: str) -> Params:
        """Return the parameters in plain `values`; `origin` names them in messages."""
        try:
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise ParamsError(_explain(error, origin)) from None
        except TypeError as error:
            raise ParamsError(f"{origin} must hold plain numbers, texts and lists; {error}.") from None

    def differs_in_pairs_alone(self, other: Params) -> bool:
        """Tell whether all is equal but the recipes of networks on single pairs, as in a profile that a sweep wrote."""
        return _without_pairs(self) == _without_pairs(other)


def section_values(section: BaseModel) -> dict[str, Any]:
    """Return a section as plain values, for a key or a record."""
    values: dict[str, Any] = section.model_dump(mode="json")
    return values


def read_recorded(lock: Path) -> dict[str, str]:
    """Return the MD5 of every output that DVC's lock file records, by path.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is not what DVC writes.
    """
    if not lock.is_file():
        raise MissingFileError(f"DVC keeps what it made in {lock}; there is none: run `dvc repro`.")
    try:
        stages = _parse_yaml(lock.read_text(encoding="utf-8"), lock.name)["stages"].values()
        outputs = [output for stage in stages for output in stage.get("outs", [])]
        return {str(output["path"]): str(output["md5"]) for output in outputs if "md5" in output}
    except (ParamsError, ValueError, KeyError, TypeError, AttributeError):
        state = "is empty" if lock.stat().st_size == 0 else "holds something else"
        raise DataError(
            f"{lock} must be as DVC wrote it; it {state}: bring it back with `git checkout {lock.name}`, or delete it "
            "and run `dvc repro`."
        ) from None


def _without_pairs(params: Params) -> dict[str, Any]:
    values = section_values(params)
    for network in values["train"]["models"].values():
        del network["by_pair"]
    return values


def profile_file(profile: str) -> str:
    """Return the name of the file that holds `profile`: params.yaml with other numbers, beside it.

    Raises:
        ParamsError: It is no plain word.
    """
    if not re.fullmatch(r"[a-z0-9_-]+", profile):
        raise ParamsError(f"`profile` must be a plain word, such as tuned for params.tuned.yaml; got {profile!r}.")
    return f"params.{profile}.yaml"


def profile_name(params_file: Path) -> str:
    """Return the profile that a parameter file holds; empty for params.yaml and for files of other names."""
    found = re.fullmatch(r"params\.([a-z0-9_-]+)\.yaml", params_file.name)
    return found[1] if found else ""


def with_own_recipes(text: str, recipes: Mapping[str, Mapping[str, Mapping[str, Any]]], *, origin: str) -> str:
    """Return the text of a parameter file with other recipes for some networks on some pairs.

    Comments and everything else stay as they are.

    Args:
        text: YAML.
        recipes: By network and pair, what `train.models.NETWORK.by_pair.PAIR` is to be.
        origin: Names `text` in messages.

    Raises:
        ParamsError: The text, or what comes of it, holds no parameters.
    """
    Params.parse_text(text, origin)
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = _LARGEST_BYTES  # a long line stays one
    values = yaml.load(text)
    for model, by_pair in recipes.items():
        network = values["train"]["models"][model]
        own = network.setdefault("by_pair", _like(network, {}))
        for pair, recipe in by_pair.items():
            own[pair] = _in_one_line({name: _readable(value) for name, value in recipe.items()})
    written = io.StringIO()
    yaml.dump(values, written)
    Params.parse_text(written.getvalue(), origin)
    return written.getvalue()


class _Number(float):
    """A number as people write it: 6.3e-4."""

    def __str__(self) -> str:
        number = Decimal(repr(float(self)))
        return f"{number.normalize():e}" if abs(number) < _SMALL else f"{number.normalize():f}"


class _Representer(RoundTripRepresenter):
    """Writes nothing otherwise than it was: an absent value as null, and our own numbers readably."""


_Representer.add_representer(type(None), lambda representer, _: _scalar(representer, "null", "null"))
_Representer.add_representer(_Number, lambda representer, value: _scalar(representer, "float", str(value)))


def _scalar(representer: RoundTripRepresenter, kind: str, text: str) -> ScalarNode:
    node: ScalarNode = representer.represent_scalar(f"tag:yaml.org,2002:{kind}", text)
    return node


def _readable(value: Any) -> Any:
    return _Number(value) if isinstance(value, float) else value


def _in_one_line(values: Mapping[str, Any]) -> CommentedMap:
    made = CommentedMap(values)
    made.fa.set_flow_style()
    return made


def _like(other: CommentedMap, values: Mapping[str, Any]) -> CommentedMap:
    return _in_one_line(values) if other.fa.flow_style() else CommentedMap(values)


def _read_yaml(path: Path) -> Any:
    size_bytes = path.stat().st_size
    if size_bytes > _LARGEST_BYTES:
        raise ParamsError(f"{path} must be at most {_LARGEST_BYTES} bytes; it has {size_bytes}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ParamsError(
            f"{path} must be UTF-8 text; byte {error.start + 1} is none: save it with that encoding."
        ) from None
    return _parse_yaml(text, str(path))


def _parse_yaml(text: str, origin: str) -> Any:
    try:
        yaml = YAML(typ="safe", pure=True)
        if any(getattr(token, "id", "") == "<alias>" for token in yaml.scan(text)):
            raise ParamsError(f"{origin} must spell every value out; it holds a YAML alias (*name).")
        values = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "no YAML"
        raise ParamsError(f"{origin} must be YAML 1.2;{where} {problem}.") from None
    except RecursionError:
        raise ParamsError(
            f"{origin} must hold plain numbers, texts and lists; it holds lists in lists without end."
        ) from None
    if not isinstance(values, dict):
        raise ParamsError(f"{origin} must hold sections (source, calibrate, ...); got {type(values).__name__}.")
    return values


def _camera_key(name: str) -> str:
    """Return a camera's key, whether somebody wrote that or the maker's name."""
    try:
        return camera_slug(name)
    except DataError as error:
        raise ValueError(str(error)) from None


def _require_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"write {near[0]}" if near else "write one of them, or take it out"
        raise ValueError(f"{what} must be one of {', '.join(known)}; got {name!r}: {advice}")


def _explain(error: ValidationError, origin: str) -> str:
    slips = error.errors(include_url=False)
    typos = [slip for slip in slips if slip["type"] == "extra_forbidden"]
    meant = {(*slip["loc"][:-1], _near(slip["loc"])) for slip in typos}  # missing for no other reason than the typo
    slips = typos + [slip for slip in slips if slip not in typos and slip["loc"] not in meant]
    first, more = slips[0], len(slips) - 1
    tail = f" ({more} more like this)" if more else ""
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{origin}: `{location}` is no known key; {_suggest(first['loc'])}{tail}."
    if first["type"] == "missing":
        return f"{origin}: `{location}` is missing{tail}."
    message = first["msg"].removeprefix("Value error, ").removesuffix(".")
    subject = f"`{location}`: " if location else ""
    got = "" if first["type"] == "value_error" else f"; got {first['input']!r}"
    return f"{origin}: {subject}{message}{got}{tail}."


def _suggest(location: tuple[int | str, ...]) -> str:
    """Return what to write in the place of a key that is not known."""
    if location in _MOVED:
        return _MOVED[location]
    near = _near(location)
    return f"did you mean `{near}`" if near else f"known are {', '.join(_known_keys(Params, location[:-1]))}"


def _near(location: tuple[int | str, ...]) -> str:
    """Return the known key that a misspelled one is nearest to; empty where none is near."""
    return next(iter(difflib.get_close_matches(str(location[-1]), _known_keys(Params, location[:-1]), n=1)), "")


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        elif part == "models":
            model = NetworkParams
    return list(model.model_fields)
