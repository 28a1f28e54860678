"""An environment becomes complete settings, or one error with every problem."""

from __future__ import annotations

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft, freeze, load
from worker_vllm.settings.provenance import field_default
from worker_vllm.settings.types import EngineKind, HttpSettings, Mode, QueueSettings, Secret, Settings

PLATFORM = {
    "RUNPOD_POD_ID": "w1",
    "RUNPOD_AI_API_KEY": "key",
    "RUNPOD_WEBHOOK_GET_JOB": "http://h/v2/e/job-take/$ID?gpu=x",
    "RUNPOD_WEBHOOK_POST_OUTPUT": "http://h/v2/e/job-done/$RUNPOD_POD_ID/$ID?gpu=x",
    "RUNPOD_WEBHOOK_POST_STREAM": "http://h/v2/e/job-stream/$RUNPOD_POD_ID/$ID?gpu=x",
    "RUNPOD_WEBHOOK_PING": "http://h/v2/e/ping/$RUNPOD_POD_ID?gpu=x",
    "RUNPOD_PING_INTERVAL": "4000",
}


def test_the_platform_addresses_lose_every_placeholder_but_the_job_id() -> None:
    """$ID is the worker in job-take and the job everywhere else."""
    assert load(PLATFORM).queue == QueueSettings(
        worker_id="w1",
        api_key=Secret("key"),
        take_url="http://h/v2/e/job-take/w1?gpu=x",
        done_url="http://h/v2/e/job-done/w1/$ID?gpu=x",
        stream_url="http://h/v2/e/job-stream/w1/$ID?gpu=x",
        ping_url="http://h/v2/e/ping/w1?gpu=x",
        ping_interval_s=4.0,
    )


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("0.5", 0.5), ("8", 8.0)])
def test_a_stall_timeout_of_0_is_a_value(text: str, seconds: float) -> None:
    """It switches the watch off, where 0 elsewhere means that nothing was chosen; less is refused."""
    settings = load({"ENGINE_STALL_TIMEOUT": text})
    assert settings.engine.stall_timeout_s == seconds
    assert not any("ENGINE_STALL_TIMEOUT" in warning for warning in settings.warnings)
    with pytest.raises(ConfigurationError, match="at least 0"):
        load({"ENGINE_STALL_TIMEOUT": "-1"})


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        (PLATFORM, Mode.QUEUE),
        (PLATFORM | {"PORT": "80"}, Mode.QUEUE),
        ({"PORT": "80"}, Mode.HTTP),
        ({"PORT_HEALTH": "81"}, Mode.HTTP),
        ({}, Mode.LOCAL),
        (PLATFORM | {"WORKER_MODE": "http"}, Mode.HTTP),
    ],
)
def test_the_mode_follows_the_platform_unless_it_is_named(env: dict[str, str], mode: Mode) -> None:
    """Queue where jobs are given, http where a port is given, else local."""
    assert load(env).mode is mode


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({}, ("facebook/opt-125m",)),
        ({"MODEL_NAME": "org/name"}, ("org/name",)),
        ({"MODEL_NAME": "org/name", "SERVED_MODEL_NAME": "b"}, ("b", "org/name")),
        (
            {"MODEL_NAME": "org/name", "SERVED_MODEL_NAME": "b", "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "a, gpt 4"},
            ("a", "gpt 4", "b", "org/name"),
        ),
        ({"MODEL_NAME": "org/name", "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "org/name"}, ("org/name",)),
        ({"MODEL_NAME": "/models/parrot/"}, ("parrot",)),
        ({"MODEL_NAME": "/hub/models--org--name/snapshots/0a1b"}, ("org/name",)),
    ],
)
def test_served_names_are_overrides_then_the_repository_id(env: dict[str, str], names: tuple[str, ...]) -> None:
    """A file's path is never a name."""
    assert load(env).engine.served_names == names


def test_any_flag_of_vllm_works_in_upper_case() -> None:
    """Only what differs from vLLM's own default reaches the command line, one form for each kind of flag."""
    env = {
        "MAX_MODEL_LEN": "8k",
        "ENFORCE_EAGER": "yes",
        "ENABLE_PREFIX_CACHING": "0",
        "CUDAGRAPH_CAPTURE_SIZES": "1, 2 4",
        "HF_OVERRIDES": '{"a": 1}',
        "SEED": "0",
        "KV_CACHE_DTYPE": "fp8",
        "GPU_MEMORY_UTILIZATION": "0.5",
        "MAX_LOGPROBS": "-1",
    }
    assert load(env).engine.arguments == (
        "--cudagraph-capture-sizes", "1", "2", "4",
        "--no-enable-prefix-caching",
        "--enforce-eager",
        "--gpu-memory-utilization", "0.5",
        "--hf-overrides", '{"a":1}',
        "--kv-cache-dtype", "fp8",
        "--max-logprobs=-1",
        "--max-model-len", "8000",
    )  # fmt: skip


def test_every_problem_is_reported_at_once() -> None:
    """Each with its key, the value, what was expected and the change to make."""
    with pytest.raises(ConfigurationError) as caught:
        load({"MAX_MODEL_LEN": "8k tokens", "MAX_MODEL_LENN": "1", "UDS": "/x", "MAX_CONCURRENCY": "-1"})
    keys = sorted(problem.key for problem in caught.value.problems)
    assert keys == ["MAX_CONCURRENCY", "MAX_MODEL_LEN", "MAX_MODEL_LENN", "UDS"]


def test_nothing_set_is_the_documented_worker() -> None:
    """Empty texts count as nothing set."""
    warning = "MODEL_NAME is not set: the documented default facebook/opt-125m is served"
    for env in ({}, {"MAX_MODEL_LEN": "", "SWAP_SPACE": " ", "QUANTIZATION": "None", "DTYPE": "null"}):
        settings = load(env)
        expected = Settings(mode=Mode.LOCAL, origins=settings.origins, warnings=(warning,))
        assert settings == expected


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "unix:/run/engine.sock"])
def test_engine_url_attaches(url: str) -> None:
    """Nothing is started, and no default model is announced."""
    settings = load({"ENGINE_URL": url})
    assert (settings.engine.kind, settings.engine.url, settings.warnings) == (EngineKind.ATTACH, url, ())


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9400", ("127.0.0.1", 9400)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:9400", ("::1", 9400))],
)
def test_the_address_of_the_metrics(text: str, address: tuple[str, int]) -> None:
    """A host and a port, the host of version 6 in brackets."""
    assert load({"METRICS_ADDRESS": text}).metrics_address == address


