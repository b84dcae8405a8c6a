"""Which kinds of failure a caller may want to tell apart; the messages stand where they are raised."""

from __future__ import annotations


class HyperSkinError(Exception):
    """Anything hyperskin refuses to do; the message is one sentence for a person."""


class ShapeError(HyperSkinError, ValueError):
    """An array has another shape than its function needs."""


class DataError(HyperSkinError, ValueError):
    """A file or an array holds something that cannot be right."""


class EmptyMaskError(DataError):
    """A mask selects no pixel, so a masked number does not exist."""


class LeakageError(DataError):
    """One person would stand on two sides of the split."""


class ParamsError(HyperSkinError, ValueError):
    """params.yaml says something that it may not say."""


class UnknownNameError(HyperSkinError, ValueError):
    """A name is not in its table; the message lists the known ones."""


class MissingFileError(HyperSkinError, FileNotFoundError):
    """A file or folder that must be there is not."""


class VersionError(HyperSkinError, RuntimeError):
    """Data, code or parameters are not the ones a result was made with."""


class ConsentError(HyperSkinError, PermissionError):
    """A picture shows a subject who did not agree to be shown."""


class ServiceError(HyperSkinError, RuntimeError):
    """A server or another process did not do its part."""
