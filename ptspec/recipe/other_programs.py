"""Names of recipe keys in other programs.

TRL's scripts and earlier versions, alignment-handbook, open-r1, axolotl, LLaMA-Factory, ms-swift. A key in
one of these tables is never treated as a misspelling. To add one, put it in the fitting table: the same field
under another name, a place outside the stage's config, words if no single key fits, or `NOTHING` if there is
no equivalent. Keys in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {
    **dict.fromkeys(("lr", "peak_lr", "max_lr"), "learning_rate"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "max_epochs", "train_epochs"), "num_train_epochs"),
    **dict.fromkeys(("steps", "num_steps", "num_train_steps", "train_iters", "max_train_steps"), "max_steps"),
    **dict.fromkeys(
        (
            *("batch_size", "train_batch_size", "micro_batch_size", "per_device_batch_size"),
            *("per_gpu_train_batch_size", "per_device_train_batchsize"),
        ),
        "per_device_train_batch_size",
    ),
    **dict.fromkeys(
        ("grad_accum", "grad_accum_steps", "gradient_accumulation"), "gradient_accumulation_steps"
    ),
    **dict.fromkeys(
        (
            *("max_seq_length", "max_seq_len", "seq_len", "seq_length", "cutoff_len", "sequence_len"),
            *("model_max_length", "max_packed_sequence_len", "block_size", "max_token_length"),
        ),
        "max_length",
    ),
    **dict.fromkeys(
        ("max_new_tokens", "max_tokens", "response_length", "max_response_length", "max_completion_len"),
        "max_completion_length",
    ),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule", "lr_decay_style"), "lr_scheduler_type"),
    "optimizer": "optim",
    **dict.fromkeys(("warmup", "warmup_ratio", "lr_warmup_fraction", "lr_warmup_iters"), "warmup_steps"),
    **dict.fromkeys(("clip_grad", "grad_clip", "gradient_clipping", "grad_norm_clip"), "max_grad_norm"),
    **dict.fromkeys(
        ("kl_coef", "dpo_beta", "pref_beta", "rl_beta", "orpo_alpha", "kl_coeff", "init_kl_coef"), "beta"
    ),
    **dict.fromkeys(
        (
            *("group_size", "rloo_k", "num_return_sequences", "num_samples_per_prompt"),
            *("num_samples_per_prompt_rollout", "number_samples_per_prompt"),
        ),
        "num_generations",
    ),
    **dict.fromkeys(("loss", "pref_loss", "dpo_loss_type"), "loss_type"),
    **dict.fromkeys(("checkpointing_steps", "save_freq"), "save_steps"),
    **dict.fromkeys(("sample_packing", "neat_packing", "enable_packing"), "packing"),
    **dict.fromkeys(
        ("preprocessing_num_workers", "dataset_processes", "num_proc", "preprocessing_num_proc"),
        "dataset_num_proc",
    ),
    **dict.fromkeys(
        ("use_liger", "enable_liger_kernel", "liger_kernel", "use_liger_loss"), "use_liger_kernel"
    ),
    **dict.fromkeys(("noisy_embedding_alpha", "neftune_alpha"), "neftune_noise_alpha"),
    **dict.fromkeys(("kto_chosen_weight", "kto_desirable_weight"), "desirable_weight"),
    **dict.fromkeys(("kto_rejected_weight", "kto_undesirable_weight"), "undesirable_weight"),
    "dpo_label_smoothing": "label_smoothing",
    "truncation_strategy": "truncation_mode",
    "adam_eps": "adam_epsilon",
    **dict.fromkeys(("epsilon_low", "cliprange", "clip_range", "clip_ratio"), "epsilon"),
    "num_ppo_epochs": "num_iterations",
    "overlong_filter": "mask_truncated_completions",
    "moe_aux_loss_coeff": "router_aux_loss_coef",
    "double_quantization": "bnb_4bit_use_double_quant",
    "vllm_guided_decoding_regex": "vllm_structured_outputs_regex",
    "wandb_log_unique_prompts": "log_unique_prompts",
    **dict.fromkeys(("parent", "base"), "from"),
    **dict.fromkeys(("type", "rlhf_type", "rl", "stage"), "method"),
    **dict.fromkeys(("files", "file"), "path"),
    "reward": "rewards",
    **dict.fromkeys(("threshold", "minimum"), "min"),
    "maximum": "max",
}
"""Key -> the same field's name."""

