"""Stages trained in bf16 autocast, as TRL does on every GPU: each begins with the policy that came in and
saves the one that it trained, measured at the precision of the weights; every method with every set-up and
with every hand-over."""

import math
from dataclasses import dataclass, replace

import pytest
from support.handover_bench import FULL, LORA, OTHER, Bench, quantised
from support.small import ROOT, run_here, write_recipe

from ptspec.diagnostics import StageError
from ptspec.model import handover, probes
from ptspec.model.device import find_device
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import AdapterSpec, Handover, ModelSpec

pytestmark = pytest.mark.slow

FLOAT32 = 1e-5
"""Nats a token by which two computations over float32 weights may differ, whatever a trainer computes in."""
COARSE = 0.02
"""What rounding of weights in bf16, 8 or 4 bits leaves; a run allows .05."""


@dataclass(frozen=True)
class SetUp:
    """`adapter`: of the stage that comes in; `other`: of one that merges or stacks. `bound`: of distances."""

    adapter: AdapterSpec
    other: AdapterSpec
    dtype: str | None
    bound: float


def eight_bit(adapter):
    fields = {"load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"]}
    return replace(adapter, use_qlora=True, quantization=fields)


SETUPS = {
    "full": SetUp(FULL, LORA, None, FLOAT32),
    "LoRA over float32": SetUp(LORA, OTHER, None, FLOAT32),
    "LoRA over bf16": SetUp(LORA, OTHER, "bfloat16", COARSE),
    "QLoRA": SetUp(quantised(LORA), quantised(OTHER), None, COARSE),
    "8-bit": SetUp(eight_bit(LORA), eight_bit(OTHER), None, COARSE),
}
METHODS = ("sft", "dpo", "kto", "orpo", "grpo", "nash_md")
OF_8_BIT = (("sft", Handover.CONTINUE), ("dpo", Handover.MERGE), ("nash_md", Handover.STACK))
SMALL = {"max_steps": 1, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "save_strategy": "no"}
ONLINE = {"num_generations": 2, "max_completion_length": 4, "beta": 0.1}


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """A bench for each type of the base's weights."""

    def bench(dtype):
        spec = ModelSpec(str(ROOT / "data/base_model"), local=True, dtype=dtype)
        bases = Bases(spec, find_device())
        return Bench(tmp_path_factory.mktemp("mixed"), bases, precision="bf16", rows=8)

    return {dtype: bench(dtype) for dtype in (None, "bfloat16")}


@pytest.fixture(scope="module")
def parents(benches):
    """The SFT stage of each set-up, made when it is first asked for."""
    made = {}

    def parent(name):
        if name not in made:
            setup = SETUPS[name]
            rate = 1e-3 if setup.adapter is FULL else 1e-2
            options = SMALL | {"max_steps": 4, "learning_rate": rate}
            made[name] = benches[setup.dtype].stage(f"sft-{name}", "sft", setup.adapter, **options)
        return made[name]

    return parent


def cells():
    for method in METHODS:
        yield "full", method, None
        for name in ("LoRA over float32", "LoRA over bf16", "QLoRA"):
            yield from ((name, method, hand_over) for hand_over in Handover)
    yield from (("8-bit", *cell) for cell in OF_8_BIT)


def train_small(bench, setup, name, method, hand_over, parent):
    adapter = setup.adapter if hand_over in (None, Handover.CONTINUE) else setup.other
    config = SMALL | (ONLINE if method in ("grpo", "nash_md") else {})
    return bench.stage(name, method, adapter, hand_over, parent, **config)


@pytest.mark.parametrize(("name", "method", "hand_over"), cells())
def test_a_stage_begins_with_what_came_in_and_saves_what_it_trained(
    benches, parents, name, method, hand_over
):
    setup, bench = SETUPS[name], benches[SETUPS[name].dtype]
    stage = f"{name}-{method}-{hand_over}"
    _, trained = train_small(bench, setup, stage, method, hand_over, parents(name)[0])
    assert trained.config["bf16"]
    assert trained.beginning.handed_over <= setup.bound
    assert trained.beginning.reference is None or trained.beginning.reference <= setup.bound
    assert bench.distances[stage] <= setup.bound
    if method == "dpo":
        assert bench.metrics(stage)[0]["loss"] == pytest.approx(math.log(2), abs=setup.bound)


