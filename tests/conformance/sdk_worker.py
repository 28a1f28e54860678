"""A worker on the official SDK that follows the steps in each job's input. Runs in the SDK's environment."""

import asyncio

import runpod


async def handler(job):
    for step in job["input"]["steps"]:
        if "pause_s" in step:
            await asyncio.sleep(step["pause_s"])
        elif "raise" in step:
            raise RuntimeError(step["raise"])
        else:
            yield step["say"]


def concurrency(current):
    return 16


if __name__ == "__main__":
    runpod.serverless.start(
        {"handler": handler, "concurrency_modifier": concurrency, "return_aggregate_stream": True}
    )
