"""The three baseline networks by name: built anew, or loaded from a published checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperskin.errors import DataError, MissingFileError, ParamsError, UnknownNameError
from hyperskin.models.hrnet import Hrnet, HrnetConfig
from hyperskin.models.hscnn_plus import HscnnPlus, HscnnPlusConfig
from hyperskin.models.mst_plus_plus import MstPlusPlus, MstPlusPlusConfig


class _Baseline(NamedTuple):
    """A network and the dataclass of its sizes."""

    network: Callable[[Any], nn.Module]
    config: type[HscnnPlusConfig] | type[HrnetConfig] | type[MstPlusPlusConfig]


_BASELINES = {
    "hscnn_plus": _Baseline(HscnnPlus, HscnnPlusConfig),
    "hrnet": _Baseline(Hrnet, HrnetConfig),
    "mst_plus_plus": _Baseline(MstPlusPlus, MstPlusPlusConfig),
}
NAMES = tuple(_BASELINES)
_CHANNELS = ("in_channels", "out_channels")
_SHOWN = 5


def build(name: str, *, in_channels: int, out_channels: int, **config: int) -> nn.Module:
    """Return a baseline network with fresh random weights.

    Args:
        name: "hscnn_plus", "hrnet" or "mst_plus_plus".
        in_channels: Input channels: 3 for rgb, 4 for msi.
        out_channels: Bands that come out.
        **config: Further sizes: `blocks` of hscnn_plus, `width` of hrnet, `stages` of mst_plus_plus.

    Returns:
        A module (N, C_in, H, W) -> (N, C_out, H, W), float32, with the state_dict keys of the published checkpoints.
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
    """Return the sizes that `build` takes for a network beside its channels, with their published values.

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
    """Return the network whose weights a published checkpoint holds; its sizes are read off their shapes.

    Args:
        path: A file of `torch.save`: a state_dict, or a dict that holds one under "state_dict". Keys may begin with
            "module.", as a network trained by DataParallel names them.
        name: "hscnn_plus", "hrnet" or "mst_plus_plus".

    Returns:
        The module on the CPU, in training mode like any new one.

    Raises:
        UnknownNameError: There is no such network.
        MissingFileError: There is no such file.
        DataError: The file is no checkpoint, or not one of this network; the message names the keys.
    """
    config_of(name)
    state = _read_state(Path(path))
    baseline = _BASELINES[name]
    try:
        config = baseline.config.infer(state)
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} must hold the weights of {name}; its sizes cannot be read ({error}) "
            f"from the keys {_abridge(list(state))}."
        ) from error
    network = baseline.network(config)
    _require_same_keys(network.state_dict(), state, f"{path} must hold the weights of {name}")
    network.load_state_dict(state, strict=True)
    return network


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers the parameters of a module are, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MissingFileError(f"A checkpoint must be at {path}; there is none.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} must be a checkpoint of weights and plain values only; torch says: {reason}"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path} must hold a state_dict, names and tensors; got {type(state).__name__}.")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _require_same_keys(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], wish: str) -> None:
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    if missing or unexpected:
        raise DataError(f"{wish}; missing: {_abridge(missing)}; unexpected: {_abridge(unexpected)}.")
    for key, value in expected.items():
        if value.shape != given[key].shape:
            raise DataError(f"{wish}; {key} must have shape {tuple(value.shape)}, got {tuple(given[key].shape)}.")


def _abridge(keys: list[str]) -> str:
    shown = ", ".join(keys[:_SHOWN]) or "none"
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more"
