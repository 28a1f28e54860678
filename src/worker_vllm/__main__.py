"""`python -m worker_vllm VERB`: the command line without its installed script."""

from worker_vllm.cli import main

raise SystemExit(main())
