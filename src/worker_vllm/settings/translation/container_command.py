"""A command line as users paste it: split into words, freed of assignments, `docker run` and the program's name."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker_vllm.settings.parsers import BadValue

ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
CONTAINER_PROGRAMS = frozenset({"docker", "podman", "nerdctl"})
# Options of `docker run` without a value; any other option takes the next word, unless it contains `=`.
SWITCHES = frozenset(
    (
        *("--rm", "--detach", "--interactive", "--tty", "--privileged", "--init", "--read-only", "--publish-all"),
        *("--no-healthcheck", "--oom-kill-disable", "--sig-proxy", "--quiet"),
    )
)
SHORT_SWITCHES = re.compile(r"-[ditPq]+")
SERVER = "vllm.entrypoints.openai.api_server"


@dataclass(slots=True)
class PastedCommand:
    """The arguments of `vllm serve`, the variables set for it, and the options that concern Docker alone."""

    arguments: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    inherited: list[str] = field(default_factory=list)  # variables whose value comes from the caller's environment
    notes: list[str] = field(default_factory=list)


def split_words(text: str) -> list[str]:
    """The words of a shell command, also over several lines, or of a JSON array. Raises BadValue."""
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise BadValue("a JSON array of texts", 'write ["--model", "org/name", …]')
        return words
    try:
        return shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise BadValue(f"words as a shell would read them ({error})", "close the quotes") from None


def read_command(words: Sequence[str]) -> PastedCommand:
    """What a command line gives to `vllm serve`. Raises BadValue where it runs another program."""
    command = PastedCommand()
    rest = _without_assignments(list(words), command)
    if rest and rest[0] in CONTAINER_PROGRAMS:
        rest = _without_container(rest[1:], command)
    command.arguments = _without_program(rest)
    return command


def _without_assignments(words: list[str], command: PastedCommand) -> list[str]:
    while words and (words[0] in ("env", "sudo", "exec", "export") or ASSIGNMENT.fullmatch(words[0])):
        if match := ASSIGNMENT.fullmatch(words.pop(0)):
            _set(command, match[1], match[2])
    return words


def _without_container(words: list[str], command: PastedCommand) -> list[str]:
    """The words behind the image's name; `-e` and `--env` set variables, other options are noted."""
    if words and words[0] == "container":
        words = words[1:]
    if not words or words.pop(0) not in ("run", "create"):
        raise BadValue("a command that runs a container", "paste a `docker run … vllm/vllm-openai …` line")
    ignored = []
    while words and words[0].startswith("-"):
        option, equals, value = words.pop(0).partition("=")
        if not equals and option not in SWITCHES and not SHORT_SWITCHES.fullmatch(option):
            value = words.pop(0) if words else ""
        if option in ("-e", "--env"):
            name, given, text = value.partition("=")
            _set(command, name, text if given else None)
        elif option not in SWITCHES and not SHORT_SWITCHES.fullmatch(option):
            ignored.append(option)
    if ignored:
        command.notes.append(
            f"options of the container, set them on the endpoint: {', '.join(dict.fromkeys(ignored))}"
        )
    return words[1:]


def _set(command: PastedCommand, name: str, text: str | None) -> None:
    """A value that refers to a variable of the shell is inherited: this command's shell has not expanded it."""
    if text is None or re.fullmatch(r"\$\{?\w+\}?", text):
        command.inherited.append(name)
    else:
        command.variables[name] = text


def _without_program(words: list[str]) -> list[str]:
    if words and re.fullmatch(r"(?:.*/)?python[\d.]*", words[0]):
        if words[1:3] != ["-m", SERVER]:
            raise BadValue("vLLM's server", f"paste `vllm serve …` or `python -m {SERVER} …`")
        return words[3:]
    if words and re.fullmatch(r"(?:.*/)?vllm", words[0]):
        if words[1:2] != ["serve"]:
            raise BadValue("vllm serve", "paste a `vllm serve …` line")
        return words[2:]
    return words[1:] if words[:1] == ["serve"] else words
