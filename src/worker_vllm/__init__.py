"""Any Hugging Face model as an OpenAI-compatible endpoint on RunPod Serverless, powered by vLLM."""

__version__ = "3.0.0"
