"""The one way to show the address of a server or a database: without its password, so that it can be typed again."""

from __future__ import annotations

import re

_AFTER_USER = re.compile(r"(?<=://)([^:/?#@]*):.*@", re.DOTALL)  # to the last @: a password may hold anything
_PARAMETER = re.compile(r"(?<=[?&])(?:ssl)?password=[^&#]*&?")


def without_password(address: str) -> str:
    """Return an address as it may be shown; the same where it holds no password.

    Examples:
        >>> without_password("postgresql://me:secret@host:5432/ledger?sslmode=require")
        'postgresql://me@host:5432/ledger?sslmode=require'
    """
    address = _AFTER_USER.sub(r"\1@", address)
    shown = _PARAMETER.sub("", address)
    return address if shown == address else shown.rstrip("?&")
