"""Imported by Python's fork server only: importing it makes that process the template."""

from __future__ import annotations

from worker_vllm.engine.child import deferred_arguments, forkserver, usage_reports
from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias

forkserver.find_title_area()
install_vllm_alias()
usage_reports.install()
forkserver.load()
deferred_arguments.log_imported()
