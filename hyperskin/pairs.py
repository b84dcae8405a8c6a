"""Input and target of a reconstruction as data: what goes in, which bands come out, which are given."""

from __future__ import annotations

from dataclasses import dataclass

from hyperskin.bands import INFRARED_NM, NIR, VIS, Bands
from hyperskin.errors import UnknownNameError


@dataclass(frozen=True)
class Pair:
    """One reconstruction task.

    Attributes:
        name: The name people type.
        inputs: What is stacked into the input, in channel order: "rgb" (3 channels), "infrared_960" (1).
        cubes: Which stored cubes hold the targets, in band order.
        target: The bands that come out; a band that two cubes share is taken from the first.
        given_nm: Target wavelengths that the input already holds.
    """

    name: str
    inputs: tuple[str, ...]
    cubes: tuple[str, ...]
    target: Bands
    given_nm: tuple[float, ...] = ()

    @property
    def in_channels(self) -> int:
        """Number of input channels."""
        return sum(INPUT_CHANNELS[name] for name in self.inputs)

    @property
    def out_channels(self) -> int:
        """Number of target bands."""
        return len(self.target)

    @property
    def given_indices(self) -> tuple[int, ...]:
        """Indices of the target bands that the input already holds."""
        return tuple(self.target.index_of(wavelength_nm) for wavelength_nm in self.given_nm)

    @property
    def registered_name(self) -> str:
        """Name of the registered model that this pair's networks are versions of."""
        return "hyperskin-" + self.name.replace("_", "-")


INPUT_CHANNELS = {"rgb": 3, "infrared_960": 1}
CUBE_BANDS = {"vis": VIS, "nir": NIR}

PAIRS = {
    pair.name: pair
    for pair in (
        Pair("rgb_vis", ("rgb",), ("vis",), VIS),
        Pair("msi_nir", ("rgb", "infrared_960"), ("nir",), NIR, (INFRARED_NM,)),
        Pair(
            "msi_visnir",
            ("rgb", "infrared_960"),
            ("vis", "nir"),
            Bands(VIS.wavelength_nm + NIR.wavelength_nm[1:]),
            (INFRARED_NM,),
        ),
    )
}


def find_pair(name: str) -> Pair:
    """Return the pair called `name`.

    Raises:
        UnknownNameError: There is none; the message lists those there are.
    """
    if name not in PAIRS:
        raise UnknownNameError(f"`pair` must be one of {', '.join(PAIRS)}; got {name!r}.")
    return PAIRS[name]