@pytest.mark.parametrize("text", ["9400", ":9400", "host", "host:0", "host:65536", "host:http"])
def test_half_an_address_of_the_metrics_is_refused(text: str) -> None:
    """An address without a host would leave the network open."""
    with pytest.raises(ConfigurationError) as caught:
        load({"METRICS_ADDRESS": text})
    assert [(problem.key, problem.value) for problem in caught.value.problems] == [("METRICS_ADDRESS", text)]


def test_another_programs_variable_is_left_alone() -> None:
    """One letter from a server flag of vLLM, but set on many machines for every program's TLS."""
    assert load({"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}).engine == load({}).engine


@pytest.mark.parametrize(
    ("env", "http"),
    [
        ({"PORT": "8080"}, HttpSettings(port=8080)),
        ({"PORT": "8080", "PORT_HEALTH": "8081", "API_KEY": "k"}, HttpSettings(8080, 8081, Secret("k"))),
        ({"WORKER_MODE": "http", "VLLM_API_KEY": "k"}, HttpSettings(api_key=Secret("k"))),
        (PLATFORM | {"PORT": "tcp://10.0.0.1:80", "API_KEY": "k"}, HttpSettings()),
    ],
)
def test_ports_and_key_count_in_http_mode(env: dict[str, str], http: HttpSettings) -> None:
    """In other modes these names belong to other programs."""
    assert load(env).http == http


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, 3600),
        ({"ENGINE_START_TIMEOUT": "90"}, 90),
        ({"RUNPOD_POD_ID": "p1"}, 400),
        ({"RUNPOD_ENDPOINT_ID": "e1"}, 400),
        ({"RUNPOD_INIT_TIMEOUT": "800"}, 780),
        (
            {
                "WORKER_MODE": "queue",
                "RUNPOD_WEBHOOK_GET_JOB": "http://h/t",
                "RUNPOD_WEBHOOK_POST_OUTPUT": "http://h/d",
            },
            400,
        ),
    ],
    ids=["http", "set", "on the platform", "an endpoint", "the platform's own", "queue"],
)
def test_a_start_may_take_an_hour_where_no_platform_ends_it(env: dict[str, str], seconds: float) -> None:
    """A large model behind one's own load balancer must not be relaunched for ever."""
    assert load({"MODEL_NAME": "m", "WORKER_MODE": "http", **env}).engine.start_timeout_s == seconds


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_a_port_that_is_none_is_refused_in_http_mode(port: str) -> None:
    """The platform could never reach the worker."""
    with pytest.raises(ConfigurationError, match="PORT="):
        load({"WORKER_MODE": "http", "PORT": port})


@pytest.mark.parametrize("env", [{"ALLOW_LORA_UPDATES": "1"}, {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "yes"}])
def test_loading_adapters_is_opened_at_both_doors(env: dict[str, str]) -> None:
    """The worker's and the engine's, which reads its own variable and knows fewer words for yes."""
    settings = load(env)
    assert settings.jobs.allow_lora_updates
    assert settings.engine.environment == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    assert load({"ALLOW_LORA_UPDATES": "0"}).engine.environment == {}


@pytest.mark.parametrize(
    "address", ["http://[::1/x", "http://host:port/x", "https:///x", "http://a..b/x", "ftp://h/x"]
)
def test_an_address_that_nothing_can_be_sent_to_is_refused(address: str) -> None:
    """At the start, in words, by the variable's name."""
    with pytest.raises(ConfigurationError) as refused:
        load({**PLATFORM, "RUNPOD_WEBHOOK_GET_JOB": address})
    assert [(problem.key, problem.value) for problem in refused.value.problems] == [
        ("RUNPOD_WEBHOOK_GET_JOB", address)
    ]


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        (
            "jobs.no_such",
            'JobSettings has no field "no_such": add it with its default to JobSettings in settings/types.py',
        ),
        ("no_such", 'Settings has no field "no_such"'),
        ("unknown.size", 'Settings has no group "unknown"'),
        ("mode.size", 'Settings has no group "mode"'),
    ],
)
def test_a_catalogue_row_with_an_unknown_field_is_an_error_that_names_it(place: str, missing: str) -> None:
    """The error names the file to change."""
    with pytest.raises(LookupError) as caught:
        field_default(place)
    assert missing in str(caught.value)
    assert f'"{place}"' in str(caught.value)


def test_a_draft_with_an_unknown_field_is_the_same_error() -> None:
    """Not a TypeError of the dataclass."""
    draft = build_draft({}, HostFacts())
    draft.set_field("jobs.no_such", 1, "NO_SUCH")
    with pytest.raises(LookupError, match="JobSettings has no field"):
        freeze(draft)
