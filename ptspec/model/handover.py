"""Make the policy that a stage trains, and its reference, from the policy that it starts from.

The reference of a stage is exactly its start, without a second copy of the base weights if an adapter can be
switched instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.methods.types import Yields
from ptspec.model import low_rank
from ptspec.model.adapters import ADAPTER, attach, lora_config
from ptspec.model.base import Base, is_quantised
from ptspec.model.classifier import HEAD, TASK, classifier_over, draw_head
from ptspec.model.frozen_ranks import FrozenRanks
from ptspec.model.split_adapter import frozen_half, split_adapter
from ptspec.recipe.adapter_rules import takes_from_base
from ptspec.recipe.handovers import beyond_low_rank
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import AdapterSpec, Handover, Stage
from ptspec.store.stage_folder import Artifact


@dataclass(frozen=True)
class Policy:
    """The input of a trainer.

    `adapter` is a new adapter that the trainer attaches to `model` (its reference: the adapter disabled);
    None if `model` has one already (its reference: a frozen copy beside it) or is trained in full.
    `reference_model` is set only if no adapter can be switched: full fine-tuning. `merged` is the adapter
    that was merged into the weights of `model`; `owns_weights`: they no longer equal the base's and must be
    saved. `frozen`: ranks that are active and not trained.
    """

    model: Any
    adapter: LoraConfig | None = None
    reference_model: Any | None = None
    merged: low_rank.LowRank | None = None
    owns_weights: bool = False
    frozen: FrozenRanks | None = None


def changes_weights(stage: Stage, incoming: Artifact | None) -> bool:
    """Return whether `stage` changes its base weights and nothing else of it reads the originals.

    The reference of full fine-tuning does.
    """
    if not stage.adapter.use_lora:
        return not stage.holds_reference
    merges = incoming is not None and incoming.is_adapter and stage.handover is Handover.MERGE
    return merges and not stage.adapter.use_qlora


def prepare(base: Base, incoming: Artifact | None, stage: Stage, seed: int) -> Policy:
    """Return the policy of `stage` over `base`, the weights that `incoming` (None: the bare base) uses.

    For a reward stage the classifier, whose head is initialised with `seed`. Raises `InputError` for an
    adapter that cannot be used.
    """
    if stage.method.yields is Yields.REWARD_MODEL:
        return _reward_model(base, incoming, stage, seed)
    if not stage.adapter.use_lora:
        return _full(base, incoming, stage)
    if incoming is None or not incoming.is_adapter:
        return _new(base.spawn(), lora_config(stage.adapter), stage, seed)
    match stage.handover:
        case Handover.MERGE:
            return _merge(base, incoming, stage, seed)
        case Handover.STACK:
            return _stack(base, incoming, stage)
        case _:
            return _continue(base, incoming, stage)


def _new(model: Any, adapter: LoraConfig, stage: Stage, seed: int, **merging: Any) -> Policy:
    """Return a new adapter over `model`, attached by the trainer unless that would change `model`."""
    if takes_from_base(vars(adapter)):
        adapted, frozen = split_adapter(model, adapter, seed, stage.adapter.at)
        return Policy(adapted, frozen=frozen, **merging)
    if stage.adapter.use_qlora and stage.method.recasts_quantised:
        return Policy(get_peft_model(model, adapter, adapter_name=ADAPTER), **merging)
    return Policy(model, adapter=adapter, **merging)


def _continue(base: Base, incoming: Artifact, stage: Stage) -> Policy:
    model = attach(base.spawn(), incoming.folder, trainable=True)
    return Policy(model, frozen=frozen_half(model) if takes_from_base(stage.adapter.lora) else None)


def _reward_model(base: Base, incoming: Artifact | None, stage: Stage, seed: int) -> Policy:
    if incoming is not None and incoming.is_adapter:
        raise InputError(_reward_from_adapter(stage))
    model = classifier_over(base, own_weights=not stage.adapter.use_lora)
    if model is None:
        raise InputError(_no_classifier(base, stage))
    draw_head(model, seed)
    if not stage.adapter.use_lora:
        return Policy(model)
    wanted = dict(stage.adapter.lora)
    wanted["modules_to_save"] = sorted({*(wanted.get("modules_to_save") or ()), HEAD})
    return _new(model, lora_config(replace(stage.adapter, lora=wanted), TASK), stage, seed)


def _no_classifier(base: Base, stage: Stage) -> Diagnostic:
    kind = type(base.model).__name__
    message = f'stage "{stage.name}": transformers has no scoring head over a {kind}'
    hint = "train the reward model over another architecture"
    return Diagnostic("no-reward-head", message, pointer=join(stage.at, "method"), hint=hint)


def _full(base: Base, incoming: Artifact | None, stage: Stage) -> Policy:
    policy, reference = base.spawn(own_weights=True), None
    if incoming is not None and incoming.is_adapter:
        policy = attach(policy, incoming.folder, trainable=False).merge_and_unload().requires_grad_(True)
    if stage.holds_reference:
        reference = base.spawn()
        if incoming is not None and incoming.is_adapter:
            # The model below the PEFT wrapper, its LoRA layers in place: TRL patches the one it is given.
            reference = attach(reference, incoming.folder, trainable=False).get_base_model()
    return Policy(policy, reference_model=reference)


def _merge(base: Base, incoming: Artifact, stage: Stage, seed: int) -> Policy:
    """Merge the incoming adapter into the weights, with a new one over them.

    4-bit weights cannot hold it without changing the policy: they are dequantised first.
    """
    plain, adapter = low_rank.read(incoming.folder), lora_config(stage.adapter)
    summable = plain is not None and _is_plain(base, stage.adapter)
    if stage.adapter.use_qlora and not summable:
        raise InputError(_cannot_sum(stage))
    below = whole(base) if stage.adapter.use_qlora else base.spawn(own_weights=True)
    merged = attach(below, incoming.folder, trainable=False).merge_and_unload()
    return _new(
        merged.requires_grad_(False),
        adapter,
        stage,
        seed,
        merged=plain if summable else None,
        owns_weights=not summable,
    )


def _is_plain(base: Base, adapter: AdapterSpec) -> bool:
    """Return whether a new adapter over `base` consists of updates of linear layers only.

    PEFT has others for embeddings and expert tensors, which `target_modules` may match.
    """
    config = lora_config(adapter)
    if beyond_low_rank(vars(config)) is not None:
        return False
    config.init_lora_weights = True
    with torch.random.fork_rng([]):
        fresh = get_peft_model(base.spawn(), config, adapter_name=ADAPTER)
    return low_rank.is_plain(
        fresh.peft_config[ADAPTER], get_peft_model_state_dict(fresh, save_embedding_layers=False)
    )


def whole(base: Base) -> Any:
    """Dequantise a base's weights to the dtype of those that were never quantised."""
    model = base.spawn()
    if any(map(is_quantised, model.parameters())):
        model = model.dequantize(dtype=base.model.dtype)
    # transformers keeps these flags, and TRL would train a bf16 adapter over dequantised weights.
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = False
    return model


