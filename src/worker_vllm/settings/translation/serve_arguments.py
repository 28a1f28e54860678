"""The arguments of `vllm serve` as variables: model, secrets, flags; a note for each without a counterpart."""

from __future__ import annotations

import shlex

from worker_vllm.settings.arguments import EngineArguments, Option
from worker_vllm.settings.catalog.catalog import Handling, names
from worker_vllm.settings.flags.flag_table import Flag, FlagTable, marks
from worker_vllm.settings.redaction import quotable
from worker_vllm.settings.suggestions import nearest
from worker_vllm.settings.translation.container_command import PastedCommand

MODEL_FLAGS = ("MODEL", "MODEL_TAG")
SECRET_FLAGS = {"API_KEY": "VLLM_API_KEY", "HF_TOKEN": "HF_TOKEN"}


class ServeArguments:
    """Reads one command; afterwards `variables` are ours, with the flags in VLLM_EXTRA_ARGS."""

    def __init__(self, command: PastedCommand, table: FlagTable) -> None:
        self.table = table
        self.notes = list(command.notes)
        self.variables: dict[str, str] = {}
        self.inherited = [name for name in command.inherited if self._reads(name)]
        self._kept: list[str] = []
        for name, text in command.variables.items():
            if self._reads(name):
                self.variables[name] = text
        for option in EngineArguments(command.arguments).options:
            self._read(option)
        if self._kept:
            self.variables["VLLM_EXTRA_ARGS"] = shlex.join(self._kept)

    def _reads(self, name: str) -> bool:
        """Whether vLLM or a library of it reads a variable; a note says so where it does not."""
        setting = names().get(name)
        if name in self.table.variables or (setting is not None and setting.handling is Handling.ENVIRONMENT):
            return True
        self.notes.append(f"{name}: vLLM does not read this variable; it is left out")
        return False

    def _read(self, option: Option) -> None:
        if not option.flag:
            self._model(*option.values)
            return
        found = self.table.by_option(option.flag)
        if found is None:
            meant = nearest(option.flag, [flag.flag for flag in self.table.flags.values()])
            hint = f"; did you mean {meant}?" if meant else ""
            self.notes.append(f"{option.flag}: vLLM {self.table.version} has no such flag; it is left out{hint}")
            return
        self._take(found[0], self._without_positional(found[0], option))

    def _without_positional(self, flag: Flag, option: Option) -> Option:
        """The option without words that belong to no flag: the model may stand behind any flag."""
        most = 0 if flag.is_bool else 1
        if flag.many or len(option.values) <= most:
            return option
        extra = len(option.values) - most
        self._model(*option.values[most:])
        return Option(option.flag, option.key, option.values[:most], option.words[:-extra])

    def _model(self, *words: str) -> None:
        if "MODEL_NAME" in self.variables or len(words) != 1:
            self.notes.append(f"{quotable(' '.join(words))}: only one model is served; these words are left out")
        else:
            self.variables["MODEL_NAME"] = words[0]

    def _take(self, flag: Flag, option: Option) -> None:
        if flag.name in MODEL_FLAGS and option.values:
            self._model(option.values[0])
        elif flag.name in SECRET_FLAGS:
            name = SECRET_FLAGS[flag.name]
            self.inherited.append(name)
            self.notes.append(f"{flag.flag}: put the secret into the variable {name}; it is never on a command line")
        elif flag.name == "CONFIG" and option.values:
            self.variables["VLLM_CONFIG_FILE"] = option.values[0]
        elif flag.name in marks().owned:
            self.notes.append(f"{flag.flag}: left out; {marks().owned[flag.name]}")
        else:
            self._kept += option.words
