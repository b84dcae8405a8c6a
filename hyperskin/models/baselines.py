"""The networks by name, basal and three baselines: built anew, or loaded from a file of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperskin.errors import DataError, ParamsError, UnknownNameError
from hyperskin.models.basal import Basal, BasalConfig
from hyperskin.models.hrnet import Hrnet, HrnetConfig
from hyperskin.models.hscnn_plus import HscnnPlus, HscnnPlusConfig
from hyperskin.models.mst_plus_plus import MstPlusPlus, MstPlusPlusConfig
from hyperskin.models.weights_file import WeightsFile, abridge, read_weights


class _Baseline(NamedTuple):
    """A network and the dataclass of its sizes."""

    network: Callable[[Any], nn.Module]
    config: type[HscnnPlusConfig] | type[HrnetConfig] | type[MstPlusPlusConfig] | type[BasalConfig]


_BASELINES = {
    "hscnn_plus": _Baseline(HscnnPlus, HscnnPlusConfig),
    "hrnet": _Baseline(Hrnet, HrnetConfig),
    "mst_plus_plus": _Baseline(MstPlusPlus, MstPlusPlusConfig),
    "basal": _Baseline(Basal, BasalConfig),
}
NAMES = tuple(_BASELINES)
_CHANNELS = ("in_channels", "out_channels")
_NO_SIZES = (KeyError, ValueError, IndexError, RuntimeError)  # in weights that are not of the network in question
_ALIKE = 0.5


def build(name: str, *, in_channels: int, out_channels: int, **config: int) -> nn.Module:
    """Return a network with fresh random weights.

    Args:
        name: "hscnn_plus", "hrnet", "mst_plus_plus" or "basal".
        in_channels: Input channels: 3 for rgb, 4 for msi.
        out_channels: Bands that come out.
        **config: Further sizes: `blocks` of hscnn_plus, `width` of hrnet and basal, `stages` of mst_plus_plus.

    Returns:
        A module (N, C_in, H, W) -> (N, C_out, H, W), float32, with the state_dict keys of the published checkpoints,
        where there are any.
        Its `size_multiple` is the number that exported graphs need H and W to be multiples of; the module itself pads.

    Raises:
        UnknownNameError: There is no such network, or it has no such size.
        ParamsError: A size is not a positive whole number that the network can have.

    Examples:
        >>> network = build("hscnn_plus", in_channels=3, out_channels=31, blocks=2)
        >>> network(torch.zeros(1, 3, 24, 32)).shape
        torch.Size([1, 31, 24, 32])
    """
    known = config_of(name)
    for key in config:
        if key not in known:
            raise UnknownNameError(f"A size of {name} must be one of {', '.join(known)}; got {key!r}.")
    sizes = {"in_channels": in_channels, "out_channels": out_channels, **config}
    for key, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ParamsError(f"`{key}` of {name} must be a positive whole number; got {value!r}.")
    baseline = _BASELINES[name]
    return baseline.network(baseline.config(**sizes))


def config_of(name: str) -> dict[str, int]:
    """Return the sizes that `build` takes for a network beside its channels, with their values in full size.

    Raises:
        UnknownNameError: There is no such network.

    Examples:
        >>> config_of("mst_plus_plus")
        {'stages': 3}
    """
    if name not in _BASELINES:
        raise UnknownNameError(f"`name` of a network must be one of {', '.join(NAMES)}; got {name!r}.")
    published = _BASELINES[name].config(in_channels=3, out_channels=31)
    return {size: value for size, value in asdict(published).items() if size not in _CHANNELS}


def load_checkpoint(path: Path | str, name: str) -> nn.Module:
    """Return the network whose weights the file at `path` holds, as `network_of` does.

    Args:
        path: A file of `torch.save`: a state_dict, a dict that holds one under "state_dict", or a checkpoint of ours.
            Keys may begin with "module.", as a network trained by DataParallel names them.
        name: "hscnn_plus", "hrnet", "mst_plus_plus" or "basal".

    Returns:
        The module on the CPU, float32, in training mode like any new one.

    Raises:
        UnknownNameError: There is no such network.
        MissingFileError: There is no such file.
        DataError: The file is no checkpoint, or not one of this network; the message names the keys, and the network
            that it looks like.
    """
    config_of(name)
    return network_of(read_weights(Path(path)), name)


def network_of(file: WeightsFile, name: str) -> nn.Module:
    """Return the network whose weights a file holds; its sizes are read off their shapes.

    Raises:
        UnknownNameError: There is no such network.
        DataError: They are not the weights of this network.
    """
    config_of(name)
    state, wish = file.state, f"{file.path} must hold the weights of {name}"
    try:
        expected = _expect(name, state)
    except _NO_SIZES as error:
        found = _say_likeness(state, name) or f"its sizes cannot be read from the keys {abridge(list(state))}"
        raise DataError(f"{wish}; {found}.") from error
    if difference := _differences(expected.state_dict(), state):
        found = _say_likeness(state, name)
        raise DataError(f"{wish}; {found}." if found else f"{wish} ({_say(expected)}); {difference}.")
    _require_finite(state, wish)
    network = _BASELINES[name].network(expected.config)
    network.load_state_dict(state, strict=True)
    return network


def sizes_of(network: nn.Module) -> dict[str, int]:
    """Return the sizes of a network beside its channels, as `build` takes them."""
    return {size: value for size, value in asdict(_config(network)).items() if size not in _CHANNELS}


def channels_of(network: nn.Module) -> tuple[int, int]:
    """Return how many channels a network takes and gives."""
    config = _config(network)
    return config.in_channels, config.out_channels


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers the parameters of a module are, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def _config(network: nn.Module) -> HscnnPlusConfig | HrnetConfig | MstPlusPlusConfig | BasalConfig:
    config = network.config
    assert isinstance(config, HscnnPlusConfig | HrnetConfig | MstPlusPlusConfig | BasalConfig)
    return config


def _expect(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Return a network of the sizes that the weights tell, without memory for its own."""
    baseline = _BASELINES[name]
    with torch.device("meta"):
        return baseline.network(baseline.config.infer(state))


