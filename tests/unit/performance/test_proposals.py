"""What would be faster but changes what is learned: proposed, never taken."""

from __future__ import annotations

from support.situations import CPU, FULL, H100, UNEVEN, situation

from ptspec.performance.choice import Effect, Lengths
from ptspec.performance.dear import group_by_length, packing, padding_free, tf32
from ptspec.performance.decide import decide
from ptspec.recipe.plan import ComputeSpec, ModelSpec, Performance

SHORT = Lengths((200,) * 64, (200,) * 64)


def test_packing_of_short_rows():
    (choice,) = packing.propose(situation(machine=H100, lengths=SHORT, max_length=1000))
    assert (choice.effect, choice.values["packing"]) == (Effect.DEAR, True)
    assert "5.0 × as many" in choice.reason
    assert packing.propose(situation(machine=H100, lengths=SHORT, max_length=256)) == ()
    assert packing.propose(situation("dpo", H100, lengths=SHORT, max_length=1000)) == ()


def test_padding_free_with_a_kernel_for_it():
    flash = ModelSpec("m", True, attn_implementation="flash_attention_2")
    (choice,) = padding_free.propose(situation(machine=H100, model=flash))
    assert choice.effect is Effect.DEAR
    assert padding_free.propose(situation(machine=H100)) == ()


def test_rows_of_a_length_in_one_step():
    (choice,) = group_by_length.propose(situation(per_device_train_batch_size=8))
    assert choice.gain is not None
    assert choice.gain > 2
    assert group_by_length.propose(situation(lengths=SHORT)) == ()


def test_tf32_of_a_stage_in_float32():
    precise = ComputeSpec(precision="fp32")
    assert tf32.propose(situation(machine=H100, adapter=FULL, compute=precise))
    assert tf32.propose(situation(machine=H100, adapter=FULL)) == ()
    assert tf32.propose(situation(machine=CPU, adapter=FULL)) == ()


def test_a_proposal_is_never_applied():
    found = decide(Performance.AUTO, situation(per_device_train_batch_size=8, lengths=UNEVEN))
    assert found.proposed
    stage = situation(per_device_train_batch_size=8).stage
    assert found.applied(stage).config == stage.config