_MODEL = ("model", "base_model", "model_name_or_path", "model_name", "model_id", "model_id_or_path")
_TOKENIZER = ("tokenizer", "tokenizer_name", "tokenizer_name_or_path", "tokenizer_path", "tokenizer_config")
_ATTENTION = (
    *("attn_implementation", "attn_impl", "flash_attn", "flash_attention", "use_flash_attention_2"),
    *("use_flash_attn", "attention_backend", "sdp_attention", "flex_attention"),
)
_DATA = (
    *("dataset", "datasets", "train_file", "dataset_name", "dataset_id", "dataset_path", "dataset_dir"),
    *("train_dataset", "train_data", "data_path", "dataset_name_or_path", "pretraining_dataset"),
)
_COLUMNS = (
    *("columns", "rename", "dataset_prompt_column", "prompt_column", "response_column", "messages_column"),
    *("text_column", "field_messages", "message_property_mappings", "message_field_role"),
)

PLACES: Mapping[str, str] = {
    **dict.fromkeys((*_MODEL, *_TOKENIZER), "/model/path"),
    **dict.fromkeys(("model_revision", "revision_of_model", "tokenizer_revision"), "/model/revision"),
    **dict.fromkeys(("torch_dtype", "dtype", "model_dtype", "infer_dtype"), "/model/dtype"),
    **dict.fromkeys(_ATTENTION, "/model/attn_implementation"),
    **dict.fromkeys(
        ("chat_template", "template", "chat_template_jinja", "chat_template_name"), "/model/chat_template"
    ),
    **dict.fromkeys(("tokens", "new_special_tokens", "add_tokens"), "/model/additional_special_tokens"),
    "eot_tokens": "/model/eos_token",
    **dict.fromkeys(("peft_config", "peft"), "/adapter"),
    **dict.fromkeys(("lora", "use_peft"), "/adapter/use_lora"),
    **dict.fromkeys(("qlora", "load_in_4bit", "quantization_bit", "quant_bits"), "/adapter/use_qlora"),
    **dict.fromkeys(
        ("quant_method", "quantization_method", "bnb_config_kwargs", "quantization_config"),
        "/adapter/quantization",
    ),
    **dict.fromkeys(("lora_r", "lora_rank", "rank"), "/adapter/r"),
    "alpha": "/adapter/lora_alpha",
    "dropout": "/adapter/lora_dropout",
    **dict.fromkeys(("lora_target", "lora_target_modules"), "/adapter/target_modules"),
    **dict.fromkeys(("lora_modules_to_save", "additional_target"), "/adapter/modules_to_save"),
    "lora_target_parameters": "/adapter/target_parameters",
    "lora_fan_in_fan_out": "/adapter/fan_in_fan_out",
    "peft_use_dora": "/adapter/use_dora",
    "peft_use_rslora": "/adapter/use_rslora",
    **dict.fromkeys(("peft_init_lora_weights", "init_weights"), "/adapter/init_lora_weights"),
    **dict.fromkeys(_DATA, "/data"),
    **dict.fromkeys(("dataset_config", "dataset_config_name", "subset"), "/data/<name>/name"),
    **dict.fromkeys(
        ("dataset_train_split", "dataset_split", "dataset_splits", "dataset_mixer_list_splits"),
        "/data/<name>/split",
    ),
    **dict.fromkeys(_COLUMNS, "/data/<name>/columns"),
    **dict.fromkeys(("max_samples", "max_train_samples", "num_train_samples"), "/data/<name>/limit"),
    **dict.fromkeys(("dataset_shuffle", "shuffle_merged_datasets"), "/data/<name>/shuffle"),
    **dict.fromkeys(("dataset_streaming", "streaming"), "/data/<name>/streaming"),
    **dict.fromkeys(("system_prompt", "system", "default_system"), "/data/<name>/system"),
    **dict.fromkeys(
        ("reward_model", "reward_model_path", "reward_model_name_or_path"), "/rewards/<name>/model"
    ),
    "evaluation": "/eval",
    **dict.fromkeys(("output", "exp_name"), "/name"),
    **dict.fromkeys(
        ("wandb_project", "swanlab_project", "trackio_project_name", "mlflow_experiment_name"),
        "/tracking/project",
    ),
    **dict.fromkeys(
        ("use_wandb", "use_swanlab", "use_tensorboard", "use_mlflow", "with_tracking"), "/tracking/report_to"
    ),
    "deepspeed_stage": "/compute/deepspeed",
    **dict.fromkeys(("num_processes", "nproc_per_node", "ray_num_workers"), "/compute/processes"),
    **dict.fromkeys(("nnodes", "num_machines"), "/compute/nodes"),
    "use_ray": "/compute/launcher",
    **dict.fromkeys(("mixed_precision", "precision", "float16", "fp32"), "/compute/precision"),
    **dict.fromkeys(("infer_backend", "vllm"), "/compute/vllm"),
}
"""Key -> the pointer of the same setting."""