def _differences(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Return which keys are missing, which nobody expects, and which are of another shape; empty where none is."""
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    shapes = {key: (tuple(given[key].shape), tuple(value.shape)) for key, value in expected.items() if key in given}
    reshaped = [f"{key} is {found} instead of {wanted}" for key, (found, wanted) in shapes.items() if found != wanted]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    return "; ".join(f"{kind}: {abridge(keys)}" for kind, keys in kinds) if any(keys for _, keys in kinds) else ""


def _say_likeness(state: Mapping[str, Tensor], wanted: str) -> str:
    """Say which other network the weights look like, by the share of names they have in common; empty for none."""
    likest, share = None, _ALIKE
    for name in NAMES:
        try:
            expected = _expect(name, state)
        except _NO_SIZES:
            continue
        common = len(expected.state_dict().keys() & state.keys()) / len(expected.state_dict().keys() | state.keys())
        if common > share:
            likest, share = (name, expected), common
    if likest is None or likest[0] == wanted:
        return ""
    return f"it looks like {likest[0]} ({_say(likest[1])}): name that model"


def _say(network: nn.Module) -> str:
    """Return the sizes of a network, such as "stages 3, 3 -> 31"."""
    told = [f"{size} {value}" for size, value in sizes_of(network).items()]
    return ", ".join([*told, " -> ".join(map(str, channels_of(network)))])


def _require_finite(state: Mapping[str, Tensor], wish: str) -> None:
    spoiled = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if spoiled:
        raise DataError(f"{wish}; not finite: {abridge(spoiled)}: its training has diverged, or the file is damaged.")
