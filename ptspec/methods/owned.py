"""Trainer fields that the interpreter sets itself, and the recipe field to use instead.

`schemagen` writes these into the generated schemas under `x-owned`, so that a recipe that gives one is
refused with the right place.
"""

from __future__ import annotations

from ptspec.methods.types import Method

_EVAL = "evaluation follows every stage: say what to measure in /eval"
_HUB = "pt push RUN REPO pushes a stage when the run is over, with a model card"
_KEPT = "of predictions that are kept, and eval_data is measured without keeping any"
_STRATEGY = "goes to /compute/strategy"
_TRACKING = "goes to /tracking/report_to"
_MODEL = "goes to /model"
_OF_VLLM = (
    *("server_base_url", "server_host", "server_port", "server_timeout", "group_port"),
    *(
        "gpu_memory_utilization",
        "max_model_length",
        "tensor_parallel_size",
        "enable_sleep_mode",
        "model_impl",
    ),
)

OWNED: dict[str, str] = {
    "output_dir": "the run's folder is outputs/<name>, or what --output says",
    "seed": "goes to /seed: one seed for the whole run",
    "data_seed": "goes to /seed: one seed for the whole run",
    "report_to": _TRACKING,
    "run_name": "the stage's name is the run's name",
    "project": "goes to /tracking/project",
    "trackio_space_id": "trackio reads it from the environment: TRACKIO_SPACE_ID",
    "trackio_bucket_id": "trackio reads it from the environment: TRACKIO_BUCKET_ID",
    "trackio_static_space_id": "trackio is set up by /tracking and its environment variables",
    "disable_tqdm": "progress is shown by pt run; redirect its output for plain lines",
    "do_train": "every stage trains; leave it out",
    "do_eval": "the stage's eval_data switches it on",
    "do_predict": _EVAL,
    "eval_accumulation_steps": _KEPT,
    "eval_do_concat_batches": _KEPT,
    "eval_use_gather_object": _KEPT,
    "prediction_loss_only": _KEPT,
    "include_for_metrics": _KEPT,
    "batch_eval_metrics": _KEPT,
    "bf16_full_eval": "a policy is measured as it trains; see /compute/precision",
    "fp16_full_eval": "a policy is measured as it trains; see /compute/precision",
    "generate_during_eval": _EVAL,
    "push_to_hub": _HUB,
    "hub_token": _HUB,
    "hub_private_repo": _HUB,
    "hub_model_id": _HUB,
    "hub_strategy": _HUB,
    "hub_always_push": _HUB,
    "hub_revision": _HUB,
    "log_completions_hub_repo": _HUB,
    "resume_from_checkpoint": "the same command resumes from the last checkpoint",
    "ignore_data_skip": "a resumed stage continues where its data stopped",
    "restore_callback_states_from_checkpoint": "a resumed stage restores what it needs",
    "enable_jit_checkpoint": "an interrupted run is saved",
    "save_only_model": "checkpoints keep the optimizer, so that a run can resume from them",
    "deepspeed": _STRATEGY,
    "fsdp": _STRATEGY,
    "fsdp_config": _STRATEGY,
    "accelerator_config": _STRATEGY,
    "parallelism_config": _STRATEGY,
    "local_rank": "goes to /compute: the launcher sets it",
    "use_cpu": "the device is detected; CUDA_VISIBLE_DEVICES= keeps to the CPU",
    "model_init_kwargs": "goes to /model (dtype, revision, attn_implementation, …)",
    "trust_remote_code": "goes to /model/trust_remote_code",
    "chat_template_path": "goes to /model/chat_template",
    "eos_token": "goes to /model/eos_token",
    "pad_token": "goes to /model/pad_token",
    "dataset_text_field": "goes to the source: /data/<name>/columns",
    "dataset_kwargs": "goes to the source: /data/<name>",
    "label_names": "set by the trainer; leave it out",
    "remove_unused_columns": "the columns are chosen by the method; leave it out",
    "debug": "set in the environment of the run; leave it out",
    "log_level": "pt run keeps the libraries quiet; PT_DEBUG=1 shows everything",
    "log_level_replica": "pt run keeps the libraries quiet; PT_DEBUG=1 shows everything",
    **dict.fromkeys(("use_vllm", "vllm_mode"), "goes to /compute/vllm"),
    **{f"vllm_{name}": f"goes to /compute/vllm/{name}" for name in _OF_VLLM},
    "reward_weights": "goes to the rewards: /rewards/<name>/weight",
    "ref_model_init_kwargs": "the reference is the policy that came in; see handover",
}


def owned(method: Method) -> dict[str, str]:
    """Return field -> recipe field to use, for `method`: the common fields and its own."""
    return {**OWNED, **method.owned}