def _stack(base: Base, incoming: Artifact, stage: Stage) -> Policy:
    """Return one adapter of both ranks: the incoming part frozen, the new part after it.

    TRL then sees one adapter, and its frozen copy is the right reference.
    """
    below, new = low_rank.read(incoming.folder), lora_config(stage.adapter)
    if below is None or not _is_plain(base, stage.adapter) or new.init_lora_weights is not True:
        raise InputError(_cannot_stack(stage))
    fresh = get_peft_model(base.spawn(), new, adapter_name=ADAPTER)
    scale = low_rank.scaling(new)
    above = low_rank.taken(fresh)
    both = low_rank.total(below, above)
    bare = base.spawn()
    model = get_peft_model(bare, low_rank.config_for(both, bare, scale, new), adapter_name=ADAPTER)
    low_rank.put(both, model)
    # A layer without the new adapter is frozen entirely.
    ranks = {module: low_rank.max_rank(below if module in above else both) for module in both}
    return Policy(model, frozen=FrozenRanks(model, ranks))


def _reward_from_adapter(stage: Stage) -> Diagnostic:
    return Diagnostic(
        "reward-from-adapter",
        f'the reward stage "{stage.name}" cannot start from an adapter: its head goes over whole weights',
        pointer=join(stage.at, "from"),
        hint='leave "from" out (the base), or start from a stage with full weights',
    )


def _cannot_sum(stage: Stage) -> Diagnostic:
    return Diagnostic(
        "cannot-merge",
        f'stage "{stage.name}" cannot merge over 4-bit weights: what it saves must be a sum of plain LoRA '
        "adapters (no DoRA, no modules_to_save)",
        pointer=join(stage.at, "handover"),
        hint='use "continue" with the adapter settings of the incoming one',
    )


def _cannot_stack(stage: Stage) -> Diagnostic:
    return Diagnostic(
        "cannot-stack",
        f'stage "{stage.name}" cannot stack its adapter: both must be plain LoRA (no DoRA, no '
        "modules_to_save, init_lora_weights left at its default)",
        pointer=join(stage.at, "handover"),
        hint='use "merge", or "continue" with the adapter settings of the incoming one',
    )
