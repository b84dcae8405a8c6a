"""A store that is away is known within seconds, whatever its way of being away."""

import time

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from hyperskin.errors import ServiceError
from hyperskin.tracking.answers import answers, ask, is_away, is_gone, is_refusal


def _rest(code):
    return RestException({"error_code": code, "message": "m"})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        TimeoutError("late"),
        requests.exceptions.ReadTimeout("late"),
        OSError(5, "I/O error"),
        MlflowException("API request to http://x failed with exception"),
        _rest("INTERNAL_ERROR"),
        _rest("TEMPORARILY_UNAVAILABLE"),
        _rest("PERMISSION_DENIED"),
        _rest("503"),
        _rest("a proxy's own word"),
    ],
    ids=lambda error: type(error).__name__ + str(error)[:20],
)
def test_what_may_be_over_later_is_away(error):
    assert is_away(error)
    assert not is_refusal(error)


@pytest.mark.parametrize("code", ["INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"])
def test_what_would_be_said_again_is_a_refusal(code):
    assert is_refusal(_rest(code))
    assert not is_away(_rest(code))
    assert is_gone(_rest(code)) == (code == "RESOURCE_DOES_NOT_EXIST")


def test_our_own_mistakes_are_neither():
    class OtherError(Exception):
        error_code = "INTERNAL_ERROR"

    for error in (TypeError("x"), OtherError("x")):
        assert not is_away(error)
        assert not is_refusal(error)


def test_a_real_refusal_and_a_real_absence_are_told_apart(uri, answer):
    with pytest.raises(MlflowException) as refused:
        MlflowClient(uri).log_param("no such run", "a", 1)
    assert is_refusal(refused.value)
    for code in (500, 503, 404):
        with pytest.raises(MlflowException) as away:
            MlflowClient(answer(code)).get_run("a" * 32)
        assert is_away(away.value), code


def test_a_file_and_a_server_that_answers_are_at_home(uri, answer):
    assert answers(uri)
    assert answers(answer(200))
    assert answers(answer(200) + "/")
    for code in (401, 403, 404):  # who asks for a password, or knows no such page, is at home
        assert answers(answer(200, health=code))


def test_nobody_is_at_home_where_nothing_sensible_comes_back(dead_uri, hanging_uri, answer):
    started = time.monotonic()
    assert not answers(dead_uri)
    assert not answers(dead_uri.replace("http://", "postgresql+psycopg://user@") + "/mlflow")
    assert not answers(answer(200, health=502))
    assert not answers(hanging_uri)
    assert time.monotonic() - started < 4


def test_a_question_to_nobody_is_given_up_in_one_sentence(dead_uri, hanging_uri, answer, monkeypatch):
    monkeypatch.setattr("hyperskin.tracking.answers._PROBE_S", 0.3)
    for uri in (dead_uri, hanging_uri, answer(200, health=500)):
        started = time.monotonic()
        with pytest.raises(ServiceError, match=rf"^MLflow at {uri} must answer; it does not: see whether it runs\.$"):
            ask(uri, lambda: pytest.fail("it was asked"))
        assert time.monotonic() - started < 5


def test_a_question_that_hangs_is_given_up(answer):
    uri = answer(None)
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"nothing came within 0\.2 s"):
        ask(uri, lambda: MlflowClient(uri).search_experiments(), patience_s=0.2)
    assert time.monotonic() - started < 5


def test_trouble_of_the_server_is_one_sentence_and_a_refusal_comes_as_it_is(uri, answer):
    broken = answer(503)
    with pytest.raises(ServiceError, match="must answer; too many 503 error responses: see"):
        ask(broken, lambda: MlflowClient(broken).get_run("a" * 32))
    with pytest.raises(MlflowException, match="not found"):
        ask(uri, lambda: MlflowClient(uri).get_run("a" * 32))
    assert ask(uri, lambda: 3) == 3


def test_a_password_is_not_shown():
    with pytest.raises(ServiceError, match=r"MLflow at http://me@127\.0\.0\.1:1 must answer"):
        ask("http://me:secret@127.0.0.1:1", lambda: None)
