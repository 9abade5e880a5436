"""Responses and likelihoods are the same in whatever batches; memory decides how large these are."""

import pytest
import torch
from support.tiny_llama import gemma, mamba, random_llama

from ptspec.evaluation import likelihood, memory
from ptspec.evaluation.batching import batches, in_batches
from ptspec.evaluation.choice import draws
from ptspec.evaluation.divergence import divergences
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.generation import Draws, end_tokens, generation_config, respond
from ptspec.evaluation.likelihood import log_likelihoods
from ptspec.evaluation.thought_tags import thoughts_of

LENGTH = 24


MODELS = {"llama": lambda tokenizer: random_llama(tokenizer, 0), "gemma2": gemma, "mamba": mamba}


def one_by_one(model, tokenizer, prompts, numbers):
    """Plain `generate`, each prompt by itself, without padding."""
    ends, said = end_tokens(model, tokenizer), []
    for prompt, drawn in zip(prompts, numbers, strict=True):
        ids = torch.tensor([prompt])
        new = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=generation_config(tokenizer, ends, LENGTH),
            logits_processor=[Draws([drawn], len(prompt), model.device)] if drawn else None,
        )[0, len(prompt) :].tolist()
        end = next((i for i, token in enumerate(new) if token in ends), None)
        said.append(tuple(new if end is None else new[: end + 1]))
    return said


@pytest.mark.parametrize("name", MODELS)
def test_rows_that_end_leave_the_batch_and_each_is_as_if_alone(name, tokenizer):
    model = MODELS[name](tokenizer).eval()
    model.generation_config.eos_token_id = list(range(7, 250, 3))
    model.generation_config.bos_token_id = None
    texts = [f"Where does {'x' * (n % 17)} live? " for n in range(20)]
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    numbers = [draws(str(n), LENGTH, 1) if n % 4 else None for n in range(20)]
    alone = one_by_one(model, tokenizer, prompts, numbers)
    assert len({len(ids) for ids in alone}) > 2
    widths = []
    model.register_forward_pre_hook(
        lambda _, args, given: widths.append(len(given["input_ids"])), with_kwargs=True
    )
    for tokens in (None, 400, 1):
        widths.clear()
        expected = [len(ids) for ids in alone] if tokens == 400 else ()
        found = respond(model, tokenizer, prompts, LENGTH, draws=numbers, tokens=tokens, expected=expected)
        assert [one.ids for one in found] == alone
        if tokens is None:
            # Equal prompts are read once; of a state-space model each by itself.
            read, decoded = widths[0], widths[1:]
            assert read == (20 if name == "mamba" else len(set(map(tuple, prompts))))
            assert any(1 < width < 20 for width in decoded), "rows that ended are still in the batch"
            assert decoded == sorted(decoded, reverse=True)
            if name != "mamba":
                assert sum(decoded) == sum(len(ids) - 1 for ids in alone), "each row leaves once it has ended"


def test_batches_hold_no_more_than_the_budget_and_go_by_what_they_are_ranked_by():
    lengths, rank = [5, 1, 3, 2], [1, 9, 2, 8]
    found = list(batches(lengths, 10, extra=2, rank=rank))
    assert found == [[1, 3], [2], [0]]
    assert all(len(batch) * (max(lengths[i] for i in batch) + 2) <= 10 for batch in found)


def test_where_memory_runs_out_the_batch_is_halved_and_that_is_reported_once():
    tried, told, done = [], [], []

    def run(batch):
        tried.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(batch)

    in_batches([10] * 16, 10_000, run, warn=told.append)
    assert sorted(done) == list(range(16))
    assert tried == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert told == [
        "the device ran out of memory with batches of 10,000 tokens, and went on with 20: "
        '"eval": {"batch_tokens": 20} begins with these'
    ]


