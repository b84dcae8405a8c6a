"""Which wavelengths a cube's last axis stands for; no pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperskin.errors import DataError


@dataclass(frozen=True)
class Bands:
    """Band centres of a cube, in the order of its last axis.

    Attributes:
        wavelength_nm: Band centres in nanometres, strictly ascending.
    """

    wavelength_nm: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse an empty, unsorted or non-finite list."""
        centres = np.asarray(self.wavelength_nm, dtype=np.float64)
        if centres.size == 0 or not np.all(np.isfinite(centres)) or not np.all(np.diff(centres) > 0):
            raise DataError(
                f"Band centres must be finite and strictly ascending in nm; got {_abridge(self.wavelength_nm)}."
            )

    def __len__(self) -> int:
        """Return the number of bands."""
        return len(self.wavelength_nm)

    def centres_nm(self) -> npt.NDArray[np.float64]:
        """Return the band centres in nm, (C,), float64."""
        return np.asarray(self.wavelength_nm, dtype=np.float64)

    def index_of(self, wavelength_nm: float) -> int:
        """Return the index of the band centred on `wavelength_nm` to within 1e-6 nm.

        Raises:
            DataError: No band is centred there.
        """
        distance = np.abs(self.centres_nm() - wavelength_nm)
        nearest = int(distance.argmin())
        if distance[nearest] > 1e-6:
            raise DataError(
                f"`wavelength_nm` must be a band centre; got {wavelength_nm:g} nm, "
                f"the nearest band is {self.wavelength_nm[nearest]:g} nm."
            )
        return nearest


def regular_bands(first_nm: float, last_nm: float, step_nm: float) -> Bands:
    """Return evenly spaced bands from `first_nm` to `last_nm`, both included."""
    count = round((last_nm - first_nm) / step_nm) + 1
    return Bands(tuple(first_nm + step_nm * i for i in range(count)))


def _abridge(values: tuple[float, ...]) -> str:
    if len(values) <= 6:
        return str(list(values))
    return f"{list(values[:3])} ... {list(values[-3:])}"


VIS = regular_bands(400.0, 700.0, 10.0)
NIR = regular_bands(700.0, 1000.0, 10.0)
# Specim FX10 grating: a measured wavelength table, fitted to within 0.0055 nm.
FX10 = Bands(tuple(397.0111 + 1.307579 * i + 1.152053e-4 * i * i for i in range(448)))
INFRARED_NM = 960.0
