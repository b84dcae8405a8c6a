"""params.yaml is read once, as YAML 1.2, and a slip stops the run with its place."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hyperskin.commands.init import shipped_params
from hyperskin.errors import MissingFileError, ParamsError
from hyperskin.models.baselines import NAMES
from hyperskin.params import NETWORKS, Params, profile_file, profile_name, with_own_recipes


def _write(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    old, new = change
    text = shipped_params()
    assert old in text
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new, 1) if old else text)
    return path


def test_the_shipped_parameters_are_read(tmp_path: Path) -> None:
    params = Params.read(_write(tmp_path))
    assert params.train.final_learning_rate == 1e-6
    assert list(params.train.models) == ["hscnn_plus", "hrnet", "mst_plus_plus", "basal"]
    assert params.train.models["hscnn_plus"].config() == {"blocks": 3}


def test_the_repository_ships_what_init_writes() -> None:
    assert (Path(__file__).parent.parent / "params.yaml").read_text() == shipped_params()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("crop_px:", "crop_pix:"), r"`train.crop_pix` is no known key; did you mean `crop_px`\.$"),
        (("crop_px: 32", "crop_pix: 32\n  zoom: 2"), r"`train.crop_pix`.*`crop_px` \(1 more like this\)\.$"),
        (("  ridge: 1e-6", "  zoom: 2"), r"`regression.zoom` is no known key; .* \(1 more like this\)\.$"),
        (("name: phantom", "name: phantoom"), "`source.name`: the source must be one of .*: write phantom"),
        (("    hrnet:", "    hrnett:"), "`train.models`: each network must be one of .*got 'hrnett': write hrnet"),
        (("    hrnet:", "    7:"), "`train.models`: each network .*got '7': write one of them, or take it out"),
        (('valid: ["p004"', 'valid: ["p003", "p001"'), "`split`: .*share.*both name p001, p003: take it out of one"),
        (("  loss: l1", "  loss: l7"), "`train.loss`.*l1.*got 'l7'"),
        (("batch_size: 2", "batch_size: four"), "`train.batch_size`.*integer.*got 'four'"),
        (("schedule: cosine ", "schedule: linear "), "`train.schedule`.*cosine_per_epoch.*got 'linear'"),
        (("input_scale: fixed ", "input_scale: 255 "), "`train.input_scale`.*min_max.*got 255"),
        (("monitor: val_sam/masked ", "monitor: sam/masked "), "`train.monitor`.*val_mae/full.*got 'sam/masked'"),
        (("crop_padding_px: 0", "crop_padding_px: -8"), "`train.crop_padding_px`.*greater than or equal to 0; got -8"),
        (("crop_stride_px: 1 ", "crop_stride_px: 0 "), "`train.crop_stride_px`.*greater than or equal to 1; got 0"),
        (("steps_per_epoch: 100", "steps_per_epoch: 0"), "`train.steps_per_epoch`.*greater than or equal to 1; got 0"),
        (("  schedule: cosine ", "  scheduled: cosine "), "`train.scheduled` is no known key; did you mean `schedule`"),
        (("batch_size: 2", "batch_size: 0"), "`train.batch_size`.*greater than or equal to 1; got 0"),
        (("batch_size: 2", "batch_size: '4'"), "`train.batch_size`.*got '4'"),
        (("  learning_rate: 2e-3", "  learning_rate: .nan"), "`train.learning_rate`"),
        (("  batch_size: 2", "  batch_size: 2\n  batch_size: 8"), "duplicate key"),
        (("  ridge: 1e-6", ""), "`regression.ridge` is missing"),
        (
            ("  cameras: [cie] ", "  cameras: [sim28_01] "),
            r"`train.cameras` must be among `render.cameras` .*got 'cie'",
        ),
        (('dask: ""', "dask: host:8786"), "`execution.dask`: must be empty or .* tcp://host:port .*got 'host:8786'"),
        (('dask: ""', "dask: tcp://me:secret@host:8786"), "`execution.dask`: must be empty or"),
        (("seconds: 75", "seconds: null"), "one of `epochs` and `seconds` must be set"),
        (("pairs: [rgb_vis,", "pairs: [rgb_viz,"), "`pair` must be one of rgb_vis, msi_nir"),
        (("subjects: 12", "subjects: 0"), "`phantom.subjects`.*greater than or equal to 1; got 0"),
        (("height_px: 64", "height_px: 8"), "`phantom.height_px`.*greater than or equal to 16; got 8"),
        (("noise: 1.0", "noise: -1.0"), "`phantom.noise`"),
        (("height_px: 64", "height_px: 4097"), "`phantom.height_px`.*less than or equal to 4096; got 4097"),
        (("width_px: 64", "width_px: 1000000"), "`phantom.width_px`.*less than or equal to 4096; got 1000000"),
        (("reference_lines: 20", "reference_lines: 1001"), "`phantom.reference_lines`.*equal to 1000; got 1001"),
        (("noise: 1.0", "noise: 1e300"), r"`phantom.noise`.*less than or equal to 100; got 1e\+300"),
        (("neutral_left", "neutral_up"), "`phantom.captures`: each must be one of neutral_front, .*got 'neutral_up'"),
        (("neutral_left", "neutral_front"), "`phantom.captures`: .*once; one stands twice in neutral_front"),
        (
            ("{blocks: 3, learning_rate: 1e-3}", "{block: 3}"),
            "`train.models.hscnn_plus.block` is no known key; did you mean `blocks`",
        ),
    ],
)
def test_a_slip_is_named_with_its_place(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        Params.read(_write(tmp_path, change))


def _with_cameras(rendered: str, trained: str, tested: str = "all") -> Params:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["render"]["cameras"] = YAML(typ="safe", pure=True).load(rendered)
    values["train"] |= {key: YAML(typ="safe", pure=True).load(text) for key, text in (
        ("cameras", trained), ("test_cameras", tested)
    )}  # fmt: skip
    return Params.parse(values, "x")


def test_a_training_is_a_camera_or_several_or_all() -> None:
    params = _with_cameras("[cie, sim28_01, nikon_5100_npl]", "[cie, sim28_01 + cie, all]", "[sim28_01, cie]")
    assert params.train.cameras == ("cie", "sim28_01 + cie", "all")
    assert params.train.test_cameras == ("sim28_01", "cie")
    assert _with_cameras("[cie]", "[all]").train.test_cameras == "all"
    assert _with_cameras("[cie]", "[cie]", "[]").train.test_cameras == ()


def test_a_camera_may_be_called_as_its_maker_does() -> None:
    params = _with_cameras("[CIE, Nikon 5100 (NPL), sim28]", "[Nikon 5100 (NPL) + CIE]", "[Nikon 5100 (NPL)]")
    assert params.render.cameras == ("cie", "nikon_5100_npl", "sim28")
    assert params.train.cameras == ("nikon_5100_npl + cie",)
    assert params.train.test_cameras == ("nikon_5100_npl",)


def test_a_camera_twice_in_one_training_is_there_once() -> None:
    assert _with_cameras("[cie]", "[cie + cie]").train.cameras == ("cie",)


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (("[cie]", "[sim28_01]"), r"`train\.cameras` must be among `render\.cameras` \(cie\); got 'sim28_01'\.$"),
        (("[cie]", "[cie + sim28_01]"), r"`train\.cameras` must be among .* got 'sim28_01'"),
        (("[cie]", "[cie]", "[sim28_01]"), r"`train\.test_cameras` must be among .* got 'sim28_01'"),
        (("[cie]", "[cie]", "cie"), r"`train\.test_cameras`: must be all, or a list .* got 'cie'"),
        (("[cie]", "[cie + all]"), "'all' must stand alone, for it is every camera; got 'cie . all'"),
        (("[cie, sim28_01]", "[cie + sim28_01, sim28_01 + cie]"), "must stand once; 'cie . sim28_01' stands twice"),
        (("[cie]", "['-']"), "`train.cameras`: A camera's name must hold a Latin letter or a digit; got '-'"),
        (("[all]", "[cie]"), "`render.cameras`: cameras must be named; 'all' is what"),
        (("[cie]", "[]"), "`train.cameras`"),
    ],
)
def test_cameras_that_cannot_be_meant_are_refused(cameras: tuple[str, ...], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        _with_cameras(*cameras)


@pytest.mark.parametrize(("gains", "named"), [([0.5, 1], 1), ([0.0], 0), ([-0.5], -0.5), ([0.5, 0.25, 0.5], 0.5)])
def test_other_light_is_other_light_once(gains: list[float], named: float) -> None:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["train"]["test_exposures"] = [2, 0.25]
    assert Params.parse(values, "x").train.test_exposures == (2.0, 0.25)
    values["train"]["test_exposures"] = gains
    with pytest.raises(
        ParamsError, match=rf"`train\.test_exposures`: each must be .* above 0 and once; .*got {named:g}\."
    ):
        Params.parse(values, "x")


@pytest.mark.parametrize(
    ("seeds", "message"),
    [([1, 2, 1], "got 1 2 times"), ([-1, 2], "got -1"), ([2**63], r"below 2\^63"), ([], "at least 1 item")],
)
def test_a_study_has_seeds_each_once(seeds: list[int], message: str) -> None:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["study"]["seeds"] = seeds
    with pytest.raises(ParamsError, match=rf"`study\.seeds`.*{message}"):
        Params.parse(values, "x")


def test_other_light_needs_pictures_with_the_srgb_curve() -> None:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["train"]["models"] = {"hrnet": {}}
    values["train"]["test_exposures"] = [0.5]
    values["render"]["transfer"] = "linear"
    with pytest.raises(ParamsError, match=r"`render\.transfer` must be srgb where .* or `test_exposures`, which"):
        Params.parse(values, "x")


def test_who_stands_in_a_group_is_not_asked_for_here() -> None:
    assert _with_cameras("[sim28]", "[sim28_05]", "[sim28_06]").train.cameras == ("sim28_05",)


@pytest.mark.parametrize(
    "model", ["basal: {}", "hrnet: {exposure_jitter: 0.1}", "hrnet: {by_pair: {rgb_vis: {exposure_jitter: 0.1}}}"]
)
def test_what_takes_the_srgb_curve_away_needs_pictures_that_have_it(model: str) -> None:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["train"]["models"] = YAML(typ="safe", pure=True).load(model)
    assert Params.parse(values, "x").render.transfer == "srgb"
    values["render"]["transfer"] = "linear"
    with pytest.raises(
        ParamsError, match=r"`render\.transfer` must be srgb where `train` has basal or .* got 'linear'"
    ):
        Params.parse(values, "x")
    values["train"]["models"] = {"hrnet": {"exposure_jitter": 0.0}}
    assert Params.parse(values, "x").render.transfer == "linear"


def test_parameters_of_one_camera_are_told_how_to_go_on(tmp_path: Path) -> None:
    old = shipped_params().replace("  cameras: [cie]                          # one", "  camera: cie  # one")
    with pytest.raises(
        ParamsError, match=r"`train\.camera` is no known key; it is `cameras` now.*: write `cameras: \[cie\]`"
    ):
        Params.parse_text(old, "params.yaml")


def test_the_networks_are_those_that_can_be_built() -> None:
    assert NETWORKS == NAMES


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    params = Params.read(_write(tmp_path, ("  learning_rate: 2e-3", "  learning_rate: 4e-4")))
    assert params.train.learning_rate == 0.0004


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold sections"),
        ("- 1\n", "must hold sections"),
        ("a: [", "must be YAML 1.2"),
        ("a: &x 1\nb: *x\n", "alias"),
        ("# " + "x" * 70_000, "must be at most 65536 bytes"),
        ("a: " + "[" * 1_000, "lists in lists without end"),
        ("a:\n\tb: 1\n", "in line 2 found character"),
    ],
)
def test_what_is_no_parameters_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=message):
        Params.read(path)


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path)
    path.write_bytes(path.read_bytes() + "# café\n".encode("latin-1"))
    with pytest.raises(ParamsError, match="must be UTF-8 text"):
        Params.read(path)


def test_a_sentence_ends_once(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"[^.?]\.$"):
        Params.read(_write(tmp_path, ("pairs: [rgb_vis,", "pairs: [rgb_viz,")))
    with pytest.raises(ParamsError, match=r"[^.?]\.$"):
        Params.read(_write(tmp_path, ("crop_px:", "crop_pix:")))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="hyperskin init"):
        Params.read(tmp_path / "params.yaml")


def test_sections_cannot_be_changed_afterwards(tmp_path: Path) -> None:
    params: Any = Params.read(_write(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        params.train.crop_px = 8


OWN = {"hrnet": {"rgb_vis": {"learning_rate": 6.3e-4, "batch_size": 4, "loss": "mrae"}}}


def test_another_recipe_changes_one_line_and_no_comment() -> None:
    text = shipped_params()
    written = with_own_recipes(text, OWN, origin="params.yaml")
    changed = [pair for pair in zip(text.splitlines(), written.splitlines(), strict=True) if pair[0] != pair[1]]
    assert changed == [
        (
            "    hrnet: {width: 8}",
            "    hrnet: {width: 8, by_pair: {rgb_vis: {learning_rate: 6.3e-4, batch_size: 4, loss: mrae}}}",
        )
    ]
    params = Params.parse_text(written, "params.tuned.yaml")
    assert params.train.models["hrnet"].own_recipe("rgb_vis") == OWN["hrnet"]["rgb_vis"]
    assert params.train.models["hrnet"].own_recipe("msi_nir") == {}


def test_a_recipe_joins_and_replaces_those_of_other_pairs() -> None:
    block = [
        "hrnet:  # small",
        "      width: 8 # px",
        "      by_pair:",
        "        msi_nir: {loss: mrae} # found by hand",
        "        rgb_vis: {loss: l1}",
    ]
    text = shipped_params().replace("hrnet: {width: 8}", "\n".join(block))
    written = with_own_recipes(text, OWN, origin="params.yaml")
    assert "\n".join(block[:-1]) in written
    assert "        rgb_vis: {learning_rate: 6.3e-4, batch_size: 4, loss: mrae}\n" in written


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(1e-3, "1e-3"), (1.23e-5, "1.23e-5"), (0.0126789, "0.0126789"), (9.99512345e-4, "9.99512345e-4")],
)
def test_numbers_are_written_as_people_write_them(rate: float, shown: str) -> None:
    written = with_own_recipes(shipped_params(), {"hrnet": {"rgb_vis": {"learning_rate": rate}}}, origin="params.yaml")
    assert f"{{learning_rate: {shown}}}" in written
    assert Params.parse_text(written, "x").train.models["hrnet"].own_recipe("rgb_vis") == {"learning_rate": rate}


def test_a_recipe_that_params_may_not_hold_is_not_written() -> None:
    with pytest.raises(ParamsError, match=r"^params\.yaml: `train\.models\.hrnet\.by_pair\.rgb_vis\.loss`"):
        with_own_recipes(shipped_params(), {"hrnet": {"rgb_vis": {"loss": "l7"}}}, origin="params.yaml")


def test_a_profile_is_a_file_beside_params() -> None:
    assert profile_file("tuned") == "params.tuned.yaml"
    assert profile_name(Path("some/params.tuned.yaml")) == "tuned"
    assert profile_name(Path("params.yaml")) == profile_name(Path("other.yaml")) == ""
    with pytest.raises(ParamsError, match=r"plain word, .*; got '\.\./tuned'"):
        profile_file("../tuned")


def test_a_profile_differs_from_its_params_in_recipes_by_pair_alone() -> None:
    params = Params.parse_text(shipped_params(), "x")
    tuned = Params.parse_text(with_own_recipes(shipped_params(), OWN, origin="x"), "x")
    assert tuned.differs_in_pairs_alone(params)
    for old, new in (("seconds: 75", "seconds: 76"), ("hrnet: {width: 8}", "hrnet: {width: 8, loss: mrae}")):
        assert not tuned.differs_in_pairs_alone(Params.parse_text(shipped_params().replace(old, new), "x"))
