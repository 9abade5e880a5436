"""Measuring one model, against plain transformers."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.tiny_llama import ROWS, random_llama

from ptspec.data.layouts.convert import Reading
from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.diagnostics import InputError, StageError
from ptspec.evaluation import likelihood
from ptspec.evaluation.encoding import encode_completions, encode_prompt
from ptspec.evaluation.generation import respond
from ptspec.evaluation.likelihood import log_likelihoods
from ptspec.evaluation.measure import measure
from ptspec.evaluation.paired.compare import compare
from ptspec.recipe.plan import EvaluationSpec
from ptspec.rewards.builtin import builtin
from ptspec.rewards.contract import HOOKS


def oracle(model, tokenizer, prompt, completion):
    """Σ log p and the count of completion tokens, one text at a time, nothing clever."""
    user = {"role": "user", "content": prompt}
    start = len(tokenizer.apply_chat_template([user], add_generation_prompt=True)["input_ids"])
    both = [user, {"role": "assistant", "content": completion}]
    ids = torch.tensor([tokenizer.apply_chat_template(both)["input_ids"]])
    with torch.no_grad():
        logp = model.eval()(ids).logits[0].double().log_softmax(-1)
    total = sum(logp[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1]))
    return total, ids.shape[1] - start


def test_likelihoods_are_those_of_a_plain_forward_pass(model, tokenizer, rows, spec):
    result = measure(model, tokenizer, rows, spec, seed=1)
    for measured, row in zip(result.rows, ROWS, strict=True):
        logp, tokens = oracle(model, tokenizer, row["prompt"], row["output"])
        assert measured.nll == pytest.approx(-logp, rel=1e-5)
        assert measured.tokens == tokens
        assert measured.logp_chosen == pytest.approx(logp, rel=1e-5)
        rejected, count = oracle(model, tokenizer, row["prompt"], row["rejected"])
        assert measured.logp_rejected == pytest.approx(rejected, rel=1e-5)
        assert (measured.chosen_tokens, measured.rejected_tokens) == (tokens, count)
        assert measured.bytes == len(row["output"].encode())


def test_the_end_of_the_turn_is_among_the_tokens(tokenizer):
    row = evaluation_row(ROWS[0])
    (encoded,) = encode_completions(tokenizer, row.prompt, (row.expected,), row.context)
    assert tokenizer.decode(encoded.ids[encoded.start :]) == "Mira lives in Tarn.<|end|>"


def test_strings_without_chat_are_prompt_completion_and_end(model, tokenizer, spec):
    row = evaluation_row(ROWS[0], Reading(chat=False))
    (encoded,) = encode_completions(tokenizer, row.prompt, (row.expected,), row.context)
    assert tokenizer.decode(encoded.ids) == ROWS[0]["prompt"] + ROWS[0]["output"] + "<|end|>"
    assert tokenizer.decode(encoded.ids[: encoded.start]) == ROWS[0]["prompt"]
    assert not measure(model, tokenizer, [row], spec, seed=0).settings.chat


def test_text_rows_count_every_predicted_token(model, tokenizer, spec):
    result = measure(model, tokenizer, [evaluation_row({"text": "Mira lives here."})], spec, seed=0)
    assert result.rows[0].tokens == len("Mira lives here.")  # the first byte is given, the end is predicted
    assert result.rows[0].response is None
    assert "accuracy" not in result.metrics


def test_responses_are_greedy_as_without_cache_or_padding(model, tokenizer, rows, spec):
    result = measure(model, tokenizer, rows, spec, seed=1)
    for measured, row in zip(result.rows, ROWS, strict=True):
        user = [{"role": "user", "content": row["prompt"]}]
        ids = tokenizer.apply_chat_template(user, add_generation_prompt=True)["input_ids"]
        new = []
        while len(new) < spec.max_new_tokens and tokenizer.eos_token_id not in new:
            with torch.no_grad():
                new.append(model(torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax().item())
        assert measured.response_tokens == len(new)
        assert measured.finished == (tokenizer.eos_token_id in new)
        assert measured.response == tokenizer.decode(new, skip_special_tokens=True)


def test_batch_size_does_not_matter(model, tokenizer, rows):
    encoded = [
        text
        for row in rows
        for text in encode_completions(
            tokenizer, row.pair.prompt, (row.pair.chosen, row.pair.rejected), row.context
        )
    ]
    model.eval()
    alone, together = (log_likelihoods(model, encoded, tokens=budget) for budget in (1, 1000))
    assert alone == pytest.approx(together, rel=1e-5)
    prompts = [text.ids[: text.start] for text in encoded]
    one, many = (respond(model, tokenizer, prompts, 12, tokens=budget) for budget in (1, 1000))
    assert one == many


def test_nor_do_long_completions(model, tokenizer, rows, monkeypatch):
    encoded = [encode_completions(tokenizer, r.prompt, (r.pair.rejected,), r.context)[0] for r in rows]
    model.eval()
    whole = log_likelihoods(model, encoded)
    monkeypatch.setattr(likelihood, "SOFTMAX_POSITIONS", 7)
    assert log_likelihoods(model, encoded) == pytest.approx(whole, rel=1e-6)


def test_a_models_own_generation_settings_do_not_weigh_in(model, tokenizer, rows, spec):
    plain = measure(model, tokenizer, rows, spec, seed=1)
    model.generation_config.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=3.0)
    assert measure(model, tokenizer, rows, spec, seed=1).rows == plain.rows


def test_all_end_tokens_of_the_model_end_a_response(model, tokenizer, rows, spec):
    prompts = [encode_prompt(tokenizer, row.prompt) for row in rows]
    first = respond(model, tokenizer, prompts, 12)[0]
    assert len(first.ids) > 3
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, first.ids[2]]
    again = respond(model, tokenizer, prompts, 12)[0]
    assert again.finished and again.ids == first.ids[: first.ids.index(first.ids[2]) + 1]


def test_measuring_leaves_no_trace(model, tokenizer, rows, spec):
    model.train()
    model.model.layers[0].eval()
    model.gradient_checkpointing_enable()
    modes = [module.training for module in model.modules()]
    draws = lambda: (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: E731
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = draws()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    measure(model, tokenizer, rows, spec, seed=99, rewards={"noise": lambda prompts, **_: draws()[:1] * 10})
    assert draws() == expected
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_modes_come_back_after_a_failure(model, tokenizer, rows, spec):
    model.train()

    def broken(prompts, completions, **columns):
        raise ZeroDivisionError("no")

    with pytest.raises(StageError, match=r'reward "broken" failed with ZeroDivisionError: no'):
        measure(model, tokenizer, rows, spec, seed=0, rewards={"broken": broken})
    assert model.training and model.model.layers[1].training


def test_dropout_is_off(tokenizer, rows, spec):
    model = random_llama(tokenizer, 0, attention_dropout=0.5).train()
    spec = replace(spec, sampled=0)  # what is drawn differs with the seed
    first, second = (measure(model, tokenizer, rows, spec, seed=seed) for seed in (1, 2))
    assert first.rows == second.rows


def test_preference_is_relative_to_the_policy_that_came_in(model, other_model, tokenizer, rows, spec):
    before = measure(other_model, tokenizer, rows, spec, seed=1, name="sft")
    after = measure(model, tokenizer, rows, spec, seed=1, reference=before)
    assert before.settings.preference_reference == "raw likelihood"
    assert after.settings.preference_reference == "sft"
    margins = [
        (b.logp_chosen - a.logp_chosen) - (b.logp_rejected - a.logp_rejected)
        for a, b in zip(before.rows, after.rows, strict=True)
    ]
    assert [row.margin for row in after.rows] == pytest.approx(margins)
    share = sum(margin > 0 for margin in margins) / len(margins)
    assert after.metrics["preference_accuracy"].value == pytest.approx(share)
    assert after.metrics["reward_margin"].value == pytest.approx(sum(margins) / len(margins))


def test_a_policy_against_itself_prefers_nothing(model, tokenizer, rows, spec):
    before = measure(model, tokenizer, rows, spec, seed=1)
    after = measure(model, tokenizer, rows, spec, seed=1, reference=before)
    assert after.metrics["preference_accuracy"].value == 0.5
    assert after.metrics["reward_margin"].value == 0


def test_aggregates_by_hand(model, tokenizer, rows, spec):
    result = measure(model, tokenizer, rows, spec, seed=1, rewards={"brief": builtin("length", {"max": 1})})
    nll, tokens = sum(row.nll for row in result.rows), sum(row.tokens for row in result.rows)
    metrics = result.metrics
    assert metrics["loss"].value == pytest.approx(nll / tokens)
    assert metrics["perplexity"].value == pytest.approx(math.exp(nll / tokens))
    size = sum(row.bytes for row in result.rows)
    assert metrics["bits_per_byte"].value == pytest.approx(nll / math.log(2) / size)
    assert metrics["brief"].value == pytest.approx(np.mean([row.rewards["brief"] for row in result.rows]))
    assert metrics["response_length"].value == np.mean([row.response_tokens for row in result.rows])
    for figure in metrics.values():
        assert figure.low is None or figure.low <= figure.value <= figure.high


def test_rewards_get_strings_where_the_data_has_strings(model, tokenizer, rows, spec):
    seen = {}

    def spy(prompts, completions, answer, **columns):
        seen.update(prompts=prompts, completions=completions, answer=answer, columns=columns)
        return [None] * len(prompts)

    result = measure(model, tokenizer, rows, replace(spec, sampled=0), seed=1, rewards={"spy": spy})
    assert seen["prompts"] == [row["prompt"] for row in ROWS]
    assert seen["completions"] == [row.response for row in result.rows]
    assert seen["answer"] == [row["answer"] for row in ROWS]
    columns = {"completion_ids", "instruction", "output", "chosen", "rejected"}
    assert seen["columns"].keys() - set(HOOKS) == columns
    assert "spy" not in result.metrics


def test_rewards_get_messages_where_the_data_has_messages(model, tokenizer, spec):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    seen = {}

    def spy(prompts, completions, **columns):
        seen.update(prompts=prompts, completions=completions)
        return [1.0]

    result = measure(
        model,
        tokenizer,
        [evaluation_row({"messages": messages})],
        replace(spec, sampled=0),
        seed=1,
        rewards={"spy": spy},
    )
    assert seen["prompts"] == [messages[:1]]
    assert seen["completions"] == [[{"role": "assistant", "content": result.rows[0].response}]]


@pytest.mark.parametrize(
    ("metrics", "there", "absent"),
    [
        (("loss",), {"loss"}, {"response", "margin"}),
        (("preference_accuracy",), {"preference_accuracy", "raw_preference", "accuracy"}, {"nll"}),
        (("reward_margin",), {"reward_margin", "raw_margin"}, {"nll", "response"}),
        (("accuracy",), {"accuracy"}, {"nll", "margin"}),
    ],
)
def test_only_what_is_asked_for(model, tokenizer, rows, metrics, there, absent):
    spec = EvaluationSpec(data="heldout", metrics=metrics, max_new_tokens=4)
    result = measure(model, tokenizer, rows, spec, seed=1)
    assert set(result.metrics) == there
    assert all(getattr(row, name) is None for row in result.rows for name in absent)


def test_further_short_columns_are_slices(model, tokenizer, spec):
    row = {"prompt": "Who?", "completion": "Mira.", "topic": "pet", "level": 3, "note": "x" * 41, "parts": []}
    measured = measure(model, tokenizer, [evaluation_row(row)], spec, seed=1)
    assert measured.rows[0].slices == {"topic": "pet", "level": "3"}


def test_prompts_that_come_twice_are_two_rows(model, tokenizer, rows, spec):
    result = measure(model, tokenizer, [rows[0], rows[1], rows[0]], spec, seed=1)
    first, _, again = (row.id for row in result.rows)
    assert again == f"{first}-2"


def test_rows_beyond_the_context_keep_their_end(tokenizer, rows, spec):
    model = random_llama(tokenizer, 0, max_position_embeddings=48)
    told: list[str] = []
    result = measure(model, tokenizer, rows, spec, seed=1, warn=told.append)
    shortened = result.settings.shortened_rows
    assert shortened > 0
    text = f"{shortened} of {len(rows)} held-out rows have no room in the model's context of 48 tokens"
    assert [one.partition(",")[0] for one in told] == [text]
    pair = compare([result, replace(result, name="other")])
    assert "of rows longer than a model's context the first tokens were left out" in pair.notes
    assert all(
        row.tokens == len(raw["output"].encode()) + 1
        for row, raw in zip(result.rows, ROWS, strict=True)
        if len(raw["output"].encode()) < 47
    )


def test_progress_reaches_the_end(model, tokenizer, rows, spec):
    heard = []
    measure(model, tokenizer, rows, spec, seed=1, progress=lambda *part: heard.append(part))
    # The expected answer is the chosen one: 20 texts. Every prompt is answered greedily and by drawing.
    for what in ("likelihoods", "answers"):
        counts = [(done, total) for name, done, total in heard if name == what]
        assert counts[0] == (0, 20) and counts[-1] == (20, 20)
    assert [name for name, *_ in heard] == sorted((name for name, *_ in heard), reverse=True), "in order"


def test_a_diverged_model_is_said_to_be_one(model, tokenizer, rows, spec):
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(StageError, match="not numbers"):
        measure(model, tokenizer, rows, spec, seed=1)


def test_a_reward_named_like_a_metric_is_refused(model, tokenizer, rows, spec):
    with pytest.raises(InputError, match='"loss" is the name of a metric'):
        measure(model, tokenizer, rows, spec, seed=1, rewards={"loss": builtin("length", {"max": 3})})


def test_a_template_that_cannot_render_is_a_fault_of_the_input(model, tokenizer, rows, spec, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('no system turn') }}")
    with pytest.raises(InputError, match="cannot render a held-out row: no system turn"):
        measure(model, tokenizer, rows, spec, seed=1)


def lora(model):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.3, init_lora_weights="gaussian")
    return get_peft_model(model, settings)


def test_an_adapter_is_measured_as_it_is(model, tokenizer, rows, spec):
    adapted = lora(model)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    measured = measure(adapted, tokenizer, rows, spec, seed=1)
    merged = measure(adapted.merge_and_unload(), tokenizer, rows, spec, seed=1)
    assert [row.nll for row in measured.rows] == pytest.approx([row.nll for row in merged.rows], rel=1e-4)
    assert [row.response for row in measured.rows] == [row.response for row in merged.rows]


def test_training_goes_on_as_if_nothing_had_been_measured(tokenizer, rows, spec):
    def train(measured):
        policy = lora(random_llama(tokenizer, 0)).train()
        optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
        ids = torch.tensor([tokenizer("Mira lives in Tarn.")["input_ids"]])
        torch.manual_seed(7)
        for _ in range(3):
            policy(input_ids=ids, labels=ids).loss.backward()
            if measured:
                measure(policy, tokenizer, rows, spec, seed=1)
            optimizer.step()
            optimizer.zero_grad()
        return [parameter.detach() for parameter in policy.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(train(False), train(True), strict=True))


def test_half_precision_models_are_summed_in_single(model, tokenizer, rows, spec):
    exact = measure(model, tokenizer, rows, spec, seed=1)
    rough = measure(model.bfloat16(), tokenizer, rows, spec, seed=1)
    assert [row.nll for row in rough.rows] == pytest.approx([row.nll for row in exact.rows], rel=0.03)