@pytest.mark.parametrize("method", ["orpo", "reward"])
@pytest.mark.parametrize("name", SETUPS)
def test_a_stage_that_begins_at_the_base_saves_what_it_trained(benches, name, method):
    setup, bench = SETUPS[name], benches[SETUPS[name].dtype]
    stage = f"{name}-{method}-base"
    train_small(bench, setup, stage, method, None, None)
    assert bench.distances[stage] <= setup.bound


def test_full_fine_tuning_goes_on_in_float32_from_an_adapter_over_bf16_weights(benches, parents):
    """Its weights are finer than those that the incoming policy was measured on."""
    parent = parents("LoRA over bf16")[0]
    _, trained = benches[None].stage("up", "dpo", FULL, Handover.MERGE, parent, **SMALL)
    assert probes.FINE < trained.beginning.handed_over <= COARSE
    assert trained.beginning.reference <= FLOAT32


class TestSabotage:
    """The bounds are tight: a stage that lost its SFT, or has the base as its reference, is refused."""

    @pytest.mark.parametrize("name", SETUPS)
    def test_what_was_learned_is_beyond_every_bound(self, benches, parents, name):
        setup = SETUPS[name]
        trained = parents(name)[1]
        base = benches[setup.dtype].bases.open(setup.adapter, None)[0]
        assert probes.measure(base, trained.probes.ids).distance(trained.probes) > 4 * probes.COARSE

    @pytest.mark.parametrize("name", [name for name in SETUPS if name != "full"])
    def test_the_adapter_is_dropped(self, benches, parents, monkeypatch, name):
        def bare(base, incoming, stage, seed):
            return handover.Policy(base.spawn(), adapter=handover.lora_config(stage.adapter))

        monkeypatch.setattr("support.handover_bench.prepare", bare)
        self.refused(benches, parents, name, Handover.CONTINUE, "another-policy")

    @pytest.mark.parametrize("name", ["full", "LoRA over float32", "LoRA over bf16"])
    def test_the_reference_is_another(self, benches, parents, monkeypatch, name):
        prepared = handover.prepare

        def wrong(base, incoming, stage, seed):
            policy = prepared(base, incoming, stage, seed)
            return replace(policy, reference_model=benches[SETUPS[name].dtype].bases.get(LORA).spawn())

        monkeypatch.setattr("support.handover_bench.prepare", wrong)
        hand_over = None if name == "full" else Handover.CONTINUE
        self.refused(benches, parents, name, hand_over, "another-reference")

    def refused(self, benches, parents, name, hand_over, code):
        setup = SETUPS[name]
        with pytest.raises(StageError) as error:
            train_small(benches[setup.dtype], setup, "sabotaged", "dpo", hand_over, parents(name)[0])
        assert error.value.diagnostics[0].code == code


def test_a_chain_in_full_ends_in_bf16(tmp_path):
    """What `pt run` does with a recipe on a GPU that names no precision."""

    def full(recipe):
        recipe.pop("eval")
        recipe["adapter"] = {"use_lora": False}
        recipe["compute"] = {"precision": "bf16"}
        for stage in recipe["stages"]:
            stage["config"] |= SMALL | {"learning_rate": 1e-4}

    ran = run_here(write_recipe(tmp_path, full), tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics


def test_a_first_stage_that_begins_elsewhere_is_not_reported_of_an_incoming_adapter(benches, monkeypatch):
    def random(base, incoming, stage, seed):
        fields = {**stage.adapter.lora, "init_lora_weights": False}
        return handover.Policy(base.spawn(), adapter=handover.LoraConfig(task_type="CAUSAL_LM", **fields))

    monkeypatch.setattr("support.handover_bench.prepare", random)
    with pytest.raises(StageError) as error:
        benches[None].stage("random", "sft", LORA, **SMALL)
    (told,) = error.value.diagnostics
    assert told.code == "another-policy"
    assert "no adapter came in" in told.hint
