"""A trained policy into its folder, so that one line of plain PEFT or transformers loads it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model

from ptspec.model import low_rank
from ptspec.model.adapters import ADAPTER
from ptspec.model.base import Base
from ptspec.model.handover import Policy
from ptspec.store.files import read_json, write_json
from ptspec.store.stage_folder import ADAPTER_CONFIG


def save(model: Any, policy: Policy, base: Base, folder: Path) -> None:
    """Saves the policy in `model`, which was trained as `policy`, over `base`.

    The trained adapter alone (a reference adapter beside it stays out), after a merge the sum of the merged
    adapter and the new one, or full weights; tokenizer, chat template and generation config with them.
    """
    if not isinstance(model, PeftModel):
        model.save_pretrained(str(folder))
    elif policy.merged is not None:
        _save_adapter(_summed(model, policy.merged, base), base, folder)
    elif policy.owns_weights:
        model.merge_and_unload().save_pretrained(str(folder))
    else:
        _save_adapter(model, base, folder)
    if getattr(model, "generation_config", None) is not None:
        base.model.generation_config.save_pretrained(str(folder))
    base.tokenizer.save_pretrained(str(folder))


def _save_adapter(model: PeftModel, base: Base, folder: Path) -> None:
    model.peft_config[ADAPTER].base_model_name_or_path = base.path
    model.save_pretrained(str(folder), selected_adapters=[ADAPTER])
    (folder / "README.md").unlink(missing_ok=True)
    config = read_json(folder / ADAPTER_CONFIG)
    if isinstance(config.get("target_modules"), list):
        # PEFT keeps these in a set, whose order changes from run to run.
        config["target_modules"].sort()
    write_json(folder / ADAPTER_CONFIG, config)


def _summed(model: PeftModel, merged: low_rank.LowRank, base: Base) -> PeftModel:
    """One adapter over the bare base that is the merged adapter and the new one together."""
    both = low_rank.total(merged, low_rank.taken(model))
    bare = base.spawn()
    config = low_rank.config_for(both, bare, 1.0, model.peft_config[ADAPTER])
    summed = get_peft_model(bare, config, adapter_name=ADAPTER)
    low_rank.put(both, summed)
    return summed
