"""Asks an MLflow server, or its tables, without loading MLflow."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from base64 import b64encode
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from hyperskin.environment import mlflow_login

_ANSWER_S = 3.0


def ask_server(uri: str, question: str) -> dict[str, Any]:
    """Return a server's answer, which is its refusal where it refuses; empty where it gives none that is JSON."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit((parts.scheme, host, f"{parts.path.rstrip('/')}/api/2.0/mlflow/", "", "")) + question
    request = urllib.request.Request(address, headers=_credentials(parts.username, parts.password))  # noqa: S310 - http
    try:
        with _answer_to(request) as answer:
            said = json.load(answer)
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _answer_to(request: urllib.request.Request) -> IO[bytes]:
    try:
        answer: IO[bytes] = urllib.request.urlopen(request, timeout=_ANSWER_S)  # noqa: S310 - http, as the caller says
    except urllib.error.HTTPError as refusal:
        return refusal
    return answer


def _credentials(user: str | None, password: str | None) -> dict[str, str]:
    login = (user, password or "") if user else mlflow_login()
    return {"Authorization": f"Basic {b64encode(':'.join(login).encode()).decode()}"} if login[0] else {}
