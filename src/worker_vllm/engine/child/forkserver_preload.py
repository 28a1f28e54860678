"""Imported by the fork server, and by nothing else: importing it makes that process the template."""

from __future__ import annotations

from worker_vllm.engine.child import deferred_arguments, forkserver
from worker_vllm.engine.child.vllm_cpu_alias import answer_for_vllm

answer_for_vllm()
forkserver.load()
deferred_arguments.say_imported()
