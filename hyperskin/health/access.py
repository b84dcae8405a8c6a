"""Where this folder's Prefect server is and what it asks for, as `hyperskin up` wrote it down."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from hyperskin.environment import prefect_address

ACCESS_FILE = ".env"
ADDRESS, SECRET = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*")


def read_access(root: Path) -> dict[str, str]:
    """Return the settings in the access file; none where it is missing or cannot be read."""
    try:
        lines = (root / ACCESS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = (_ASSIGNMENT.fullmatch(line) for line in lines)
    return {match[1]: match[2].strip("\"'") for match in found if match}


def served_port(root: Path) -> int | None:
    """Return the port on this machine that the Prefect server of this folder was started on, if it was."""
    try:
        return urlsplit(read_access(root).get(ADDRESS, "")).port
    except ValueError:
        return None


def server_address(root: Path) -> str | None:
    """Return the address of the API that `prefect` goes to from here; None where only the default is left."""
    return prefect_address() or read_access(root).get(ADDRESS)
