"""The hand-over is right by construction: the reference is the policy that came in, and what is saved is what
was trained, for every method with a reference, every hand-over, LoRA, QLoRA and full fine-tuning.

With learning rate 0 after SFT nothing may move: rewards, margins and KL stay 0 in every step, and the saved
folder computes what the SFT folder computes.
"""

import math
from dataclasses import replace

import pytest
import torch
from support import handover_bench
from support.handover_bench import FULL, LORA, OTHER, quantised

from ptspec.diagnostics import StageError
from ptspec.model import handover
from ptspec.model.handover import prepare
from ptspec.recipe.plan import Handover
from ptspec.rewards.builtin import builtin
from ptspec.training.job import Signals

pytestmark = pytest.mark.slow

SETUPS = {
    "continue": (LORA, Handover.CONTINUE),
    "merge": (OTHER, Handover.MERGE),
    "stack": (OTHER, Handover.STACK),
    "LoRA to full": (FULL, None),
}
SHORT = Signals((builtin("length", {"max": 4}),), (1.0,))
EXACT = 1e-5
"""What float32 leaves of a reward or KL that is 0."""
FOUR_BIT = 1e-2
"""Over NF4 weights: TRL casts the adapter it trains to bf16, its frozen copy with it."""


@pytest.fixture(scope="module")
def quantised_sft(bench):
    return bench.stage("qsft", "sft", quantised(LORA), learning_rate=2e-3, max_steps=4)[0]


def assert_nothing_moved(bench, name, bound):
    rows = bench.metrics(name)
    assert rows
    for row in rows:
        zeros = {
            key: value
            for key, value in row.items()
            if key in ("rewards/chosen", "rewards/rejected", "rewards/margins", "kl", "objective/kl")
        }
        assert zeros, row
        assert all(abs(value) < bound for value in zeros.values()), zeros


@pytest.mark.parametrize("method", ["dpo", "kto", "grpo", "rloo", "nash_md"])
@pytest.mark.parametrize("setup", SETUPS)
def test_at_learning_rate_0_nothing_moves(bench, sft, method, setup):
    adapter, hand_over = SETUPS[setup]
    name = f"{method}-{setup}".replace(" ", "-")
    artifact, trained = bench.stage(name, method, adapter, hand_over, sft)
    assert_nothing_moved(bench, name, EXACT)
    assert trained.beginning.reference < EXACT and trained.beginning.handed_over < EXACT
    assert (bench.logits(adapter, artifact) - bench.logits(LORA, sft)).abs().max() < 1e-4
    if method == "dpo":
        assert bench.metrics(name)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("method", ["dpo", "kto", "grpo", "rloo", "nash_md"])
@pytest.mark.parametrize("setup", ["continue", "stack", "merge"])
def test_at_learning_rate_0_nothing_moves_over_4_bit_weights(bench, quantised_sft, method, setup):
    adapter, hand_over = SETUPS[setup]
    name = f"q{method}-{setup}"
    artifact, _ = bench.stage(name, method, quantised(adapter), hand_over, quantised_sft)
    assert_nothing_moved(bench, name, FOUR_BIT)
    moved = bench.logits(quantised(adapter), artifact) - bench.logits(quantised(LORA), quantised_sft)
    assert moved.abs().max() < FOUR_BIT


@pytest.mark.parametrize("setup", SETUPS)
def test_with_a_learning_rate_the_policy_moves_and_the_incoming_folder_does_not(bench, sft, setup):
    adapter, hand_over = SETUPS[setup]
    before = (sft.folder / "adapter_model.safetensors").read_bytes()
    name = f"moved-{setup}".replace(" ", "-")
    artifact, _ = bench.stage(name, "dpo", adapter, hand_over, sft, learning_rate=1e-3, max_steps=3)
    assert (bench.logits(adapter, artifact) - bench.logits(LORA, sft)).abs().max() > 1e-3
    assert (sft.folder / "adapter_model.safetensors").read_bytes() == before


