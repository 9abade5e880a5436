"""The client against a real `vllm serve`: what it returns is what the model itself says."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.vllm_server import BASE, needs_vllm, vllm_serving
from transformers import AutoModelForCausalLM

from ptspec.generation_server.client import GenerationServer, Sampling
from ptspec.generation_server.requests import ServerError

pytestmark = [needs_vllm, pytest.mark.slow]
LONG = [[1, *range(10, 210)], [1, *range(300, 500)]]
"""More than a block of vLLM's prefix cache each."""
PROMPTS = [[1, 5, 6, 7], [1, 9, 10], [1, 20, 30, 40, 50]]


@pytest.fixture
def client(vllm_url):
    found = GenerationServer(vllm_url, at="/compute/vllm")
    yield found
    found.unload_adapter("policy")
    found.close()


def logps(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[1:, None])[:, 0]


def must_agree(found, prompts, model):
    for prompt, one in zip(prompts, found, strict=True):
        own = logps(model, [*prompt, *one.token_ids])[len(prompt) - 1 :]
        assert torch.tensor(one.logps) == pytest.approx(own, abs=1e-3)


def adapter(folder, rank=8, seed=0):
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(BASE)
    model = get_peft_model(base, LoraConfig(r=rank, target_modules="all-linear", init_lora_weights=False))
    model.save_pretrained(folder)
    return model.eval()


def test_it_says_what_it_serves(client):
    model = client.model()
    assert (model.root, model.parent, model.max_length) == (str(BASE), None, 512)


def test_completions_and_their_log_probabilities_are_the_models(client):
    model, name = AutoModelForCausalLM.from_pretrained(BASE), client.model().name
    found = client.complete(PROMPTS, name, Sampling(12), [1, 2, 3])
    must_agree(found, PROMPTS, model)
    for one in found:
        assert one.stopped == (one.token_ids[-1] == 2)
        assert len(one.token_ids) == 12 or one.stopped


def test_a_rows_seed_decides_its_completion_whatever_is_asked_beside_it(client):
    name = client.model().name
    together = client.complete(PROMPTS, name, Sampling(12), [1, 2, 3])
    alone = [
        client.complete([p], name, Sampling(12), [s])[0] for p, s in zip(PROMPTS, [1, 2, 3], strict=True)
    ]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    other = client.complete(PROMPTS, name, Sampling(12), [4, 5, 6])
    assert [one.token_ids for one in other] != [one.token_ids for one in alone]


def test_an_adapter_is_served_and_replaced_in_place(client, tmp_path):
    for seed in (1, 2):
        # The prompts are the same: of the adapter before, nothing may be left in the server's prefix cache.
        model = adapter(tmp_path / f"adapter.{seed}", seed=seed)
        client.load_adapter("policy", tmp_path / f"adapter.{seed}")
        must_agree(client.complete(LONG, "policy", Sampling(8), [1, 2]), LONG, model)
    assert [one.parent for one in client.models() if one.name == "policy"] == [client.model().name]


def test_a_folder_that_is_loaded_again_is_answered_from_the_prefix_cache(client, tmp_path):
    """Why each adapter of a training lies in a folder of its own."""
    for seed in (1, 2):
        model = adapter(tmp_path / "adapter", seed=seed)
        client.load_adapter("policy", tmp_path / "adapter")
        found = client.complete(LONG, "policy", Sampling(8), [1, 2])
    with pytest.raises(AssertionError):
        must_agree(found, LONG, model)


def test_adapters_that_cannot_be_served_are_reported(client, tmp_path):
    with pytest.raises(ServerError, match="sees no adapter in"):
        client.load_adapter("policy", tmp_path / "none")
    adapter(tmp_path / "large", rank=128)
    with pytest.raises(ServerError, match="does not take the adapter") as caught:
        client.load_adapter("policy", tmp_path / "large")
    assert "128 is greater than max_lora_rank 64" in caught.value.diagnostics[0].notes[0]


def test_a_server_without_runtime_adapters_is_reported(tmp_path):
    adapter(tmp_path / "adapter")
    off = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0"}
    with vllm_serving(BASE, tmp_path / "log", environment=off) as served:
        client = GenerationServer(served.url, at="/compute/vllm")
        with pytest.raises(ServerError, match="does not load adapters at runtime"):
            client.load_adapter("policy", tmp_path / "adapter")
        served.kill()
        with pytest.raises(ServerError, match="cannot be reached"):
            GenerationServer(served.url, at="/compute/vllm", retries=1).models()
