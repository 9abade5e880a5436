"""Check what a recipe needs of the machine.

A lack is a warning from `pt validate`, since the run may be elsewhere, and an error when the run starts.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ptspec.accelerator import has_accelerator, visible_gpus
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.launched import launched
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.paths import is_folder
from ptspec.recipe.plan import ComputeSpec, Plan, Stage, TrackingSpec
from ptspec.recipe.vllm import COLOCATE, VLLMSpec, vllm_spec

KERNELS: Mapping[str, str] = {
    "flash_attention_2": "flash-attn",
    "flash_attention_3": "flash-attn-3",
    "flash_attention_4": "flash-attn-4",
}
"""`attn_implementation` -> the package with its kernel; each takes a GPU."""
FROM_THE_HUB = "kernels"
"""Package with which transformers fetches an attention kernel from the hub if its own package is missing."""

OPTIMIZERS: Mapping[str, tuple[str, str]] = {
    "adamw_torch_xla": ("torch_xla", "torch_xla"),
    "adamw_torch_npu_fused": ("torch_npu", "torch-npu"),
    "adamw_anyprecision": ("torchdistx", "torchdistx"),
    "adamw_torch_4bit": ("torchao", "torchao"),
    "adamw_torch_8bit": ("torchao", "torchao"),
    "galore": ("galore_torch", "galore-torch"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "adalomo": ("lomo_optim", "lomo-optim"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "schedule_free": ("schedulefree", "schedulefree"),
    "apollo": ("apollo_torch", "apollo-torch"),
    "stable_adamw": ("optimi", "torch-optimi"),
}
"""Prefix of an optimizer's name -> the module it needs, and the package to install."""

