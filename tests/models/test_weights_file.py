"""Weights come in as they went out, from every form of file, and what is no such file is refused in one sentence."""

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperskin.errors import DataError, MissingFileError
from hyperskin.models.baselines import (
    NAMES,
    build,
    channels_of,
    config_of,
    load_checkpoint,
    parameter_count,
    sizes_of,
)
from hyperskin.models.digest import content_digest

SMALL = {"hscnn_plus": {"blocks": 2}, "hrnet": {"width": 8}, "mst_plus_plus": {"stages": 2}, "basal": {"width": 8}}
CHANNELS = ((3, 31), (4, 31), (4, 61))
COUNTS = {
    ("hscnn_plus", 30): (4_645_504, 4_646_080, 4_678_720),
    ("hscnn_plus", 20): (2_689_984, 2_690_560, 2_713_600),
    ("hrnet", 64): (31_704_863, 32_041_823, 32_059_133),
    ("mst_plus_plus", 3): (1_619_625, 1_619_904, 6_168_594),
}
FORMS = ("bare", "toolbox", "parallel", "bare parallel", "own", "own, not validated")
TORCH_WARNS = pytest.mark.filterwarnings("ignore")  # of old forms of file, while the test writes them


class Evil:
    """Leaves a mark when it is unpickled by whoever runs what a file names."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def small(name, channels=(3, 31), **sizes):
    return build(name, in_channels=channels[0], out_channels=channels[1], **(sizes or SMALL[name])).eval()


def write(path, state, form):
    parallel = {f"module.{key}": value for key, value in state.items()}
    if form.startswith("own"):
        noise = {key: value + 1 for key, value in state.items()}
        networks = {"network": state, "best": None} if "not" in form else {"network": noise, "best": state}
        content = {"epoch": 2, "optimiser": {}, **networks}
        file = {"schema": 2, "digest": content_digest([2, content]), "content": content}
    else:
        optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 4e-4, "betas": (0.9, 0.999)}]}
        file = {
            "bare": state,
            "toolbox": {"epoch": 3, "iter": 3000, "state_dict": state, "optimizer": optimizer},
            "parallel": {"epoch": 3, "iter": 3000, "state_dict": parallel, "optimizer": optimizer},
            "bare parallel": parallel,
        }[form]
    torch.save(file, path)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_back_the_network_to_the_last_bit(name, form, tmp_path):
    for channels in CHANNELS:
        torch.manual_seed(1)
        network = small(name, channels)
        loaded = load_checkpoint(write(tmp_path / "model.pt", network.state_dict(), form), name).eval()
        assert sizes_of(loaded) == SMALL[name]
        assert channels_of(loaded) == channels
        frames = torch.rand(1, channels[0], 13, 21)
        with torch.inference_mode():
            assert torch.equal(loaded(frames), network(frames))


@pytest.mark.parametrize(("name", "size"), COUNTS)
def test_files_of_the_published_sizes_are_known_by_their_shapes(name, size, tmp_path):
    (key,) = config_of(name)
    for channels, count in zip(CHANNELS, COUNTS[name, size], strict=True):
        if name == "hrnet" and channels != CHANNELS[0]:
            continue  # each file has 128 MB; that counts are the published ones is tested without one
        state = small(name, channels, **{key: size}).state_dict()
        loaded = load_checkpoint(write(tmp_path / "model.pt", state, "toolbox"), name)
        assert (parameter_count(loaded), sizes_of(loaded), channels_of(loaded)) == (count, {key: size}, channels)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_half_precision_become_single(name, tmp_path):
    state = {key: value.half() for key, value in small(name).state_dict().items()}
    loaded = load_checkpoint(write(tmp_path / "model.pt", state, "bare"), name)
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())
    assert all(torch.equal(value, state[key].float()) for key, value in loaded.state_dict().items())


@TORCH_WARNS
def test_a_file_of_torchs_old_form_is_read(tmp_path):
    network = small("hscnn_plus")
    torch.save(network.state_dict(), tmp_path / "model.pth", _use_new_zipfile_serialization=False)
    loaded = load_checkpoint(tmp_path / "model.pth", "hscnn_plus")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_another_network_than_said_is_told_by_its_name_and_sizes(name, tmp_path):
    for other in set(NAMES) - {name}:
        path = write(tmp_path / "model.pt", small(other, (4, 31)).state_dict(), "parallel")
        ((key, value),) = SMALL[other].items()
        said = rf"must hold the weights of {name}; it looks like {other} \({key} {value}, 4 -> 31\): name that model\."
        with pytest.raises(DataError, match=said):
            load_checkpoint(path, name)


def test_weights_of_no_network_of_ours_are_told_by_their_keys(tmp_path):
    state = {f"layers.{number}.weight": torch.zeros(2, 2) for number in range(7)}
    said = r"weights of hrnet; its sizes cannot be read from the keys layers\.0\.weight, (\S+ ){4}and 2 more\."
    with pytest.raises(DataError, match=said):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "hrnet")


def test_missing_and_unexpected_keys_are_named(tmp_path):
    state = small("mst_plus_plus").state_dict()
    state["body.0.mapping.bias"] = state.pop("body.0.mapping.weight")
    said = (
        r"model.pt must hold the weights of mst_plus_plus \(stages 2, 3 -> 31\); missing: body.0.mapping.weight; "
        r"unexpected: body.0.mapping.bias; of another shape: none\.$"
    )
    with pytest.raises(DataError, match=said):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "mst_plus_plus")


def test_long_lists_of_keys_are_cut_short(tmp_path):
    state = {key: value for key, value in small("hrnet").state_dict().items() if key.startswith("main")}
    with pytest.raises(DataError, match=r"missing: top1\S+, (\S+, ){3}\S+ and \d+ more; unexpected: none"):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "hrnet")


def test_weights_of_another_shape_are_named_with_both(tmp_path):
    state = small("hscnn_plus").state_dict()
    state["ddfn.conv_up2.weight"] = torch.zeros(32, 16, 1, 1)
    said = r"of another shape: ddfn.conv_up2.weight is \(32, 16, 1, 1\) instead of \(32, 32, 1, 1\)\."
    with pytest.raises(DataError, match=said):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "hscnn_plus")


def test_an_mst_whose_features_are_not_its_bands_is_told_of(tmp_path):
    """As a network for 61 bands whose maker forgot to say so of its features."""
    state = small("mst_plus_plus", (4, 31)).state_dict()
    state["conv_out.weight"] = torch.zeros(61, 31, 3, 3)
    with pytest.raises(DataError, match=r"conv_out.weight is \(61, 31, 3, 3\) instead of \(31, 31, 3, 3\)"):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "mst_plus_plus")


def test_only_a_prefix_of_all_names_is_taken_off(tmp_path):
    state = small("hscnn_plus").state_dict()
    state["module.conv_out.weight"] = state.pop("conv_out.weight")
    with pytest.raises(DataError, match=r"must hold the weights of hscnn_plus; its sizes cannot be read"):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "hscnn_plus")


def test_numbers_that_are_none_are_named(tmp_path):
    state = small("hscnn_plus").state_dict()
    state["conv_out.weight"][0, 0] = torch.nan
    with pytest.raises(DataError, match=r"hscnn_plus; not finite: conv_out\.weight: its training has diverged"):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "hscnn_plus")


@pytest.mark.parametrize("form", ["toolbox", "own"])
@pytest.mark.parametrize("old", [False, True])
@TORCH_WARNS
def test_a_file_that_names_code_is_refused_and_its_code_is_not_run(form, old, tmp_path):
    mark = tmp_path / "mark"
    content = {"state_dict": small("hscnn_plus").state_dict(), "optimizer": Evil(mark)}
    file = content if form == "toolbox" else {"schema": 2, "digest": "", "content": content}
    torch.save(file, tmp_path / "model.pt", _use_new_zipfile_serialization=not old)
    said = r"weights and plain values only; it names \w+\.system, and code of a file is never run: ask for a file of"
    with pytest.raises(DataError, match=said):
        load_checkpoint(tmp_path / "model.pt", "hscnn_plus")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [(small("hscnn_plus"), r"hyperskin\.models\.hscnn_plus\.HscnnPlus"), ({"best": np.float64(3)}, r"numpy\S+scalar")],
    ids=["network", "numpy"],
)
def test_whatever_is_no_plain_value_is_named(content, named, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(DataError, match=f"it names {named}, and code of a file is never run"):
        load_checkpoint(tmp_path / "model.pt", "hscnn_plus")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_told_of(kept, tmp_path):
    path = write(tmp_path / "model.pt", small("hscnn_plus").state_dict(), "toolbox")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=r"must be a whole checkpoint; it begins like a file of torch's and its end is"):
        load_checkpoint(path, "hscnn_plus")


def test_a_checkpoint_of_ours_whose_numbers_changed_is_told_of(tmp_path):
    path = write(tmp_path / "last.pt", small("hscnn_plus").state_dict(), "own")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # torch itself would load it
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"its content is not what its digest says: it is damaged|cannot be read as one"
    ):
        load_checkpoint(path, "hscnn_plus")


@pytest.mark.parametrize("content", [b"not a checkpoint", b"<!DOCTYPE html>", b"\x80\x04N.", bytes(100)])
def test_a_file_that_is_no_checkpoint_is_refused(content, tmp_path):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(
        DataError, match=r"model.pt must be a checkpoint of weights, a file of torch.save; it cannot be"
    ):
        load_checkpoint(tmp_path / "model.pt", "hscnn_plus")


def test_an_empty_file_is_told_of(tmp_path):
    (tmp_path / "model.pt").touch()
    with pytest.raises(DataError, match=r"model.pt must be a checkpoint of weights; it is empty: copy it here again\."):
        load_checkpoint(tmp_path / "model.pt", "hscnn_plus")


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        ([1, 2], "list"),
        ({}, "a dict of none"),
        ({"epoch": 3, "model": {}}, "a dict of epoch, model"),
        ({"state_dict": [1]}, "list"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(content, holds, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(DataError, match=f"must hold a state_dict, names and tensors; got {holds}\\."):
        load_checkpoint(tmp_path / "model.pt", "hrnet")


def test_tensors_that_are_no_weights_are_named(tmp_path):
    state = small("hscnn_plus").state_dict() | {"conv_out.weight": torch.zeros(31, 192, 1, 1, dtype=torch.int64)}
    with pytest.raises(DataError, match=r"dense floating-point numbers; others are conv_out\.weight\."):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "hscnn_plus")


def test_a_small_file_may_not_name_numbers_without_end(tmp_path):
    state = small("hscnn_plus").state_dict() | {"conv_out.weight": torch.zeros(1).expand(10**6, 10**6, 1, 1)}
    with pytest.raises(DataError, match=r"must hold every number that it names; it is smaller than its tensors"):
        load_checkpoint(write(tmp_path / "model.pt", state, "bare"), "hscnn_plus")


def test_a_packed_archive_is_not_unpacked(tmp_path):
    path = write(tmp_path / "model.pt", small("hscnn_plus").state_dict(), "bare")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for part in whole.infolist():
            packed.writestr(part.filename, whole.read(part.filename))
    with pytest.raises(DataError, match=r"cannot be read as one \(it is a packed archive\)"):
        load_checkpoint(tmp_path / "bomb.pt", "hscnn_plus")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingFileError, match=r"A checkpoint must be at .*model.pt; there is none\."):
        load_checkpoint(tmp_path / "model.pt", "hscnn_plus")
    with pytest.raises(MissingFileError, match=rf"at {re.escape(str(tmp_path))}; there is a folder\."):
        load_checkpoint(tmp_path, "hscnn_plus")
