"""Print the flags, config objects, variables and architectures of a vLLM version as JSON.

Run it with the interpreter (and PYTHONPATH) of the vLLM to be described. The kind of a flag is found by calling its
type function with probe values, so that a renamed internal type does not matter.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import enum
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pydantic

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

PARSER_MODULES = tuple(f"vllm.entrypoints.{room}.cli_args" for room in ("common", "launchers", "openai"))
PARSER_CLASSES = ("vllm.utils.argparse_utils", "vllm.utils")
# Open lists: the parser takes any text, vLLM refuses an unknown one later.
KNOWN_VALUES: Mapping[str, tuple[str, str]] = {
    "--quantization": ("vllm.model_executor.layers.quantization", "QUANTIZATION_METHODS"),
    "--load-format": ("vllm.model_executor.model_loader", "_LOAD_FORMAT_TO_MODEL_LOADER"),
    "--attention-backend": ("vllm.v1.attention.backends.registry", "AttentionBackendEnum"),
    "--tool-call-parser": ("vllm.tool_parsers", "ToolParserManager"),
    "--reasoning-parser": ("vllm.reasoning", "ReasoningParserManager"),
}
FAILED = object()
# One value of each kind of JSON that a config object's field may take or not.
PROBES: Mapping[str, Any] = dict(
    zip("nbizmftdwao", (None, True, 1, 0, -1, 1.5, "a b", "7", "true", [], {}), strict=True)
)


def vllm_parser() -> argparse.ArgumentParser:
    """The parser of `vllm serve`, from the module that this version has it in."""
    for name in PARSER_CLASSES:
        module = importlib.import_module(name)
        if hasattr(module, "FlexibleArgumentParser"):
            empty = module.FlexibleArgumentParser(prog="vllm serve")
            break
    for name in PARSER_MODULES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        return module.make_arg_parser(empty)  # type: ignore[no-any-return]
    raise SystemExit(f"no make_arg_parser in any of {PARSER_MODULES}")


def probe(parse: Callable[[str], Any], text: str) -> Any:
    """A type function's value for a text; FAILED when it refuses the text."""
    try:
        return parse(text)
    except Exception:
        return FAILED


def dataclass_behind(parse: Callable[..., Any]) -> type | None:
    """The config class that a flag's type function validates JSON into, if it is one."""
    found = list(getattr(parse, "__defaults__", None) or ())
    for cell in getattr(parse, "__closure__", None) or ():
        inner = cell.cell_contents
        found += [inner, *(getattr(inner, "__defaults__", None) or ())]
    return next((item for item in found if isinstance(item, type) and dataclasses.is_dataclass(item)), None)


def kind_of(parse: Callable[[str], Any] | None) -> dict[str, Any]:
    """The kind and traits of a flag's value, derived from its type function's results for probes."""
    if parse is None or parse is str:
        return {"kind": "text"}
    traits: dict[str, Any] = {}
    if probe(parse, "None") is None:
        traits["nullable"] = True
    if probe(parse, "A-b") == "a_b":
        return {"kind": "text", "fold": True, **traits}
    config = dataclass_behind(parse)
    if config is not None:
        return {"kind": "config", "fields": config_fields(config, parse), **traits}
    if probe(parse, '{"a": 1}') == {"a": 1}:
        return {"kind": "json" if probe(parse, "x") is FAILED else "json-or-text", **traits}
    if probe(parse, "2k") == 2000:
        return {"kind": "size", **({"auto": True} if probe(parse, "auto") == -1 else {}), **traits}
    if probe(parse, "x") is FAILED and probe(parse, "7") == 7:
        return {"kind": "float" if probe(parse, "0.5") == 0.5 else "int", **traits}
    return {"kind": "text", **traits}