def test_one_sequence_that_is_too_much_and_other_errors_are_raised():
    def run(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(torch.OutOfMemoryError):
        in_batches([10] * 4, 1000, run)
    with pytest.raises(RuntimeError, match="shapes"):
        in_batches([10] * 4, 1000, broken)


def test_the_budget_follows_from_the_memory_that_is_free(model, monkeypatch):
    token = 4 * (2 * 2 * 32 + memory.ACTIVATIONS * 32)
    assert memory.bytes_of_token(model) == token
    scores = len(model.get_output_embeddings().weight) * memory.SCORE_BYTES // 100
    monkeypatch.setattr(memory, "free_bytes", lambda device: 40_000 * (token + scores))
    assert memory.generation_tokens(model, 100) == 10_000
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**12)
    assert memory.generation_tokens(model, 100) == memory.MOST["cpu"]
    logits = len(model.get_output_embeddings().weight) * 4
    monkeypatch.setattr(memory, "free_bytes", lambda device: 8_000 * (token + logits))
    assert memory.scoring_tokens(model) == 2_000
    assert likelihood.token_budget(model) == 1024, "what is fastest on a CPU, whatever is free"
    assert likelihood.token_budget(model, 100) == 100
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert memory.scoring_tokens(model) == memory.FALLBACK
    assert memory.generation_tokens(model, 100) == memory.FALLBACK


def test_the_free_memory_of_this_machine_is_known():
    assert 10**7 < memory.free_bytes(torch.device("cpu")) < 10**15


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_long_completion_is_read_in_pieces(name, tokenizer, monkeypatch):
    """No more than a piece's logits at once, and the same sums."""
    model, base = (MODELS[name](tokenizer).eval() for _ in range(2))
    with torch.no_grad():
        base.get_output_embeddings().weight += 0.3 * torch.randn_like(base.get_output_embeddings().weight)
    ids = torch.randint(5, 250, (150,), generator=torch.Generator().manual_seed(0)).tolist()
    sequences = [Encoded(tuple(ids), 20), Encoded(tuple(ids[:30]), 1)]
    whole, kl = log_likelihoods(model, sequences), divergences(model, base, sequences)
    monkeypatch.setattr(likelihood, "SOFTMAX_POSITIONS", 16)
    monkeypatch.setattr(likelihood, "LOGIT_BYTES", 32 * likelihood._logit_bytes(model))
    seen = []
    for one in (model, base):
        one.register_forward_hook(lambda _, args, output: seen.append(output.logits.shape[1]))
    assert log_likelihoods(model, sequences) == pytest.approx(whole, rel=1e-6)
    assert divergences(model, base, sequences) == pytest.approx(kl, rel=1e-4)
    assert max(seen) <= 32 and len(seen) > 8


THINKING = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m.reasoning_content %}<|hm|>{{ m.reasoning_content }}<|/hm|>{% endif %}"
    "{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|><|hm|>{% endif %}"
)


def test_the_tags_of_a_models_own_template_are_found(tokenizer):
    before, tokenizer.chat_template = tokenizer.chat_template, THINKING
    try:
        thoughts = thoughts_of(tokenizer)
    finally:
        tokenizer.chat_template = before
    assert thoughts.own == (("<|hm|>", "<|/hm|>"),)
    prompt = tokenizer("q<|hm|>", add_special_tokens=False)["input_ids"]
    for text, answer in [("7</hm|>", ""), ("it is 7<|/hm|>9", "9"), ("it is 7", "")]:
        said = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert thoughts.left_out(tokenizer, prompt, said, text) == answer
    assert thoughts_of(tokenizer).own == ()


def test_tags_that_are_special_tokens_are_seen_too(tokenizer):
    from support.tiny_llama import byte_tokenizer

    special = byte_tokenizer()
    special.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    said = special("[THINK]7[/THINK]9", add_special_tokens=False)["input_ids"]
    text = special.decode(said, skip_special_tokens=True)
    assert text == "79"
    assert thoughts_of(special).left_out(special, [5], said, text) == "9"
