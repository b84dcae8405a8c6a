"""Whether MLflow answers, in bounded time, and what its refusals mean: away for now, or no for good."""

from __future__ import annotations

import http.client
import queue
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from hyperskin.address import without_password
from hyperskin.errors import HyperSkinError, ServiceError
from hyperskin.sqlite import fault

PATIENCE_S = 5.0

_PROBE_S = 2.0
_POSTGRESQL_PORT = 5432
# What MLflow says of itself or what a proxy before it says in its place; access that is refused may be given again.
_AWAY = frozenset(
    {
        "INTERNAL_ERROR",  # also every failed connection and every timeout
        "TEMPORARILY_UNAVAILABLE",  # also a database that is locked or gone
        "DEADLINE_EXCEEDED",
        "REQUEST_LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "CANCELLED",
        "NOT_IMPLEMENTED",
        "ENDPOINT_NOT_FOUND",
        "NOT_FOUND",
        "UNAUTHENTICATED",
        "CUSTOMER_UNAUTHORIZED",
        "PERMISSION_DENIED",
    }
)
_SQLITE = "sqlite:///"
_DATABASES = ("sqlalchemy", "alembic")  # MLflow passes some of their errors on as they are
_CAUSE = re.compile(r"\(Caused by \w+\((.*)\)\)")
_GONE = frozenset({"RESOURCE_DOES_NOT_EXIST"})
_Answer = TypeVar("_Answer")


def is_away(error: BaseException) -> bool:
    """Tell whether an error of an MLflow call may be over later: no connection, no answer, a store in trouble.

    The opposite is an answer that says no, and would say it again: a malformed name, a parameter that changed.
    """
    code = _code(error)
    if code is not None:
        return code in _AWAY
    if type(error).__module__.partition(".")[0] in _DATABASES:
        return True
    return isinstance(error, OSError) and not isinstance(error, HyperSkinError)


def is_refusal(error: BaseException) -> bool:
    """Tell whether an error is MLflow's answer that says no, and would say it again."""
    return _code(error) is not None and not is_away(error)


def is_gone(error: BaseException) -> bool:
    """Tell whether MLflow says that it holds no such thing."""
    return _code(error) in _GONE


def answers(uri: str) -> bool:
    """Tell within two seconds whether somebody is at home at `uri`; a store in a file always is."""
    address = urlsplit(uri)
    if not address.hostname:
        return True
    if not address.scheme.startswith("http"):
        return _accepts(address.hostname, address.port or _POSTGRESQL_PORT)
    request = urllib.request.Request(f"{uri.rstrip('/')}/health")  # noqa: S310 - http by the line above
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_S):  # noqa: S310 - the same
            return True
    except urllib.error.HTTPError as error:  # a server that asks for a password, or knows no such page, is at home
        error.close()
        return error.code < http.client.INTERNAL_SERVER_ERROR
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # whether its certificate is good is for MLflow to say
    except (OSError, http.client.HTTPException):
        return False


def ask(
    uri: str, question: Callable[[], _Answer], *, patience_s: float = PATIENCE_S, may_take_long: bool = False
) -> _Answer:
    """Return the answer to a question to MLflow.

    Args:
        uri: Address of the store.
        question: Calls MLflow. Where a server is asked it is given up after `patience_s`; it ends by itself later.
        patience_s: How long a server may take.
        may_take_long: It may take longer for as long as somebody is at home: a file is fetched, many things are asked.

    Raises:
        ServiceError: MLflow does not answer, or its store is damaged.
    """
    if not answers(uri):
        raise no_answer(uri, "it does not")
    if wrong := damage(uri):
        raise no_answer(uri, wrong)
    import mlflow  # noqa: F401 - which takes longer to load than a server may take to answer

    try:
        return _wait(uri, question, patience_s, may_take_long) if urlsplit(uri).hostname else question()
    except queue.Empty:
        raise no_answer(uri, f"nothing came within {patience_s:g} s") from None
    except Exception as error:
        if is_away(error):
            raise no_answer(uri, first_line(error)) from error
        raise


def within(
    seconds: float, question: Callable[[], _Answer], *, is_worth_more: Callable[[], bool] = lambda: False
) -> _Answer:
    """Return the answer to a question that may never come; the question is left to itself then.

    Args:
        seconds: How long to wait.
        question: What is asked, in a thread of its own.
        is_worth_more: Tells when the time is over whether to wait as long again.

    Raises:
        queue.Empty: The answer did not come.
    """
    box: queue.SimpleQueue[tuple[list[_Answer], Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            box.put(([question()], None))
        except Exception as error:  # it is raised where the answer is waited for
            box.put(([], error))

    threading.Thread(target=run, name="question", daemon=True).start()
    while True:
        try:
            answer, error = box.get(timeout=seconds)
            break
        except queue.Empty:
            if not is_worth_more():
                raise
    if error is not None:
        raise error
    return answer[0]


def no_answer(uri: str, reason: str) -> ServiceError:
    """Return the one sentence for a store that is away, or a file that is damaged."""
    if damage(uri):
        path = Path(uri.removeprefix(_SQLITE))
        return ServiceError(
            f"The MLflow store must be a whole database; {path} is damaged ({reason.rstrip('.')}): bring back a copy, "
            f"or put it aside (`mv {path.name} {path.name}.damaged` in {path.parent}) and run `hyperskin sync --lost`."
        )
    return ServiceError(f"MLflow at {without_password(uri)} must answer; {reason.rstrip('.')}: see whether it runs.")


def file_of(uri: str) -> Path | None:
    """Return the file of a store; None where it is no file."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def damage(uri: str) -> str:
    """Return what is wrong with the file of a store; empty where nothing is, or where it is no file."""
    path = file_of(uri)
    return fault(path) if path is not None and path.exists() else ""


def first_line(error: BaseException) -> str:
    """Return what an error says, short enough for a line; of a failed request its cause."""
    cause = _CAUSE.search(str(error))
    line = (cause[1].strip("'\"") if cause else str(error)).partition("\n")[0].strip()
    return (line if len(line) < 300 else f"{line[:297]}...") or type(error).__name__


def _wait(uri: str, question: Callable[[], _Answer], patience_s: float, may_take_long: bool) -> _Answer:
    return within(patience_s, question, is_worth_more=lambda: may_take_long and answers(uri))


def _code(error: BaseException) -> str | None:
    """Return MLflow's own word for an error; None where it is no error of MLflow's."""
    code = getattr(error, "error_code", None)  # so that MLflow need not be loaded to ask
    return code if isinstance(code, str) and type(error).__module__.startswith("mlflow") else None


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True