_EVAL = "evaluation follows every stage: say what to measure in /eval"
_HELD_OUT = (
    'held-out rows are a source that /eval/data names, or "eval_data" of a stage, to measure it while it '
    'trains; "split": "train[90%:]" takes a part of a set'
)
_REFERENCE = "the reference is the policy that came in; see handover"
_FROM = 'goes to "from" of the stage'
_ANEW = "a stage prepares its rows itself; leave it out"
_KINDS = (
    'goes to /adapter: "use_lora": true, with "use_qlora" over 4-bit weights; neither for full fine-tuning'
)
_FTX = '"loss_type": ["sigmoid", "sft"] with "loss_weights": [1, …] adds the sft term'
_MIN_LR = '"lr_scheduler_type": "cosine_with_min_lr" with "lr_scheduler_kwargs": {"min_lr_rate": …}'
_LIGER = '"use_liger_kernel": true, with the parts in "liger_kernel_config"'
_EARLY = 'goes to a stage\'s config, with its "eval_data"'
_WHILE = 'with a stage\'s "eval_data": '
_VERIFIERS = 'verifiers are rewards: in /rewards, "by" chooses one by a column of the rows'
_ENDLESS = '"mask_truncated_completions": true leaves answers without an end out of the loss'
_REMOVED = "TRL 1.16 has no such field; leave it out"
_HUB = "pt push RUN REPO pushes a stage when the run is over, with a model card"
_WANDB = "is read from the environment"

