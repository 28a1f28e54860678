"""A local RunPod for development, tests and demos: public API, worker API, OpenAI passthrough."""
