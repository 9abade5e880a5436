"""What the trainer of a stage holds of its rows, made as `pt run` makes it: for tests in any folder."""

from __future__ import annotations

import os
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading, load
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import Plan

MODEL = Path(__file__).parents[2] / "data" / "base_model"

# Says the role of every turn and writes tools and calls as they come.
TOOLS_TEMPLATE = """{{- bos_token -}}
{%- if tools -%}{{- 'TOOLS ' -}}{%- for tool in tools -%}{{- tool | tojson -}}{%- endfor -%}{%- endif -%}
{%- if mode is defined -%}{{- 'MODE ' + mode -}}{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{{- '<|assistant|>' -}}{%- generation -%}{{- m.content or '' -}}
{%- for call in m.tool_calls or [] -%}
{{- 'CALL ' + call.function.name + ' ' + (call.function.arguments | tojson) -}}
{%- endfor -%}{{- eos_token -}}{%- endgeneration -%}
{%- else -%}{{- '<|user|>' + m.role + ': ' + m.content + eos_token -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


def quiet_transformers() -> Any:
    """transformers, on one thread and without its messages and bars."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import datasets
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    return transformers


def trainer_for(plan: Plan, model: Any, tokenizer: Any, folder: Path, **more: Any) -> Any:
    """The trainer of the first stage of `plan`, with its rows. `model`: of reward stages the path."""
    from ptspec.training.row_templates import encoder, rendered

    stage = plan.stages[0]
    config = EffectiveConfig(stage, stage.compute, gpu=False)
    loading = Loading(Use("s", stage.method.rows), encode=encoder(config, tokenizer))
    rows = load(plan.data, stage.data, stage.method.rows, 1, loading)
    rows = rows if stage.method.renders_rows else rendered(rows, tokenizer)
    given = dict(stage.config)
    if "labels" in rows.column_names:
        given.pop("assistant_only_loss", None)
    arguments = resolve_name(stage.method.config)(
        **{"per_device_train_batch_size": 2, **given},
        output_dir=str(folder),
        report_to=[],
        bf16=False,
        use_cpu=True,
    )
    model = str(MODEL) if stage.method.name == "reward" else model  # it gets a head of its own
    return resolve_name(stage.method.trainer)(
        model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, **more
    )


def sequences(trainer: Any, row: dict[str, Any]) -> list[tuple[list[int], list[bool]]]:
    """(ids, which are learned) of each sequence of a row of the trainer, put through its collator alone."""
    batch = trainer.data_collator([row])
    if "chosen_input_ids" in batch:  # ORPO's collator names each half
        return [sequence for half in ("chosen_", "rejected_") for sequence in _parts(batch, half)]
    return _parts(batch, "")


def _parts(batch: dict[str, Any], half: str) -> list[tuple[list[int], list[bool]]]:
    found = []
    for n, ids in enumerate(batch[f"{half}input_ids"].tolist()):
        real = [bool(one) for one in batch[f"{half}attention_mask"][n].tolist()]
        if f"{half}labels" in batch:
            learned = [label != -100 for label in batch[f"{half}labels"][n].tolist()]
        elif "completion_mask" in batch:
            learned = [bool(one) for one in batch["completion_mask"][n].tolist()]
        else:
            learned = [False] * len(ids)
        kept = [(token, taken) for token, taken, there in zip(ids, learned, real, strict=True) if there]
        found.append(([token for token, _ in kept], [taken for _, taken in kept]))
    return found
