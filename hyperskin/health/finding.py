"""One thing that is wrong, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["broken", "warning", "hint"]
"""Broken: work will fail, or something is lost or seen by others. Warning: works, but worse. Hint: what comes next."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: Which check found it.
        severity: How bad it is.
        what: One sentence for a person.
        remedy: What to type, or to change.
        fix: Mends it and loses nothing, and returns what it did in a few words; None where a person must decide.
    """

    check: str
    severity: Severity
    what: str
    remedy: str
    fix: Callable[[], str] | None = None
