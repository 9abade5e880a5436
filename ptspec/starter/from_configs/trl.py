"""Configs of TRL's command line (`trl sft --config x.yaml`).

Fields of ScriptArguments, ModelConfig, DatasetMixtureConfig and of the method's own config, whose names are a
recipe's.
"""

from __future__ import annotations

from typing import Any

from ptspec.starter.from_configs.adapter import PEFT, carry_adapter
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.rewards import carry_rewards
from ptspec.starter.from_configs.sources import HELD_OUT, add_sources, hold_out, measure_on_held_out
from ptspec.starter.from_configs.vllm import carry_vllm

NAME = "TRL"
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}
"""Defaults of TRL's ModelConfig where they are not PEFT's."""
_BEFORE = (
    "TRL before 0.19 took beta 0.04 and loss_type bnpo where the file gives none; 1.16 takes 0.0 and dapo"
)
_STRATEGIES: dict[str, dict[str, Any]] = {
    "multi_gpu": {"strategy": "ddp"},
    "fsdp2": {"strategy": "fsdp"},
    **{
        f"zero{stage}": {"strategy": "deepspeed", "deepspeed": {"zero_optimization": {"stage": stage}}}
        for stage in (1, 2, 3)
    },
}
"""TRL's accelerate configs by name."""


def knows(values: dict[str, Any]) -> bool:
    """Whether a file with these keys is one of TRL's."""
    return "model_name_or_path" in values


def fill(draft: Draft) -> None:
    """Carry what is TRL's own: the model, the adapter, the data, the rewards, what samples."""
    carry_model(draft)
    _data(draft)
    carry_common(draft)


def carry_common(draft: Draft) -> None:
    """What comes after the data, in alignment-handbook too."""
    carry_rewards(draft)
    carry_vllm(draft, "colocate")
    _compute(draft)
    if draft.method.sampling is not None and "max_prompt_length" in draft.rest and "beta" not in draft.rest:
        draft.differs.append(_BEFORE)


def carry_model(draft: Draft) -> None:
    """The model and what is trained of it."""
    if model := draft.take("model_name_or_path"):
        draft.carry("model_name_or_path", "/model/path", model)
    peft = draft.take("use_peft")
    if peft is False:
        draft.leave("use_peft", peft, "")
    given = {key.removeprefix("lora_") for key in draft.rest} | set(draft.rest)
    nested = draft.take("use_bnb_nested_quant")
    carry_adapter(draft, "use_peft", lora=bool(peft))
    if not peft:
        if nested is not None:
            draft.leave("use_bnb_nested_quant", nested, "is of 4-bit weights, which take an adapter")
        return
    missing = {name: value for name, value in LORA.items() if name not in given}
    draft.write_defaults("adapter", missing, PEFT)
    adapter = draft.part("adapter")
    if adapter.get("use_qlora") and "quantization" not in adapter:
        draft.write("/adapter/quantization/bnb_4bit_use_double_quant", bool(nested))
        if not nested:
            draft.differs.append("4-bit weights are quantised once, TRL's default, written out; here twice")
    if nested is not None:
        draft.carry("use_bnb_nested_quant", "/adapter/quantization/bnb_4bit_use_double_quant", bool(nested))


def carry_dataset_name(draft: Draft) -> dict[str, Any] | None:
    """The source of `dataset_name` with its configuration, split and columns; None where there is none."""
    path = draft.take("dataset_name")
    if path is None:
        return None
    source: dict[str, Any] = {"path": path}
    draft.say("dataset_name", "/data/train/path")
    for key, name in (("dataset_config", "name"), ("dataset_train_split", "split")):
        if (value := draft.take(key)) is not None:
            source[name] = value
            draft.say(key, f"/data/train/{name}")
    return source


