"""The outputs of a model list, without the paths of this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from worker_vllm.jobs.output.model_paths import without_local_paths
from worker_vllm.jobs.output.output import Output
from worker_vllm.json_bytes import dump


async def without_paths(outputs: AsyncGenerator[Output, None], served: str | None) -> AsyncGenerator[Output, None]:
    """The outputs of a model list with every local path replaced by a repository name; see `without_local_paths`."""
    async with aclosing(outputs):
        async for output in outputs:
            yield _without_paths(output, served)


def _without_paths(output: Output, served: str | None) -> Output:
    try:
        answer = json.loads(output.data)
    except ValueError:
        return output
    shown = without_local_paths(answer, served)
    return output if shown is answer else Output(dump(shown), streamed=output.streamed)
