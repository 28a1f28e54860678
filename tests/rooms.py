"""The house's rules as tables: what each room may import, which file names may stand twice."""

from __future__ import annotations

BASE = ("errors", "json_bytes")
JOBS = (*BASE, "settings", "jobs.request", "jobs.output", "engine.interface")
FRONTS = ("gateway", "local", "console", "modes", "host_inspection", "config_report")
ENGINE = (*BASE, "settings", "models", "observability", "engine")
# Room → the rooms of ours that it may import. The longest matching name is the room; a room may import itself.
OWN: dict[str, tuple[str, ...]] = {
    "errors": (),
    "json_bytes": (),
    "forwarding": (),
    "settings": BASE,
    "forms": (*BASE, "settings"),
    "observability": (*BASE, "settings"),
    "models": (*BASE, "settings", "observability"),
    "echo": (*BASE, "engine.child.adopted_socket", "engine.child.report_line", "engine.child.usage_reports"),
    "engine.interface": BASE,
    "engine.client": ENGINE,
    "engine.supervision": ENGINE,
    "engine.records": ENGINE,
    "engine.process": (
        *BASE,
        "settings",
        "engine.child.deferred_arguments",
        "engine.child.handover_protocol",
        "engine.child.report_line",
    ),
    "engine.preflight": (*BASE, "settings", "models", "observability", "engine.diagnosis.types"),
    "engine.diagnosis": (*BASE, "settings"),
    "engine.child": (*BASE, "settings", "engine.preflight.container_limits", "engine.preflight.cpu_processes"),
    "jobs.request": JOBS,
    "jobs.output": JOBS,
    "jobs.run": (*JOBS, "observability"),
    "jobs.handler": (*JOBS, "observability", "jobs.run"),
    "serverless": (*BASE, "settings", "observability", "jobs.output", "engine.interface"),
    "web": (
        *BASE,
        "settings",
        "observability",
        "jobs.request",
        "jobs.output",
        "forwarding",
        "engine.child.report_line",
    ),
    "gateway": (*BASE, "forwarding"),
    "simulation": (*BASE, "engine.interface", "serverless.intake.admission", "gateway.fleet.scaling"),
    "bench": (*BASE, "simulation"),
    "local": (
        *BASE,
        "settings",
        "models",
        "gateway",
        "host_inspection",
        "engine.preflight",
        "engine.process.guard",
    ),
    "console": (
        *BASE,
        "settings",
        "forms",
        "gateway",
        "local",
        "host_inspection",
        "config_report",
        "engine.preflight.vllm_version",
    ),
    "config_report": (
        *BASE,
        "settings",
        "models",
        "engine.process.command",
        "engine.preflight.chat_template",
    ),
    "modes": (*BASE, "settings", "observability", "engine", "jobs", "serverless", "web"),
    "host_inspection": (*BASE, "settings", "models", "engine.preflight.vllm_version"),
    "commands": (
        *BASE,
        "settings",
        "forms",
        "observability",
        "models",
        "engine",
        "echo",
        "jobs",
        "serverless",
        "web",
        "bench",
        "simulation",
        *FRONTS,
    ),
    "container_init": (),
    "cli": (*BASE, "commands", "container_init", "observability.crash"),
    "__main__": ("cli",),
}
# Room → the third-party packages that it may import. A room that is not named here may import any but the forbidden.
STANDARD_ONLY: frozenset[str] = frozenset()
THIRD_PARTY = {
    "errors": STANDARD_ONLY,
    "json_bytes": STANDARD_ONLY,
    "forwarding": STANDARD_ONLY,
    "settings": STANDARD_ONLY,
    "jobs.request": STANDARD_ONLY,
    "jobs.output": STANDARD_ONLY,
    "engine.process": STANDARD_ONLY,
    "engine.diagnosis": STANDARD_ONLY,
    "web.guard": STANDARD_ONLY,
    "web.asgi": STANDARD_ONLY,
    "web.captured_response": STANDARD_ONLY,
    "web.client_keys": STANDARD_ONLY,
    "web.guard_settings": STANDARD_ONLY,
    "web.request_body": STANDARD_ONLY,
    "web.request_checks": STANDARD_ONLY,
    "web.request_report": STANDARD_ONLY,
    "forms": frozenset({"jsonschema"}),
    "gateway": frozenset(
        {"httptools", "uvicorn", "starlette", "fastapi", "uvloop", "aiohttp", "pydantic", "prometheus_client"}
    ),
    "gateway.load_balancing": frozenset({"starlette", "aiohttp", "multidict", "yarl"}),
    "gateway.fleet": STANDARD_ONLY,
}
# A stem that stands in two rooms on purpose: the same idea in both.
SAME_IDEA = {
    "__init__",
    "__main__",
    "native",  # a native job as parsed, and how it runs
    "metrics",  # each process's own figures
    "gateway",  # the verb, the room and its main class
    "local",
    "bake",  # the verb, and the work behind it
    "server",  # echo engine and gateway each listen
    "app",  # and each has its application
    "guard",  # of the engine's process, and of its HTTP server
    "types",  # the vocabulary of settings, and of diagnoses
    "hub",
    "health",  # the verb, and what http mode answers
    "http",  # the engine's client, and the mode
}