def carry_source_settings(draft: Draft, sources: list[dict[str, Any]]) -> None:
    """What is said once for all sources: columns, the system prompt, streaming."""
    for key, name in (("dataset_prompt_column", "prompt"), ("dataset_text_field", "text")):
        if (column := draft.take(key)) is None:
            continue
        for source in sources:
            if column != name:
                source["columns"] = {**source.get("columns", {}), name: column}
        draft.say(key, f"/data/train/columns/{name}")
    for key, name in (
        ("system_prompt", "system"),
        ("dataset_streaming", "streaming"),
        ("streaming", "streaming"),
    ):
        if (value := draft.take(key)) is None:
            continue
        for source in sources if value else ():
            source[name] = value
        draft.say(key, f"/data/train/{name}")


def carry_test_split(draft: Draft, source: dict[str, Any] | None) -> None:
    """The split that TRL measures on while it trains ("test"), where the file asks for that."""
    given = draft.take("dataset_test_split")
    asked = draft.rest.get("eval_strategy") not in (None, False, "no")
    if source is not None and asked and HELD_OUT not in draft.part("data"):
        draft.part("data")[HELD_OUT] = {**source, "split": given or "test"}
        measure_on_held_out(draft)
        if given:
            draft.say("dataset_test_split", "/data/heldout/split")
        return
    if given:
        draft.leave("dataset_test_split", given, 'nothing asks for it: eval_strategy is "no"')


def _data(draft: Draft) -> None:
    source = carry_dataset_name(draft)
    sources, shares = ([source], []) if source else _mixture(draft)
    carry_source_settings(draft, sources)
    if sources:
        kind = "mix" if shares else "concat"
        add_sources(draft, sources, shares or [1.0] * len(sources), kind)
    hold_out(draft, "test_split_size", draft.take("test_split_size"))
    carry_test_split(draft, source)


def _mixture(draft: Draft) -> tuple[list[dict[str, Any]], list[float]]:
    """The sources of `datasets` and, where the file gives fractions, the share of each."""
    sources, shares = [], []
    entries = draft.take("datasets", [])
    for entry in entries if isinstance(entries, list) else []:
        given = dict(entry)
        source = {
            "path": _path(given.pop("path"), given.pop("data_dir", None), given.pop("data_files", None))
        }
        for name in ("name", "split"):
            if value := given.pop(name, None):
                source[name] = value
        if fraction := given.pop("fraction", None):
            shares.append(float(fraction))
        if columns := given.pop("columns", None):
            draft.leave("datasets.columns", columns, "each method takes the columns that it knows")
        for key, value in given.items():
            draft.leave(f"datasets.{key}", value, "a source has nothing like it")
        sources.append(source)
    if entries:
        draft.say("datasets", "/data")
    return sources, shares


def _path(path: str, folder: str | None, files: Any) -> Any:
    """The path of a source whose rows are some files of a hub repository, or of a folder."""
    if not folder and not files:
        return path
    found = [files] if isinstance(files, str) else list(files.values()) if isinstance(files, dict) else files
    base = f"hf://datasets/{path}" + (f"/{folder}" if folder else "")
    if path in ("json", "csv", "parquet", "text"):
        return found or folder
    return [f"{base}/{file}" for file in found] if found else base


def _compute(draft: Draft) -> None:
    processes, config = draft.take("num_processes"), draft.take("accelerate_config")
    strategy = _STRATEGIES.get(str(config))
    if config is not None and strategy is None and config != "single_gpu":
        draft.leave(
            "accelerate_config", config, 'goes to /compute: "launcher": "accelerate" with a "strategy"'
        )
    elif config is not None:
        draft.carry("accelerate_config", "/compute/launcher", "accelerate" if strategy else "local")
        for name, value in (strategy or {}).items():
            draft.write(f"/compute/{name}", value)
    if processes is not None:
        draft.write("/compute/launcher", "accelerate")
        draft.carry("num_processes", "/compute/processes", int(processes))
    if draft.recipe.get("compute", {}).get("launcher") == "accelerate":
        draft.write("/compute/keep_effective_batch", False)
    if (variables := draft.take("env")) is not None:
        draft.leave("env", variables, "set them where pt run is started")
