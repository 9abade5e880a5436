"""From the policy that comes in to the policy a stage trains, and the reference it is held against.

The reference of a stage is the policy that came in, exactly; without a second copy of the base weights
wherever an adapter can be switched instead.
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
    """What a trainer is given.

    `adapter` is a new adapter for the trainer to put on `model` (its reference: the adapter switched off);
    None where `model` carries one already (its reference: a frozen copy beside it) or is trained in full.
    `reference_model` is set only where no adapter can be switched: full fine-tuning.
    `merged` is the adapter that was folded into the weights of `model`; `owns_weights` says that these are no
    longer those of the base and must be saved. `frozen` holds what acts in the adapter and is not trained.
    """

    model: Any
    adapter: LoraConfig | None = None
    reference_model: Any | None = None
    merged: low_rank.LowRank | None = None
    owns_weights: bool = False
    frozen: FrozenRanks | None = None


def changes_weights(stage: Stage, incoming: Artifact | None) -> bool:
    """Whether `stage` trains or merges into the very weights that it stands on, and nothing else of it reads
    them as they were (the reference of full fine-tuning does)."""
    if not stage.adapter.use_lora:
        return not stage.holds_reference
    merges = incoming is not None and incoming.is_adapter and stage.handover is Handover.MERGE
    return merges and not stage.adapter.use_qlora


def prepare(base: Base, incoming: Artifact | None, stage: Stage, seed: int) -> Policy:
    """The policy of `stage` over `base`, the weights that `incoming` (None: the bare base) stands on; of a
    reward stage the classifier, whose head `seed` draws."""
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
    """A new adapter over `model`: for the trainer to put on, unless that would change `model`."""
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
    """The incoming adapter folded into the weights, a new one over them.

    Weights in 4 bits cannot take it without changing the policy: they are brought to the precision of the
    others first."""
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
    """Whether a new adapter over `base` is low-rank updates of linear layers alone: PEFT has others for
    embeddings and for tensors of experts, which `target_modules` may mean."""
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
    """A quantised base with its weights as they compute, in the type of those that were never quantised."""
    model = base.spawn()
    if any(map(is_quantised, model.parameters())):
        model = model.dequantize(dtype=base.model.dtype)
    # transformers leaves these, and TRL would train a bf16 adapter over what is whole now.
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = False
    return model


def _stack(base: Base, incoming: Artifact, stage: Stage) -> Policy:
    """One adapter of both ranks: the incoming part frozen, the new part over it, so that TRL sees one adapter
    and its frozen copy is the right reference."""
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
    # A layer that the new adapter leaves alone is frozen whole.
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
