"""Bare deployment names, with clients that answer from a list."""

import asyncio
import importlib.metadata
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import prefect
import pytest
from prefect.client.orchestration._deployments.client import DeploymentAsyncClient, DeploymentClient

from hyperskin import prefect_names
from hyperskin.prefect_names import accept_bare_names, setup_environment

ROOT = Path(__file__).parent.parent


@dataclass
class Deployment:
    flow: str
    name: str


class Client:
    """What the wrapped function needs of a client."""

    def __init__(self, *deployments):
        self.deployments = deployments

    def read_deployments(self, *, deployment_filter, limit):
        return [deployment for deployment in self.deployments if deployment.name in deployment_filter.name.any_][:limit]

    def read_deployment_by_name(self, name):
        flow, deployment = name.split("/")
        return next(d for d in self.deployments if (d.flow, d.name) == (flow, deployment))


class AsyncClient(Client):
    async def read_deployments(self, *, deployment_filter, limit):
        return super().read_deployments(deployment_filter=deployment_filter, limit=limit)

    async def read_deployment_by_name(self, name):
        return super().read_deployment_by_name(name)


@pytest.fixture(params=["sync", "async"])
def read(request):
    """Return a function that asks a wrapped client of each kind for a deployment."""

    def ask(deployments, name):
        if request.param == "sync":
            return prefect_names._wrap(Client.read_deployment_by_name)(Client(*deployments), name)
        wrapped = prefect_names._wrap_async(AsyncClient.read_deployment_by_name)
        return asyncio.run(wrapped(AsyncClient(*deployments), name))

    return ask


def test_a_name_that_one_deployment_bears_is_enough(read):
    wanted = Deployment("train", "nightly")

    assert read([wanted, Deployment("train", "weekly")], "nightly") is wanted


def test_of_several_the_one_named_like_its_flow_is_meant(read):
    wanted = Deployment("train-all", "train-all")

    assert read([Deployment("other", "train-all"), wanted, Deployment("third", "train-all")], "train-all") is wanted


def test_a_full_name_is_left_alone(read):
    wanted = Deployment("other", "train-all")

    assert read([Deployment("train-all", "train-all"), wanted], "other/train-all") is wanted


@pytest.fixture
def stock_clients(monkeypatch):
    """Take the wrapping off for one test, if the hook has already run here."""
    for client in (DeploymentClient, DeploymentAsyncClient):
        stock = getattr(client.read_deployment_by_name, "__wrapped__", client.read_deployment_by_name)
        monkeypatch.setattr(client, "read_deployment_by_name", stock)


class Context:
    def __init__(self, prefect_version):
        self.prefect_version = prefect_version


@pytest.mark.usefixtures("stock_clients")
def test_another_version_of_prefect_is_left_as_it_is():
    before = DeploymentClient.read_deployment_by_name, DeploymentAsyncClient.read_deployment_by_name

    assert setup_environment(ctx=Context("3.9.1")) is None
    assert (DeploymentClient.read_deployment_by_name, DeploymentAsyncClient.read_deployment_by_name) == before


@pytest.mark.usefixtures("stock_clients")
def test_the_installed_version_is_wrapped_once():
    setup_environment(ctx=Context(prefect.__version__))
    once = DeploymentClient.read_deployment_by_name, DeploymentAsyncClient.read_deployment_by_name
    accept_bare_names()

    assert all(hasattr(function, "__wrapped__") for function in once)
    assert (DeploymentClient.read_deployment_by_name, DeploymentAsyncClient.read_deployment_by_name) == once


def test_prefect_knows_the_hook():
    (hook,) = importlib.metadata.entry_points(group="prefect.plugins", name="hyperskin")

    assert hook.value == "hyperskin.prefect_names"


def test_importing_prefect_in_the_repository_runs_the_hook_without_a_word():
    check = (
        "import prefect, sys\n"
        "from prefect.client.orchestration._deployments import client\n"
        "both = client.DeploymentClient, client.DeploymentAsyncClient\n"
        "assert all(hasattr(one.read_deployment_by_name, '__wrapped__') for one in both)\n"
        "assert not {'torch', 'mlflow'} & set(sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", check], cwd=ROOT, capture_output=True, text=True
    )

    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
