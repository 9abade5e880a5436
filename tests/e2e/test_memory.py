"""What a run holds in memory: a chain of full fine-tuning takes what its largest stage takes."""

import copy
import ctypes
import json
import sys
from pathlib import Path

import pytest
from support.forked import Forked
from support.small import ROOT, environment, run_here, write_recipe

pytestmark = pytest.mark.slow

HIDDEN, LAYERS = 768, 4
"""About 20 million parameters: 80 MB in float32."""

M_MMAP_THRESHOLD = -3
"""Of mallopt(3)."""


def measured(arguments):
    """Runs a recipe (`arguments`: its file, the output folder) and prints the most that the process held."""
    # Freed memory is given back, so that what is held is what is seen.
    assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16) == 1
    ran = run_here(Path(arguments[0]), Path(arguments[1]))
    assert ran.error is None, ran.error.diagnostics
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    print("PEAK", peak)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random Llama whose weights outweigh what else a process holds."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    config = json.loads((ROOT / "data/base_model/config.json").read_text())
    wide = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "intermediate_size": 3 * HIDDEN}
    heads = {"num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 64}
    made = LlamaForCausalLM(LlamaConfig(**{**config, **wide, **heads}))
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(ROOT / "data/base_model").save_pretrained(folder)
    return folder


def peak(folder, model, *methods):
    """The most that a process held, in bytes, which trained these stages one after the other."""

    def chain(recipe):
        recipe["model"]["path"] = str(model)
        recipe["adapter"] = {"use_lora": False}
        recipe["data"]["train"]["limit"] = 8
        recipe["data"]["heldout"]["limit"] = 4
        # No KL, for which the base would wait.
        recipe["eval"] = {"data": "heldout", "metrics": ["loss"]}
        first = recipe["stages"][0]
        config = {"max_steps": 1, "per_device_train_batch_size": 1, "save_strategy": "no", "max_length": 64}
        made = {"name": "", "method": "", "data": first["data"], "config": config}
        recipe["stages"] = [{**copy.deepcopy(made), "name": name, "method": name} for name in methods]

    folder.mkdir()
    recipe = write_recipe(folder, chain)
    # A fork of a process that has the libraries: they weigh the same in both runs.
    process = Forked(recipe, folder / "out", cwd=ROOT, environment=environment(), main=measured)
    told, error = process.communicate(300)
    assert process.wait() == 0, error
    return int(told.split("PEAK ")[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_chain_holds_no_more_than_its_largest_stage(model, tmp_path):
    weights = (model / "model.safetensors").stat().st_size
    assert weights > 60e6
    alone, chain = (
        peak(tmp_path / "alone", model, "dpo"),
        peak(tmp_path / "chain", model, "sft", "orpo", "dpo"),
    )
    print(f"alone {alone / 1e6:.0f} MB, chain {chain / 1e6:.0f} MB, weights {weights / 1e6:.0f} MB")
    assert chain <= 1.15 * alone
    assert chain - alone < 0.5 * weights, "something of the size of a model is held that nothing needs"