PACKAGES = {
    "azure_ml": "azureml",
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet_ml",
    "dagshub": "dagshub",
    "dvclive": "dvclive",
    "flyte": "flytekit",
    "mlflow": "mlflow",
    "neptune": "neptune",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Tracker -> the module it needs."""
INSTALLED_AS = {"azureml": "azureml-core", "comet_ml": "comet-ml"}
"""Module -> its distribution, if named differently."""


class Lack(NamedTuple):
    """A value of the recipe that this machine cannot provide."""

    pointer: str
    message: str
    hint: str


def check_machine(plan: Plan, *, starts: bool, on_paper: bool = False) -> Iterator[Diagnostic]:
    """Yield what this machine lacks for `plan`.

    Errors if the run `starts` here; nothing for a plan `on_paper`.
    """
    if on_paper:
        return
    severity = Severity.ERROR if starts else Severity.WARNING
    everywhere = (*_model(plan), *_compute(plan), *_tracking(plan), *_evaluation(plan))
    for lack in (*everywhere, *(lack for stage in plan.trained for lack in _stage(stage))):
        yield Diagnostic("not-here", lack.message, None, lack.pointer, lack.hint, severity=severity)


def _model(plan: Plan) -> Iterator[Lack]:
    wanted = plan.model.attn_implementation or ""
    if wanted not in KERNELS:
        return
    where = "/model/attn_implementation"
    if not has_accelerator():
        yield Lack(where, f'"{wanted}" needs a GPU, and this machine has none', '"sdpa" runs everywhere')
    elif not _has(KERNELS[wanted]) and not _has(FROM_THE_HUB):
        package = KERNELS[wanted]
        message = f'"{wanted}" needs the package {package}, or {FROM_THE_HUB}, which fetches it from the hub'
        yield Lack(where, message, f'pip install {FROM_THE_HUB} (or {package}), or "sdpa"')


def _compute(plan: Plan) -> Iterator[Lack]:
    if plan.compute.precision == "fp16" and not has_accelerator():
        yield _no_fp16("/compute/precision")
    specs = {"/compute": plan.compute}
    specs |= {join(stage.at, "compute"): stage.compute for stage in plan.stages}
    for where, spec in specs.items():
        given = at(plan.document, where)
        for key, message, hint in _unserved(spec) if isinstance(given, dict) else ():
            if key in given:
                yield Lack(join(where, key), message, hint)


def _unserved(spec: ComputeSpec) -> Iterator[tuple[str, str, str]]:
    """Yield the keys of a `compute` without effect here: the reason and a hint."""
    started = launched()
    if spec.launcher == "ray" and not _has("ray"):
        yield "launcher", '"ray" needs the package ray, which is not installed', "pip install 'ptspec[ray]'"
    if spec.launcher == "ray" and started is not None:
        message = f'{started.launcher} started {started.size} processes, and "ray" starts its own'
        yield "launcher", message, f"start pt run without {started.launcher.partition(' ')[0]}"
    if spec.engine == "deepspeed" and not _has("deepspeed"):
        message = '"deepspeed" needs the package deepspeed, which is not installed'
        yield "strategy", message, "pip install 'ptspec[deepspeed]', or \"ddp\""
    if spec.engine == "fsdp" and spec.launcher != "ray" and not has_accelerator():
        message = '"fsdp" needs GPUs, and this machine has none: accelerate shards on accelerators only'
        yield "strategy", message, '"ddp" runs on a CPU'
    if spec.vllm is not None:
        yield from (("vllm", *lack) for lack in _vllm_lacks(vllm_spec(spec.vllm)))
    if spec.launcher == "ray":
        return  # its workers are on the cluster's nodes
    if started is None and 0 < (gpus := visible_gpus()) < spec.processes:
        message = (
            f"{spec.processes} processes take a GPU each, and {gpus} {'is' if gpus == 1 else 'are'} visible"
        )
        yield (
            "processes",
            message,
            f"{gpus} of them, or CUDA_VISIBLE_DEVICES= (empty) for processes on the CPU",
        )
    if spec.nodes > 1 and (started is None or started.size != spec.world):
        message = f'"nodes" is {spec.nodes}, and this command is started on one'
        start = f"torchrun --nnodes {spec.nodes} --nproc-per-node {spec.processes} --rdzv-endpoint HOST:29500"
        yield "nodes", message, f"on each node, the output folder shared: {start} -m ptspec.cli run …"


def _vllm_lacks(spec: VLLMSpec) -> Iterator[tuple[str, str]]:
    """Yield what this machine lacks to sample with vLLM: the reason and a hint."""
    plain = '"mode": "server" with "weight_sync": "lora" asks a server on another machine'
    if spec.is_plain_server:
        if not _installed("httpx"):
            yield "a generation server is asked over HTTP, which needs httpx", 'pip install "ptspec[vllm]"'
        return
    how = '"colocate" runs vLLM here' if spec.mode == COLOCATE else '"nccl" sends weights from GPU to GPU'
    if not has_accelerator():
        yield f"{how}, which needs a GPU, and this machine has none", plain
    elif not _installed("vllm"):
        yield f"{how}, which needs the package vllm (0.22 to 0.31)", f'pip install "trl[vllm]"; {plain}'


def _tracking(plan: Plan) -> Iterator[Lack]:
    for tracker, package in packages_lacking(plan.tracking):
        message = f'"{tracker}" needs the package {package}, which is not installed'
        yield Lack(join(plan.tracking.at, "report_to"), message, f"pip install {package}, or leave it out")


def packages_lacking(spec: TrackingSpec) -> Iterator[tuple[str, str]]:
    """Yield each tracker that is not installed, and its package."""
    for tracker in spec.report_to:
        module = PACKAGES.get(tracker)
        if module is not None and find_spec(module) is None:
            yield tracker, INSTALLED_AS.get(module, module)


def _evaluation(plan: Plan) -> Iterator[Lack]:
    asked = plan.evaluation.lm_eval if plan.evaluation else None
    if asked is not None and not _installed("lm_eval"):
        message = '"lm_eval" needs lm-evaluation-harness, which is not installed'
        yield Lack(asked.at, message, "pip install 'ptspec[lm-eval]', or leave it out")
    if asked is not None and asked.include_path and not is_folder(Path(asked.include_path)):
        message = f"there is no folder {asked.include_path}"
        yield Lack(join(asked.at, "include_path"), message, "a folder with task files (*.yaml)")


def _no_fp16(where: str) -> Lack:
    message = "fp16 training needs a GPU, and this machine has none"
    return Lack(where, message, "bf16 and fp32 run on a CPU")


def _stage(stage: Stage) -> Iterator[Lack]:
    config, where = stage.config, join(stage.at, "config")
    if config.get("fp16") and not has_accelerator():
        yield _no_fp16(join(where, "fp16"))
    if config.get("tf32") and not has_accelerator():
        message = "tf32 is of NVIDIA GPUs, and this machine has no GPU"
        yield Lack(join(where, "tf32"), message, "leave it out")
    if config.get("use_liger_kernel") and not _installed("liger_kernel"):
        message = '"use_liger_kernel" needs the package liger-kernel, which is not installed'
        yield Lack(join(where, "use_liger_kernel"), message, "pip install liger-kernel, or leave it out")
    name = str(config.get("optim", ""))
    module, package = next((v for k, v in OPTIMIZERS.items() if name.startswith(k)), ("", ""))
    if module and not _installed(module):
        message = f'"{name}" needs the package {package}, which is not installed'
        yield Lack(join(where, "optim"), message, f'pip install {package}, or "adamw_torch"')


def _has(package: str) -> bool:
    """Return whether a module or distribution is installed."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _installed(module: str) -> bool:
    return find_spec(module) is not None
