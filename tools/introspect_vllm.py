"""Print what one vLLM's own `vllm serve` parser knows, as JSON: flags, config objects, variables, architectures.

Run it with the interpreter (and PYTHONPATH) of the vLLM to be described. It asks the parser itself: every flag's
kind is found by feeding its type function probes, so that a renamed internal type does not matter.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

PARSER_MODULES = tuple(f"vllm.entrypoints.{room}.cli_args" for room in ("common", "launchers", "openai"))
PARSER_CLASSES = ("vllm.utils.argparse_utils", "vllm.utils")
# Open lists: the parser takes any text there, vLLM itself refuses an unknown one later.
KNOWN_VALUES: Mapping[str, tuple[str, str]] = {
    "--quantization": ("vllm.model_executor.layers.quantization", "QUANTIZATION_METHODS"),
    "--load-format": ("vllm.model_executor.model_loader", "_LOAD_FORMAT_TO_MODEL_LOADER"),
    "--attention-backend": ("vllm.v1.attention.backends.registry", "AttentionBackendEnum"),
    "--tool-call-parser": ("vllm.tool_parsers", "ToolParserManager"),
    "--reasoning-parser": ("vllm.reasoning", "ReasoningParserManager"),
}
FAILED = object()


def vllm_parser() -> argparse.ArgumentParser:
    """The parser of `vllm serve`, from wherever this version keeps it."""
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
    """What a type function makes of a text; FAILED when it refuses it."""
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
    """`kind` of one value, and what else is true of it, told by how the type function answers probes."""
    if parse is None or parse is str:
        return {"kind": "text"}
    traits: dict[str, Any] = {}
    if probe(parse, "None") is None:
        traits["nullable"] = True
    if probe(parse, "A-b") == "a_b":
        return {"kind": "text", "fold": True, **traits}
    config = dataclass_behind(parse)
    if config is not None:
        return {"kind": "config", "fields": config_fields(config), **traits}
    if probe(parse, '{"a": 1}') == {"a": 1}:
        return {"kind": "json" if probe(parse, "x") is FAILED else "json-or-text", **traits}
    if probe(parse, "2k") == 2000:
        return {"kind": "size", **({"auto": True} if probe(parse, "auto") == -1 else {}), **traits}
    if probe(parse, "x") is FAILED and probe(parse, "7") == 7:
        return {"kind": "float" if probe(parse, "0.5") == 0.5 else "int", **traits}
    if isinstance(probe(parse, "0,1"), list):
        return {"kind": "text", **traits}
    return {"kind": "text", **traits}


def config_fields(config: type) -> dict[str, list[Any]]:
    """A config class's settable fields: the JSON types it takes, or the texts when only some are allowed."""
    hints = get_type_hints(config, include_extras=False)
    return {
        field.name: sorted(set(json_types(hints[field.name]))) for field in dataclasses.fields(config) if field.init
    }


def config_class(dest: str) -> type | None:
    """The config class that vLLM builds of a JSON flag after parsing: speculative_config → SpeculativeConfig."""
    name = "".join(part.capitalize() for part in dest.split("_"))
    found = getattr(importlib.import_module("vllm.config"), name, None) if dest.endswith("_config") else None
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None


def json_types(hint: Any) -> list[str]:
    """JSON type names of a type hint, `=text` for a literal, `any` where it cannot be told."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return [f"={item}" if isinstance(item, str) else plain_type(type(item)) for item in arguments]
    if origin is not None and (origin.__name__ in ("Union", "UnionType") or origin.__module__ == "types"):
        return [name for item in arguments for name in json_types(item)]
    if origin is not None and hasattr(hint, "__metadata__"):
        return json_types(arguments[0])
    return [plain_type(origin or hint)]


def plain_type(hint: Any) -> str:
    """JSON type name of a plain Python type."""
    names = {bool: "bool", int: "int", float: "float", str: "text", type(None): "null", dict: "object"}
    if hint in names:
        return names[hint]
    if hint in (list, tuple, set):
        return "array"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return "object"
    return "any"


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
    """Texts that vLLM knows for a flag whose parser takes any; empty when nothing can be told."""
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
    """The template files that come with vLLM and may be named without a path."""
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
    """The model classes of the transformers library, which vLLM falls back to where it has no implementation."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    tasks = ("", "FOR_CAUSAL_LM_", "FOR_IMAGE_TEXT_TO_TEXT_", "FOR_SEQUENCE_CLASSIFICATION_")
    values = (value for task in tasks for value in getattr(auto, f"MODEL_{task}MAPPING_NAMES").values())
    return {name for value in values for name in (value if isinstance(value, list | tuple) else [value])}


def variables() -> list[str]:
    """The environment variables that vLLM itself reads."""
    return sorted(importlib.import_module("vllm.envs").environment_variables)


def main() -> None:
    """Write the description to standard output."""
    version = importlib.import_module("vllm.version").__version__.split("+")[0]
    described = {
        "vllm": version,
        "flags": flags(),
        "variables": variables(),
        "architectures": architectures(),
    }
    compact = {"ensure_ascii": False, "separators": (",", ":")}
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(entry, **compact)}" for name, entry in described["flags"].items()
    )
    rest = ",\n".join(
        f"{json.dumps(key)}:{json.dumps(described[key], **compact)}" for key in ("variables", "architectures")
    )
    sys.stdout.write(f'{{"vllm":{json.dumps(version)},\n"flags":{{\n{lines}\n}},\n{rest}\n}}\n')


if __name__ == "__main__":
    main()