def config_fields(config: type, parse: Callable[[str], Any] | None = None) -> dict[str, list[str]]:
    """A config class's settable fields: first the kinds of JSON that each takes, then `=text` for each word it knows.

    The kinds are letters of PROBES, none where they cannot be determined. A kind counts when the field's own type or
    the class as a whole takes it: either alone refuses values that need another field or a validator.
    """
    found = {}
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        alone = field_parser(config, field.name) if parse else None
        if parse is None or alone is None:
            found[field.name] = [""]
            continue
        asked = (alone, lambda text, name=field.name: parse(f'{{"{name}":{text}}}'))
        kinds = "".join(key for key, value in PROBES.items() if taken(asked, value))
        words = known_words(get_type_hints(config)[field.name]) if "t" not in kinds else []
        found[field.name] = [kinds, *(f"={word}" for word in sorted(set(words)) if taken(asked, word))]
    return found


def field_parser(config: type, name: str) -> Callable[[str], Any] | None:
    """A parser of one field by its own type and limits; None where pydantic has none for it."""
    hint = get_type_hints(config, include_extras=True)[name]
    known = getattr(config, "__pydantic_fields__", {}).get(name)
    marked = Annotated[(hint, *known.metadata)] if known is not None and known.metadata else hint
    any_type = pydantic.ConfigDict(arbitrary_types_allowed=True)
    for adapter_config in (any_type, None):  # pydantic's own classes have their own
        with contextlib.suppress(Exception):
            return pydantic.TypeAdapter[Any](marked, config=adapter_config).validate_json  # type: ignore[arg-type]
    return None


def taken(parsers: Iterable[Callable[[str], Any]], value: Any) -> bool:
    """Whether any of the parsers takes this JSON value."""
    return any(probe(parse, json.dumps(value)) is not FAILED for parse in parsers)


def known_words(hint: Any) -> list[str]:
    """The texts that a type hint spells out: a literal's, an enumeration's names and values."""
    if get_origin(hint) is Literal:
        return [item for item in get_args(hint) if isinstance(item, str)]
    if isinstance(hint, enum.EnumMeta):
        members: Iterable[enum.Enum] = hint
        return [text for member in members for text in {member.name, member.value} if isinstance(text, str)]
    return [word for inner in get_args(hint) for word in known_words(inner)]


def config_class(dest: str) -> type | None:
    """The config class that vLLM builds of a JSON flag after parsing: speculative_config → SpeculativeConfig."""
    name = "".join(part.capitalize() for part in dest.split("_"))
    found = getattr(importlib.import_module("vllm.config"), name, None) if dest.endswith("_config") else None
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None


def plain(value: Any) -> Any:
    """A default as JSON; None where it has no plain form."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, str | int | float | bool) or value is None:
        return None if value == argparse.SUPPRESS else value
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, dict) and not value:
        return {}
    return None


def describe(action: argparse.Action) -> dict[str, Any]:
    """One flag: its kind, choices and default."""
    if isinstance(action, argparse.BooleanOptionalAction):
        found: dict[str, Any] = {"kind": "pair"}
    elif isinstance(action, argparse._StoreTrueAction):
        found = {"kind": "switch"}
    else:
        found = kind_of(action.type)  # type: ignore[arg-type]
    if action.nargs == "+":
        found["many"] = True
    elif isinstance(action, argparse._AppendAction):
        found["repeat"] = True
    if action.choices:
        found["choices"] = [item for item in action.choices if item is not None]
    default = plain(action.default)
    if default is not None:
        found["default"] = default
    return found


def known_values(flag: str, action: argparse.Action) -> list[str]:
    """The texts that vLLM accepts for a flag whose parser takes any; empty when unknown."""
    if isinstance(action.metavar, list | tuple):
        return sorted(str(item) for item in action.metavar)
    if flag == "--chat-template":
        return chat_templates()
    module_name, name = KNOWN_VALUES.get(flag, ("", ""))
    try:
        source = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError):
        return []
    if hasattr(source, "list_registered"):
        return sorted(source.list_registered())
    if isinstance(source, enum.EnumMeta):
        return sorted(source.__members__)
    return sorted(source)


def chat_templates() -> list[str]:
    """The template files that are part of vLLM and can be named without a path."""
    registry = importlib.import_module("vllm.transformers_utils.chat_templates.registry")
    return sorted(path.name for path in registry.CHAT_TEMPLATES_DIR.glob("*.jinja"))


def bounds() -> dict[str, dict[str, float]]:
    """Numeric limits that vLLM's config classes put on a field, by field name."""
    config = importlib.import_module("vllm.config")
    names = {"ge": "least", "gt": "above", "le": "most", "lt": "below"}
    found: dict[str, dict[str, float]] = {}
    for item in vars(config).values():
        if isinstance(item, type) and hasattr(item, "__pydantic_fields__"):
            for name, field in item.__pydantic_fields__.items():
                limits = {
                    names[key]: getattr(mark, key)
                    for mark in field.metadata
                    for key in names
                    if getattr(mark, key, None) is not None
                }
                if limits:
                    found.setdefault(name, limits)
    return found


