"""Faults in the settings or the model's files, with what to change.

Messages are those of vLLM 0.32.0, transformers and huggingface_hub. Every fault that the CPU engine can have has a
recording in tests/engine/diagnosis/recordings. Patterns see the log without vLLM's prefixes; the first pattern that
matches makes the diagnosis, so specific patterns stand before general ones.
"""

from __future__ import annotations

from worker_vllm.engine.diagnosis.types import FaultPattern, Remedy, passing, settings

MODEL = r"['`\"](?P<model>[^'`\"\n]+)['`\"]"

PATTERNS: tuple[FaultPattern, ...] = (
    # --- the hub
    settings(
        "gated",
        r"(?:gated repo|Cannot access gated repo for url \S*?/(?:api/models/)?(?P<model>[\w.-]+/[\w.-]+))",
        "the model {model} is gated",
        "accept its licence on its page at the hub, then set HF_TOKEN to a token of that account",
    ),
    settings(
        "token wrong",
        r"Invalid user token|Invalid credentials in Authorization header|Invalid username or password",
        "the hub refuses HF_TOKEN",
        "set HF_TOKEN to a valid token, or unset it if the model is public",
    ),
    settings(
        "revision gone",
        r"Revision Not Found for url: \S*?/(?P<model>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/\s]+)/",
        "the model {model} has no revision {revision}",
        "correct MODEL_REVISION, or unset it for the newest",
        Remedy.AGAIN,
    ),
    settings(
        "revision gone",
        r"(?P<revision>\S+) is not a valid git identifier",
        "the model has no revision {revision}",
        "correct MODEL_REVISION, or unset it for the newest",
        Remedy.AGAIN,
    ),
    settings(
        "model not found",
        r"Repository Not Found for url: \S*?/(?:api/models/)?(?P<model>[\w.-]+/[\w.-]+)",
        "the hub has no model {model}, or HF_TOKEN may not see it",
        "correct MODEL_NAME, or set HF_TOKEN if it is private",
    ),
    settings(
        "model not found",
        r"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '(?P<model>[^']+)'",
        "there is no model at {model}",
        "correct MODEL_NAME (or TOKENIZER, SPECULATIVE_MODEL), and check that its volume is mounted",
    ),
    settings(
        "configuration missing",
        rf"Invalid repository ID or local directory specified: {MODEL}",
        "{model} has no config.json that the engine can read",
        "correct MODEL_NAME, or copy the whole repository there",
    ),
    settings(
        "model not found",
        r"(?:local_files_only|outgoing traffic has been disabled|offline mode is enabled)",
        "{MODEL} is not on this disk, and HF_HUB_OFFLINE forbids the download",
        "correct MODEL_NAME, or unset HF_HUB_OFFLINE",
    ),
    passing(
        "hub unreachable",
        r"(?:Temporary failure in name resolution|Max retries exceeded with url: \S*huggingface"
        r"|We couldn't connect to 'https://huggingface|5\d\d Server Error\S* for url: \S*huggingface)",
        "the hub cannot be reached",
        "the worker retries; a model in the image, in a cache or on a volume needs no hub",
    ),
    # --- adapters
    settings(
        "adapter rank",
        r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<limit>\d+)",
        "an adapter has rank {rank}, and MAX_LORA_RANK allows {limit}",
        "set MAX_LORA_RANK={rank} or more",
    ),
    settings(
        "adapter not found",
        r"No adapter found for (?P<path>\S+)",
        "there is no adapter at {path}",
        "correct LORA_MODULES, and check that the adapter's volume is mounted",
    ),
    settings(
        "adapter of another base",
        r"(?s)LoRAModulePath\(name='(?P<name>[^']+)'(?!.*Loaded new LoRA adapter: name '(?P=name)').*"
        r"Call to add_lora method failed: (?:Worker failed with error ')?"
        r"(?P<why>[^\n]*?(?:size of tensor|size mismatch|target modules|shape|dimension)[^\n']*)",
        "the adapter {name} was made for another base model ({why})",
        "remove it from LORA_MODULES, or set MODEL_NAME to its base model",
    ),
    # --- the model's files
    settings(
        "configuration damaged",
        r"config file at '(?P<file>[^']+)' is not a valid JSON file",
        "{file} is not valid JSON",
        "copy the model there again",
    ),
    settings(
        "weights missing",
        r"Weight files referenced in index but missing: \{(?P<files>[^}\n]+)\}",
        "weight files are missing: {files}",
        "copy the whole repository again",
    ),
    settings(
        "weights missing",
        rf"Cannot find any model weights with {MODEL}",
        "{model} has no weights that the engine reads (*.safetensors, *.bin, *.pt)",
        "copy the whole repository there, or correct MODEL_NAME or LOAD_FORMAT",
    ),
    settings(
        "weights damaged",
        r"SafetensorError: (?P<why>[^\n]*(?:deserializing header|incomplete|too small|too large)[^\n]*)",
        "a weight file is damaged or was cut short ({why})",
        "copy the model there again",
    ),
    settings(
        "weights do not fit the configuration",
        r"(?:start \(\d+\) \+ length \(\d+\) exceeds dimension size|size mismatch for |Attempted to load weight"
        r"|The size of tensor a \(\d+\) must match|There is no module or parameter named)",
        "the weights do not have the shapes that config.json specifies",
        "use weights and configuration of the same repository and revision (MODEL_NAME, MODEL_REVISION)",
    ),
    settings(
        "tokenizer damaged",
        r"(?:json\.decoder\.JSONDecodeError|data did not match any variant of untagged enum|expected value at line)"
        r":? ?(?P<why>[^\n]*)",
        "the model's tokenizer.json or another of its JSON files is damaged ({why})",
        "copy the whole repository again",
    ),
    settings(
        "tokenizer missing",
        r"Couldn't instantiate the backend tokenizer|Can't load tokenizer for|No tokenizer registered",
        "the model has no tokenizer that the engine can load",
        "copy the tokenizer's files beside the weights, or set TOKENIZER to another tokenizer",
    ),
    settings(
        "chat template not found",
        r"chat template string \((?P<file>[^)\n]+)\) appears path-like, but doesn't exist",
        "there is no chat template at {file}",
        "set CUSTOM_CHAT_TEMPLATE to the template's text, or to the path of a file in this container",
    ),
    # --- what the engine cannot run
    settings(
        "remote code needed",
        r"contains custom code which must be executed|`?trust_remote_code=True`? (?:to allow|option)",
        "the model contains its own code, which runs only if you trust it",
        "set TRUST_REMOTE_CODE=1 if you do",
    ),
    settings(
        "unknown architecture",
        r"Model architectures \[(?P<name>[^\]]+)\] (?:are not supported|failed to be inspected)",
        "this engine does not support the architecture {name}",
        "use an image with a newer vLLM, or set MODEL_NAME to another model",
    ),
    settings(
        "unknown architecture",
        r"model type `(?P<name>[^`]+)` but Transformers does not recognize",
        "this engine does not support the model type {name}",
        "use an image with a newer vLLM, or set TRUST_REMOTE_CODE=1 if the model contains its own code",
    ),
    settings(
        "context too long",
        r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len "
        r"\((?:max_position_embeddings|[\w.]+)=(?P<limit>\d+)",
        "MAX_MODEL_LEN={asked} is more than the model's {limit} tokens",
        "set MAX_MODEL_LEN={limit} or less, or unset it",
    ),
    settings(
        "quantization unsupported",
        r"(?:Unknown quantization method: |Quantization method specified in the model config \(|"
        r"(?:quantization|argument --quantization/-q: invalid choice:|Invalid quantization method:?) ?['\"]?)"
        r"(?P<name>[\w.-]+)['\")]* ?(?:does not match|is not (?:currently )?supported|\(choose from|\.? Must be|,)",
        "the quantization {name} cannot run here",
        "unset QUANTIZATION to use the model's own, or use a model quantized for this engine and GPU",
    ),
    settings(
        "quantization unsupported",
        r"The quantization method (?P<name>\S+) is not supported for the current GPU",
        "the quantization {name} needs a newer GPU than this one",
        "use another GPU, or set MODEL_NAME to a model with another quantization",
    ),
    settings(
        "quantization unsupported",
        r"Unknown quantization method: (?P<name>[\w.-]+)",
        "this engine does not support the quantization {name}",
        "unset QUANTIZATION to use the model's own, or use a model with another quantization",
    ),
    settings(
        "quantization unsupported",
        r"_C::static_scaled_(?P<name>fp8|int8)_quant\(\) expected at most 0 argument",
        "this build of the engine has no kernel for {name} quantization",
        "unset QUANTIZATION, or run it on a GPU",
    ),
    settings(
        "type unsupported",
        r"Bfloat16 is only supported on GPUs with compute capability",
        "this GPU does not support bfloat16",
        "set DTYPE=half",
    ),
    # --- processes and directories
    settings(
        "parallel sizes",
        r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<size>\d+)\)",
        "the model's {heads} attention heads cannot be divided by TENSOR_PARALLEL_SIZE={size}",
        "set TENSOR_PARALLEL_SIZE to a divisor of {heads}",
    ),
    settings(
        "parallel sizes",
        r"Not enough allowed NUMA nodes to bind threads of (?P<count>\d+) local CPUWorkers",
        "this machine has too few NUMA nodes for {count} parallel processes of the CPU engine",
        "set VLLM_CPU_OMP_THREADS_BIND (for two: 0|1), or lower TENSOR_PARALLEL_SIZE and PIPELINE_PARALLEL_SIZE",
    ),
    settings(
        "parallel sizes",
        r"(?:World size \((?P<size>\d+)\) is larger than the number of available GPUs \((?P<count>\d+)\)"
        r"|Tensor parallel size \((?P<tensor>\d+)\) cannot be larger than the number of available GPUs "
        r"\((?P<all>\d+)\))",
        "{size}{tensor} GPUs are configured and this machine has {count}{all}",
        "lower TENSOR_PARALLEL_SIZE and PIPELINE_PARALLEL_SIZE, or use machines with more GPUs",
    ),
    settings(
        "Ray missing",
        r"(?:[Rr]ay is not installed|Unable to import Ray|No module named 'ray'|require Ray|load Ray)",
        "this image has no Ray",
        "unset DISTRIBUTED_EXECUTOR_BACKEND (mp uses all GPUs of one machine), or install ray in the image",
    ),
    settings(
        "Ray unsupported",
        r"current platform (?P<platform>\w+) does not support ray",
        "the {platform} engine does not support Ray",
        "unset DISTRIBUTED_EXECUTOR_BACKEND (mp serves one machine)",
    ),
    settings(
        "port taken",
        r"(?:Address already in use|address already in use)",
        "the address that the engine should listen on is already in use",
        "set PORT to another number, or stop the other server",
    ),
    settings(
        "cache not writable",
        r"(?:PermissionError|NotADirectoryError|FileExistsError|OSError): \[Errno (?!24|28|122)\d+\] "
        r"(?P<why>[^:\n]+): '(?P<path>[^'\n]+)'",
        "the engine cannot write {path} ({why})",
        "set VLLM_CACHE_ROOT (or HF_HOME) to a writable directory",
    ),
    # --- other values
    settings(
        "bad flag",
        r"error: unrecognized arguments: (?P<flags>[^\n]+)",
        "this engine has no option {flags}",
        "correct the extra arguments (VLLM_EXTRA_ARGS)",
    ),
    settings(
        "bad value",
        r"error: argument -{0,2}(?P<flag>[\w-]+)(?:/\S+)?: (?P<why>[^\n]+)",
        "the engine refuses the value of {flag} ({FLAG}): {why}",
        "correct {FLAG}",
    ),
    settings(
        "bad value",
        r"KeyError: [\"']?invalid (?P<kind>tool call|reasoning) parser: (?P<value>\S+) \(chose from \{ "
        r"(?P<all>[^}\n]*)",
        "the engine has no {kind} parser {value}",
        "set TOOL_CALL_PARSER or REASONING_PARSER to one of {all}",
    ),
    settings(
        "bad value",
        r"Load format [`'\"](?P<value>[^`'\"]+)[`'\"] is not supported",
        "this engine has no load format {value}",
        "correct LOAD_FORMAT, or unset it",
    ),
    settings(
        "RoPE settings",
        r"(?:KeyError: 'rope_type'|rope_scaling|rope_parameters)",
        "the engine refuses the RoPE parameters",
        'set ROPE_SCALING, or HF_OVERRIDES with complete rope_parameters, "rope_type" included',
    ),
    settings(
        "bad value",
        r"validation errors? for (?P<group>\w+)\n(?P<why>[^\n]+\n?[^\n\[]*)",
        "the engine refuses the settings ({group}): {why}",
        "correct the value",
    ),
)
