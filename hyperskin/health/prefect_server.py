"""Asks a Prefect server over HTTP, without loading Prefect, which takes longer than all the questions."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any

_ANSWER_S = 2.0


class PrefectServer:
    """One server, asked as its own client would ask."""

    def __init__(self, address: str, secret: str) -> None:
        """Take an address that ends in /api, and USER:PASSWORD; nothing is asked yet."""
        self.address = address.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if secret:
            self._headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"

    def answers(self) -> bool:
        """Tell whether a Prefect server is there."""
        try:
            return self._send("/health") is True
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def lets_us_in(self) -> bool:
        """Tell whether our password is right; take the token that the server wants with every question."""
        client = uuid.uuid4().hex
        try:
            token = self._send(f"/csrf-token?client={client}")
        except urllib.error.HTTPError as error:
            error.close()
            return error.code not in (http.client.UNAUTHORIZED, http.client.FORBIDDEN)  # 422: it wants no token
        self._headers |= {"Prefect-Csrf-Token": token["token"], "Prefect-Csrf-Client": client}
        return True

    def ask(self, path: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a list of answers; an empty one where the server knows no such thing.

        Raises:
            OSError: The server does not answer.
        """
        try:
            said = self._send(path, json.dumps(question).encode())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.NOT_FOUND:
                return []
            raise
        return said if isinstance(said, list) else []

    def _send(self, path: str, content: bytes | None = None) -> Any:
        request = urllib.request.Request(self.address + path, data=content, headers=self._headers)  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310 - the same
            return json.load(answer)