WORDS: Mapping[str, str] = {
    "teacher_model": '"teacher" of the stage, beside "config": an earlier stage, a folder or a hub id',
    **dict.fromkeys(
        ("max_prompt_length", "max_prompt_len", "max_prompt_token_length"),
        "TRL 1.16 has no max_prompt_length: rows are cut by max_length; online prompts are not cut",
    ),
    **dict.fromkeys(("finetuning_type", "tuner_type", "train_type", "full_finetune"), _KINDS),
    **dict.fromkeys(
        ("merge_method", "merge_models", "models_to_merge"),
        'a stage with "method": "merge" and "of": {stage: weight, …} is the weighted sum of others',
    ),
    "lora_target_linear": 'goes to /adapter: "target_modules": "all-linear"',
    "pissa_init": 'goes to /adapter: "init_lora_weights": "pissa"',
    **dict.fromkeys(("lora_model_dir", "adapter_name_or_path", "adapters", "resume_from_adapter"), _FROM),
    "special_tokens": 'goes to /model: "eos_token", "pad_token", "additional_special_tokens"',
    **dict.fromkeys(
        ("model_type", "tokenizer_type", "processor_type"), "the model's files say it; leave it out"
    ),
    "rope_scaling": "goes to the model's config.json",
    **dict.fromkeys(("resize_vocab", "resize_token_embeddings_to_32x"), "the embeddings grow by themselves"),
    **dict.fromkeys(
        (
            *("dataset_mixture", "dataset_mixer", "dataset_mixer_list", "mixer_list"),
            *("interleave_probs", "mix_strategy"),
        ),
        'goes to /data: {"concat": {"a": 1.0, "b": 0.5}} or {"mix": {"a": 0.7, "b": 0.3}} of other sources',
    ),
    **dict.fromkeys(
        (
            *("val_set_size", "val_size", "split_dataset_ratio", "test_split_size", "eval_dataset"),
            *("val_dataset", "test_datasets", "dataset_test_split", "val_dataset_config"),
            *("dataset_mixer_eval_list", "dataset_mixer_eval_list_splits"),
        ),
        _HELD_OUT,
    ),
    **dict.fromkeys(
        (
            *("dataset_prepared_path", "overwrite_cache", "load_from_cache_file", "tokenized_path"),
            *("push_dataset_to_hub", "skip_prepare_dataset", "lazy_tokenize", "dataset_batch_size"),
            *("dataset_mix_dir", "dataset_local_cache_dir"),
        ),
        _ANEW,
    ),
    **dict.fromkeys(
        (*("do_bench_eval", "eval_table_size", "eval_max_new_tokens", "eval_limit", "max_eval_samples"),),
        _EVAL,
    ),
    "evals_per_epoch": f'{_WHILE}"eval_strategy": "epoch", or "eval_steps" below 1: a share of all steps',
    "eval_batch_size": f'{_WHILE}"per_device_eval_batch_size"',
    "eval_sample_packing": f'{_WHILE}"eval_packing"',
    "evaluation_strategy": f'{_WHILE}"eval_strategy"',
    "saves_per_epoch": '"save_strategy": "epoch", or "save_steps" below 1: a share of all steps',
    **dict.fromkeys(("early_stopping_patience", "early_stopping_threshold"), _EARLY),
    "save_safetensors": "weights are always saved as safetensors; leave it out",
    "overwrite_output_dir": "pt run --fresh begins anew",
    "auto_resume_from_checkpoints": "the same command resumes from the last checkpoint",
    "plot_loss": "the training curves are drawn by themselves; leave it out",
    **dict.fromkeys(("merge_lora", "export_dir"), "pt export writes a merged model"),
    **dict.fromkeys(("hub_model_revision", "push_to_hub_revision", "push_to_hub_model_id"), _HUB),
    "logging_dir": "goes to the environment: TENSORBOARD_LOGGING_DIR",
    **{
        f"wandb_{name}": f"{_WANDB}: WANDB_{name.upper()}"
        for name in ("entity", "watch", "log_model", "mode")
    },
    **dict.fromkeys(
        ("wandb_name", "wandb_run_name", "wandb_run_id"), "a stage is shown as <recipe>/<stage>; leave it out"
    ),
    **dict.fromkeys(("no_cuda", "use_mps_device"), "the device is detected; leave it out"),
    "device_map": "a process loads the model on its one device; leave it out",
    **dict.fromkeys(("pure_bf16", "bfloat16"), 'goes to /model: "dtype": "bfloat16"'),
    **dict.fromkeys(
        ("reward_funcs", "reward_functions", "reward_func"),
        'name them in /rewards, and give the names to the stage: "rewards": [ … ], beside "config"',
    ),
    **dict.fromkeys(("apply_verifiable_reward", "verification_reward", "ground_truths_key"), _VERIFIERS),
    **dict.fromkeys(("non_stop_penalty", "non_stop_penalty_value", "penalty_reward_value"), _ENDLESS),
    "total_episodes": '"max_steps": episodes divided by the rows of an optimizer step',
    "num_unique_prompts_rollout": '"generation_batch_size": prompts times "num_generations"',
    "num_mini_batches": '"steps_per_generation": so many times "gradient_accumulation_steps"',
    "add_bos": 'goes to /model: a "chat_template" that begins with {{ bos_token }}',
    "use_slow_tokenizer": "the tokenizer is what the model's files make; leave it out",
    "benchmarks": 'goes to /eval: "lm_eval": {"tasks": […]}',
    "external_plugins": 'a function of your own goes to /rewards: {"function": "file.py:name"}',
    **dict.fromkeys(
        ("ref_model", "ref_model_name_or_path", "reference_model", "ref_adapter_name", "model_adapter_name"),
        _REFERENCE,
    ),
    **dict.fromkeys(("reference_free", "force_use_ref_model", "ref_adapters"), _REFERENCE),
    **dict.fromkeys(
        (
            "label_pad_token_id",
            "padding_value",
            "is_encoder_decoder",
            "max_target_length",
            "num_of_sequences",
            "use_logits_to_keep",
        ),
        _REMOVED,
    ),
    **dict.fromkeys(("rpo_alpha", "pref_ftx", "sft_alpha"), _FTX),
    "missing_eos_penalty": _ENDLESS,
    **dict.fromkeys(("vllm_max_model_len", "max_model_len"), '/compute/vllm: "max_model_length"'),
    "sleep_level": '/compute/vllm: "enable_sleep_mode"',
    "vllm_device": 'TRL 1.16 has none: /compute/vllm says where vLLM runs ("mode": "colocate" or "server")',
    "group_by_length": '"train_sampling_strategy": "group_by_length"',
    **dict.fromkeys(("min_lr", "eta_min", "cosine_min_lr_ratio", "min_lr_ratio"), _MIN_LR),
    **dict.fromkeys(
        ("use_galore", "use_apollo"), '"optim": "galore_adamw" or "apollo_adamw", with "optim_target_modules"'
    ),
    "disable_gradient_checkpointing": '"gradient_checkpointing": false',
    **dict.fromkeys(
        ("train_on_inputs", "train_on_prompt", "train_on_responses_only"),
        'what is learned: "completion_only_loss" (prompt, completion), "assistant_only_loss" (messages)',
    ),
    **dict.fromkeys(
        ("liger_rope", "liger_rms_norm", "liger_glu_activation", "liger_layer_norm", "liger_swiglu"), _LIGER
    ),
    "liger_fused_linear_cross_entropy": _LIGER,
    "enable_thinking": '"chat_template_kwargs": {"enable_thinking": …}, a field of online methods and a '
    "column of the rows of others",
    **dict.fromkeys(("use_dft_loss", "enable_dft_loss"), '"loss_type": "dft"'),
    "loss_scale": 'of messages, "assistant_only_loss" leaves out all but the answers',
}
"""Key -> a hint, if no single key is equivalent."""

