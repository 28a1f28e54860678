"""Imported by the fork server, and by nothing else: importing it makes that process the template."""

from __future__ import annotations

from worker_vllm.engine import prefork, waiting
from worker_vllm.engine.distribution import answer_for_vllm

answer_for_vllm()
prefork.load()
waiting.say_imported()