def flags() -> dict[str, dict[str, Any]]:
    """Every flag of `vllm serve` by its environment name."""
    limits, found = bounds(), {}
    for action in vllm_parser()._actions:
        longest = [option for option in action.option_strings if option.startswith("--")]
        if not longest or longest[0] == "--help":
            continue
        flag = longest[0]
        entry = {"flag": flag, **describe(action)}
        aliases = [o for o in action.option_strings if o != flag and not o.startswith("--no-")]
        if aliases:
            entry["aliases"] = aliases
        if "choices" not in entry and (known := known_values(flag, action)):
            entry["known"] = known
        if entry["kind"] == "json" and (config := config_class(action.dest)):
            entry["fields"] = config_fields(config)
        if entry["kind"] in ("int", "float", "size") and action.dest in limits:
            entry.update(limits[action.dest])
        found[flag.removeprefix("--").replace("-", "_").upper()] = entry
    return dict(sorted(found.items()))


def architectures() -> dict[str, list[str]]:
    """The architectures that this version's registry serves, by kind."""
    registry = importlib.import_module("vllm.model_executor.models.registry")
    kinds = {
        "text generation": "_TEXT_GENERATION_MODELS",
        "multimodal": "_MULTIMODAL_MODELS",
        "embedding": "_EMBEDDING_MODELS",
        "late interaction": "_LATE_INTERACTION_MODELS",
        "reward": "_REWARD_MODELS",
        "token classification": "_TOKEN_CLASSIFICATION_MODELS",
        "sequence classification": "_SEQUENCE_CLASSIFICATION_MODELS",
        "cross encoder": "_CROSS_ENCODER_MODELS",
        "speculative decoding": "_SPECULATIVE_DECODING_MODELS",
        "through transformers": "_TRANSFORMERS_SUPPORTED_MODELS",
        "no longer supported": "_PREVIOUSLY_SUPPORTED_MODELS",
    }
    found = {kind: sorted(getattr(registry, name)) for kind, name in kinds.items() if hasattr(registry, name)}
    listed = {name for names in found.values() for name in names}
    return {**found, "transformers' own": sorted(transformers_classes() - listed)}


def transformers_classes() -> set[str]:
    """The model classes of the transformers library, vLLM's fallback for architectures that it does not implement."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    tasks = ("", "FOR_CAUSAL_LM_", "FOR_IMAGE_TEXT_TO_TEXT_", "FOR_SEQUENCE_CLASSIFICATION_")
    values = (value for task in tasks for value in getattr(auto, f"MODEL_{task}MAPPING_NAMES").values())
    return {name for value in values for name in (value if isinstance(value, list | tuple) else [value])}


def variables() -> list[str]:
    """The environment variables that vLLM itself reads."""
    return sorted(importlib.import_module("vllm.envs").environment_variables)


def compact(value: Any) -> str:
    """JSON on one line without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Write the description to standard output."""
    version = importlib.import_module("vllm.version").__version__.split("+")[0]
    described = {
        "vllm": version,
        "flags": flags(),
        "variables": variables(),
        "architectures": architectures(),
    }
    lines = ",\n".join(f"{json.dumps(name)}:{compact(entry)}" for name, entry in described["flags"].items())
    rest = ",\n".join(f"{json.dumps(key)}:{compact(described[key])}" for key in ("variables", "architectures"))
    sys.stdout.write(f'{{"vllm":{json.dumps(version)},\n"flags":{{\n{lines}\n}},\n{rest}\n}}\n')


if __name__ == "__main__":
    main()