NOTHING = frozenset(
    (
        *("lmbda", "dynamic_sample", "multi_turn_scheduler", "max_turns", "agent_template"),
        *("advantage_estimator", "offload_model", "offload_optimizer", "optimizer_cpu_offload"),
        *("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "cut_cross_entropy", "plugins", "strict"),
        *("loss_watchdog_threshold", "loss_watchdog_patience", "torchdistx_path", "unfrozen_parameters"),
        *("tensor_model_parallel_size", "pipeline_model_parallel_size", "expert_model_parallel_size"),
        *("sequence_parallel", "sequence_parallel_size", "context_parallel_size", "tensor_parallel_size"),
        *("fsdp_version", "recompute_granularity", "recompute_method", "global_batch_size", "finetune"),
        *("loraplus_lr_ratio", "freeze_vit", "freeze_llm", "freeze_aligner", "pad_to_sequence_len"),
        *("use_kernels", "kernel_config", "max_batch_size", "quant_batch_size", "sample_backend", "timeout"),
        *("gradient_accumulation_fusion", "expert_tensor_parallel_size", "experts_implementation", "to_hf"),
        *("vit_gradient_checkpointing", "vllm_data_parallel_size", "vllm_server_pass_dataset"),
        *("vllm_enable_lora", "swanlab_log_completions", "mcore_model", "lora_ga_max_length"),
        *("chord_mu_warmup_steps", "chord_sft_per_device_train_batch_size"),
        *("model_author", "num_labels", "task_type", "use_chat_template", "add_non_thinking_prefix", "qat"),
    )
)
"""Keys of other programs without equivalent: suggesting a similar spelling would mislead."""

EXTRA: Mapping[str, str] = {
    **dict.fromkeys(("warmup_ratio", "lr_warmup_fraction"), " (below 1 it is the share of all steps)"),
    **dict.fromkeys(_TOKENIZER, " (the tokenizer comes with the model)"),
    **dict.fromkeys(
        ("output", "exp_name"), " (the run goes to outputs/<name>; --output names another folder)"
    ),
    **dict.fromkeys(("flash_attn", "flash_attention"), ' ("flash_attention_2")'),
    "eot_tokens": " (what the template ends a turn with is a stop token already)",
}
"""Key -> a remark after the name of the field or place."""
