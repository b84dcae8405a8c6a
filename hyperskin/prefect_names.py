"""Start-up hook that lets Prefect find a deployment by its bare name: `prefect deployment run train-all`."""

from __future__ import annotations

import functools
from typing import Any

from prefect.plugins import HookContext, SetupResult, register_hook

_WRAPPED_VERSION = "3.8.8"  # the classes below are private to Prefect, so another version is left alone


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Let both clients of the known Prefect version accept a name without a slash; the environment stays as it is."""
    if ctx.prefect_version == _WRAPPED_VERSION:
        accept_bare_names()
    return None


def accept_bare_names() -> None:
    """Wrap `read_deployment_by_name` of both clients, once."""
    from prefect.client.orchestration._deployments.client import DeploymentAsyncClient, DeploymentClient

    for client, wrap in ((DeploymentClient, _wrap), (DeploymentAsyncClient, _wrap_async)):
        if not hasattr(client.read_deployment_by_name, "__wrapped__"):
            client.read_deployment_by_name = wrap(client.read_deployment_by_name)  # type: ignore[method-assign]  # wrapping it is what this module is for


def _wrap(read_by_name: Any) -> Any:
    @functools.wraps(read_by_name)
    def read_deployment_by_name(self: Any, name: str) -> Any:
        if "/" in name:
            return read_by_name(self, name)
        named_so = self.read_deployments(deployment_filter=_called(name), limit=2)
        return named_so[0] if len(named_so) == 1 else read_by_name(self, f"{name}/{name}")

    return read_deployment_by_name


def _wrap_async(read_by_name: Any) -> Any:
    @functools.wraps(read_by_name)
    async def read_deployment_by_name(self: Any, name: str) -> Any:
        if "/" in name:
            return await read_by_name(self, name)
        named_so = await self.read_deployments(deployment_filter=_called(name), limit=2)
        return named_so[0] if len(named_so) == 1 else await read_by_name(self, f"{name}/{name}")

    return read_deployment_by_name


def _called(name: str) -> Any:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    return DeploymentFilter(name=DeploymentFilterName(any_=[name]))
