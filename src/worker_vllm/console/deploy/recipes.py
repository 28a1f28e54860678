"""A deployment in the forms that people paste elsewhere: .env, docker run, compose, RunPod's template. Pure.

No form contains a secret: commands take it from the shell, the template from RunPod's secrets.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

PORT = 8000
DISK_GB = 50


def env_file(environment: Mapping[str, str], secrets: tuple[str, ...]) -> str:
    """NAME=value lines. A value with a line break cannot stand in such a file; it is named in a comment."""
    lines = []
    for name, value in environment.items():
        broken = "\n" in value or "\r" in value
        lines.append(f"# {name} has several lines: pass it with -e" if broken else f"{name}={value}")
    lines += [f"# {name}=…  (secret: add it yourself)" for name in secrets]
    return "\n".join(lines) or "# nothing is set: the worker's and the engine's own defaults hold"


def docker_run(image: str, environment: Mapping[str, str], secrets: tuple[str, ...]) -> str:
    """A command that serves on this port with every GPU; secrets come from the variable of the same name."""
    variables = {"WORKER_MODE": "http", "PORT": str(PORT), **environment}
    parts = [f"docker run --rm --gpus all --shm-size 1g -p {PORT}:{PORT}"]
    parts += [f"-e {shlex.quote(f'{name}={value}')}" for name, value in variables.items()]
    parts += [f"-e {name}" for name in secrets]
    return " \\\n  ".join([*parts, image])


def compose(image: str, environment: Mapping[str, str], secrets: tuple[str, ...]) -> str:
    """A compose.yaml. JSON texts are valid YAML; `$` is doubled, as compose would expand it."""
    variables = {"WORKER_MODE": "http", "PORT": str(PORT), **environment}
    lines = [f"      {name}: {_yaml(value)}" for name, value in variables.items()]
    lines += [f"      {name}: ${{{name}:?set {name} in your shell}}" for name in secrets]
    return "\n".join(
        [
            "services:",
            "  worker:",
            f"    image: {image}",
            f'    ports: ["{PORT}:{PORT}"]',
            "    shm_size: 1gb",
            "    environment:",
            *lines,
            "    deploy:",
            "      resources:",
            "        reservations:",
            "          devices: [{driver: nvidia, count: all, capabilities: [gpu]}]",
        ]
    )


def runpod_template(name: str, image: str, environment: Mapping[str, str], secrets: tuple[str, ...]) -> str:
    """The body of POST /v1/templates of RunPod's REST API."""
    variables = {**environment, **{secret: f"{{{{ RUNPOD_SECRET_{secret} }}}}" for secret in secrets}}
    template = {
        "name": name,
        "imageName": image,
        "isServerless": True,
        "containerDiskInGb": DISK_GB,
        "env": variables,
    }
    return json.dumps(template, ensure_ascii=False, indent=2)


def _yaml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("$", "$$")