def test_stacking_leaves_the_incoming_ranks_as_they_were(bench, sft):
    from ptspec.model import low_rank

    artifact, _ = bench.stage("s", "dpo", OTHER, Handover.STACK, sft, learning_rate=1e-2, max_steps=3)
    below, after = low_rank.read(sft.folder), low_rank.read(artifact.folder)
    for module, part in below.items():
        rank = part.rank
        assert torch.allclose(after[module].a[:rank], part.a, atol=1e-7)
        assert torch.allclose(after[module].b[:, :rank], part.b, atol=1e-6)
    moved = [m for m in after if after[m].b[:, below[m].rank :].abs().max() > 0]
    assert moved and all(name.endswith(("q_proj", "v_proj")) for name in moved)


@pytest.mark.parametrize("adapter", [LORA, FULL], ids=["full to LoRA", "full to full"])
def test_from_full_weights(bench, adapter):
    full, _ = bench.stage("full", "sft", FULL, learning_rate=1e-4, max_steps=2)
    name = f"from-full-{adapter.use_lora}"
    artifact, _ = bench.stage(name, "dpo", adapter, None, full)
    assert_nothing_moved(bench, name, EXACT)
    assert torch.equal(bench.logits(adapter, artifact), bench.logits(FULL, full))


class TestSabotage:
    """Each way in which other tools go wrong, injected: a check of ours stops the stage and names it."""

    def refused(self, bench, sft, code, **options):
        with pytest.raises(StageError) as error:
            bench.stage("sabotaged", "dpo", LORA, Handover.CONTINUE, sft, **options)
        assert error.value.diagnostics[0].code == code

    def test_the_adapter_is_dropped(self, bench, sft, monkeypatch):
        def bare(base, incoming, stage, seed):
            return handover.Policy(base.spawn(), adapter=handover.lora_config(stage.adapter))

        monkeypatch.setattr(handover_bench, "prepare", bare)
        self.refused(bench, sft, "another-policy")

    def test_the_reference_is_the_bare_base(self, bench, sft, monkeypatch):
        def wrong(base, incoming, stage, seed):
            policy = prepare_as_it_is(base, incoming, stage, seed)
            return replace(policy, reference_model=base.spawn())

        prepare_as_it_is = prepare
        monkeypatch.setattr(handover_bench, "prepare", wrong)
        self.refused(bench, sft, "another-reference")

    def test_the_saved_names_have_a_doubled_prefix(self, bench, sft, monkeypatch):
        import safetensors.torch

        from ptspec.model import save
        from ptspec.training import train as training

        def doubled(model, policy, base, folder, whole=None):
            save.save(model, policy, base, folder, whole)
            file = folder / "adapter_model.safetensors"
            tensors = safetensors.torch.load_file(file)
            renamed = {f"base_model.model.{name}": value for name, value in tensors.items()}
            safetensors.torch.save_file(renamed, file, metadata={"format": "pt"})

        monkeypatch.setattr(training, "save", doubled)
        self.refused(bench, sft, "saved-differs", learning_rate=1e-3)

    def test_the_stacked_adapter_is_lost_on_saving(self, bench, sft, monkeypatch):
        import shutil

        from ptspec.model import save
        from ptspec.training import train as training

        def the_old_one(model, policy, base, folder, whole=None):
            save.save(model, policy, base, folder, whole)
            shutil.copy(sft.folder / "adapter_model.safetensors", folder)

        monkeypatch.setattr(training, "save", the_old_one)
        self.refused(bench, sft, "saved-differs", learning_rate=1e-2)

    def test_the_adapter_is_frozen(self, bench, sft, monkeypatch):
        def frozen(base, incoming, stage, seed):
            return handover.Policy(handover.attach(base.spawn(), incoming.folder, trainable=False))

        monkeypatch.setattr(handover_bench, "prepare", frozen)
        self.refused(bench, sft, "nothing-to-train")
