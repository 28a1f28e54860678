"""The console of `worker-vllm local`: it shows the workers of the run, and starts further endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker_vllm.console.deploy.deploy_form import ENGINES
from worker_vllm.console.deploy.deployments import Deployments
from worker_vllm.console.state import ConsoleHost, is_multimodal
from worker_vllm.console.web_console import WebConsole
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.host_inspection import inspect_host
from worker_vllm.local.companion import LocalParts, MakeCompanion
from worker_vllm.local.launch_config import ENDPOINT, LocalConfig, model_environment


def console_for(config: LocalConfig, environ: Mapping[str, str], paths: Sequence[str]) -> MakeCompanion:
    """Returns what makes the console from the parts of a run; `paths` is the search path for Python packages."""

    def make(parts: LocalParts) -> WebConsole:
        deployments = Deployments(parts, config.key, environ)
        environment = {**environ, **model_environment(config, environ)}
        own_vision = is_multimodal(config.engine, environment, inspect_host)

        def sees_images(endpoint: str) -> bool:
            deployment = deployments.find(endpoint)
            return own_vision and endpoint == ENDPOINT if deployment is None else deployment.vision

        host = ConsoleHost(
            gateway=parts.gateway,
            clock=parts.gateway.clock,
            inspect=inspect_host,
            fleet=parts.control,
            deployments=deployments,
            engines=tuple(engine for engine in ENGINES if engine != "vllm" or engine_version(paths) is not None),
            sees_images=sees_images,
            balanced=parts.balanced.names,
            metrics_addresses=lambda: parts.metrics.addresses,
        )
        return WebConsole(host)

    return make
