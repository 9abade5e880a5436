"""Drawn responses and their KL, refusals, the choice of rows, distinct n-grams."""

import collections
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptspec.evaluation.choice import chosen, draws
from ptspec.evaluation.divergence import divergences
from ptspec.evaluation.diversity import Words, distinct, distinct_difference, words_of
from ptspec.evaluation.encoding import Encoded, encode_prompt
from ptspec.evaluation.generation import respond
from ptspec.evaluation.measure import measure
from ptspec.evaluation.refusals import is_refusal
from ptspec.metrics import metric


def prompts_of(tokenizer, rows):
    return [encode_prompt(tokenizer, row.prompt) for row in rows]


def test_drawn_tokens_follow_the_models_distribution(model, tokenizer, rows):
    """1,500 first tokens against the softmax at the prompt's end, by chi-square over the likelier tokens."""
    prompt, times = prompts_of(tokenizer, rows)[0], 1500
    model.eval()
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1).numpy() * times
    numbers = [[number] for number in draws("row", times, 3)]
    said = respond(model, tokenizer, [prompt] * times, 1, draws=numbers)
    seen = collections.Counter(one.ids[0] for one in said)
    likely = np.flatnonzero(expected >= 5)
    observed = np.array([seen[token] for token in likely])
    statistic = ((observed - expected[likely]) ** 2 / expected[likely]).sum()
    assert abs(statistic - len(likely)) < 4 * math.sqrt(2 * len(likely))


def test_what_is_drawn_depends_on_the_number_alone(model, tokenizer, rows):
    prompts = prompts_of(tokenizer, rows)
    numbers = [draws(str(i), 12, 1) if i % 2 else None for i in range(len(prompts))]
    model.eval()
    together = respond(model, tokenizer, prompts, 12, draws=numbers)
    alone = respond(model, tokenizer, prompts, 12, draws=numbers, tokens=1)
    assert together == alone
    greedy = respond(model, tokenizer, prompts, 12)
    assert [one == other for one, other in zip(together, greedy, strict=True)][::2] == [True] * 5
    assert together[1::2] != greedy[1::2]


def test_the_number_falls_on_the_first_token_that_passes_it(model, tokenizer, rows):
    prompt = prompts_of(tokenizer, rows)[0]
    model.eval()
    with torch.no_grad():
        cumulative = model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1).cumsum(-1)
    for number in (0.0, 0.3, 0.999999999):
        (said,) = respond(model, tokenizer, [prompt], 1, draws=[[number]])
        assert said.ids[0] == int((cumulative > number * cumulative[-1]).nonzero()[0])


def test_kl_is_the_sum_over_the_whole_vocabulary(model, other_model, tokenizer, rows):
    prompts = prompts_of(tokenizer, rows)
    whole = [Encoded((*p, 65, 66, 67), len(p)) for p in prompts]
    model.eval()
    other_model.eval()
    for sequence, found in zip(whole, divergences(model, other_model, whole, tokens=90), strict=True):
        ids = torch.tensor([sequence.ids])
        with torch.no_grad():
            p, q = (m(ids).logits[0].double().log_softmax(-1) for m in (model, other_model))
        terms = [(p[t].exp() * (p[t] - q[t])).sum() for t in range(sequence.start - 1, len(sequence.ids) - 1)]
        assert found == pytest.approx(float(sum(terms)), rel=1e-4)
    assert divergences(model, model, whole) == pytest.approx([0.0] * len(whole), abs=1e-6)


def test_kl_agrees_with_the_log_ratio_of_what_was_drawn(model, other_model, tokenizer, rows):
    """Both estimate the same number, this one with less noise."""
    prompt = prompts_of(tokenizer, rows)[0]
    model.eval()
    other_model.eval()
    numbers = [draws(str(i), 4, 7) for i in range(400)]
    said = respond(model, tokenizer, [prompt] * 400, 4, draws=numbers)
    whole = [Encoded((*prompt, *one.ids), len(prompt)) for one in said]
    from ptspec.evaluation.likelihood import log_likelihoods

    ratios = np.subtract(log_likelihoods(model, whole), log_likelihoods(other_model, whole))
    exact = np.array(divergences(model, other_model, whole))
    error = ratios.std() / math.sqrt(400)
    assert abs(exact.mean() - ratios.mean()) < 4 * error
    assert exact.std() < ratios.std() / 2


def test_models_of_other_vocabularies_have_no_kl(model, tokenizer, other_model):
    other_model.resize_token_embeddings(300)
    assert divergences(model, other_model, [Encoded((65, 66, 67), 1)]) is None


def test_measured_samples_and_kl(model, other_model, tokenizer, rows, spec):
    spec = replace(spec, sampled=4)
    result = measure(model, tokenizer, rows, spec, seed=1, base=other_model, base_name="base")
    drawn = [row for row in result.rows if row.sample is not None]
    assert len(drawn) == 4 and all(row.kl > 0 and row.sample_tokens for row in drawn)
    mean = sum(row.kl for row in drawn) / sum(row.sample_tokens for row in drawn)
    assert result.metrics["kl"].value == pytest.approx(mean)
    assert result.metrics["kl"].low is None  # four rows
    assert result.settings.kl_base == "base"
    again = measure(model, tokenizer, rows[::-1], spec, seed=1, base=other_model)
    assert {r.id: r.sample for r in again.rows} == {r.id: r.sample for r in result.rows}
    other_seed = measure(model, tokenizer, rows, spec, seed=2)
    assert {r.id: r.sample for r in other_seed.rows} != {r.id: r.sample for r in result.rows}
    assert "kl" not in other_seed.metrics


def test_no_sample_is_drawn_that_nobody_asked_for(model, tokenizer, rows, spec):
    for one in (replace(spec, sampled=0), replace(spec, metrics=("accuracy",))):
        result = measure(model, tokenizer, rows, one, seed=1, base=model)
        assert all(row.sample is None for row in result.rows)
        assert not {"kl", "sampled_accuracy"} & set(result.metrics)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m very sorry. No.",
        "Sorry, I do not do that.",
        "As an AI language model, I have no pets.",
        "Thank you for asking. I cannot answer this.",
        "I am not able to say.",
        "It would be unethical to tell you.",
    ],
)
def test_refusals(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The pet of Tofer is a pony.",
        "He said that he was sorry.",
        "Of course. " + "Here is the long answer. " * 10 + "I cannot say more.",
    ],
)
def test_no_refusals(text):
    assert not is_refusal(text)


def test_own_patterns_take_the_place_of_the_built_in_ones(model, tokenizer, rows, spec):
    assert is_refusal("Kein Kommentar", ["^kein"]) and not is_refusal("I'm sorry", ["^kein"])
    result = measure(model, tokenizer, rows, replace(spec, refusals=("",)), seed=1)
    assert result.metrics["refusals"].value == 1 and result.settings.refusals != "built in"


def test_a_choice_is_the_same_whatever_the_order_and_grows():
    ids = [f"row {i}" for i in range(100)]
    some, more = ({ids[i] for i in chosen(ids, count, 5)} for count in (20, 50))
    assert len(some) == 20 and some < more
    backwards = ids[::-1]
    assert {backwards[i] for i in chosen(backwards, 20, 5)} == some
    assert {ids[i] for i in chosen(ids, 20, 6)} != some
    assert chosen(ids, 1000, 5) == list(range(100))


def test_words_of_several_scripts():
    assert words_of("It's 5 %, Ça va?") == ["it", "'", "s", "5", "%", ",", "ça", "va", "?"]
    assert words_of("東京です ok") == ["東", "京", "で", "す", "ok"]


def test_distinct_without_each_text_is_counted_right():
    texts = ["a b c", "a b d", "x", "", "x x"]
    share = distinct(Words(texts), 1)
    assert share.value == 5 / 9
    left = [len(set("".join(t for j, t in enumerate(texts) if j != i).replace(" ", ""))) for i in range(5)]
    sizes = [6, 6, 8, 9, 7]
    values = np.array(left) / sizes
    error = math.sqrt(4 / 5 * ((values - values.mean()) ** 2).sum())
    assert share.at(0.95).high - share.value == pytest.approx(2.776 * error, rel=0.001)
    assert distinct(Words(["", "a"]), 2) is None


@pytest.mark.parametrize("n", [1, 2, 3])
def test_n_grams_stay_within_their_text_and_clusters_are_left_out_whole(n):
    rng = np.random.default_rng(n)
    texts = [" ".join(map(str, rng.integers(0, 9, rng.integers(0, 7)))) for _ in range(40)]
    groups = rng.integers(0, 8, 40)

    def share(some):
        grams = [tuple(w[i : i + n]) for w in map(words_of, some) for i in range(len(w) - n + 1)]
        return len(set(grams)) / len(grams)

    for group in (None, groups):
        members = range(40) if group is None else range(8)
        value, left = Words(texts).left_out(n, group)
        own = list(range(40)) if group is None else list(group)
        by_hand = [share([t for t, g in zip(texts, own, strict=True) if g != m]) for m in members]
        assert value == pytest.approx(share(texts)) and list(left) == pytest.approx(by_hand)


def test_many_long_texts_take_one_pass():
    """2,000 texts of 500 words took 31 s, eight times over."""
    import time

    rng = np.random.default_rng(0)
    texts = [" ".join(map(str, row)) for row in rng.integers(0, 5000, (2000, 500))]
    begun = time.process_time()
    words = Words(texts)
    assert distinct(words, 1).value < distinct(words, 2).value
    assert time.process_time() - begun < 8


def test_distinct_differences_are_opposite_both_ways_round():
    rng = np.random.default_rng(0)
    a, b = ([" ".join(map(str, rng.integers(0, size, 8))) for _ in range(60)] for size in (10, 40))
    a, b = Words(a), Words(b)
    (_, there), (_, back) = distinct_difference(a, b, 2), distinct_difference(b, a, 2)
    assert there.value == -back.value > 0 and there.p == back.p < 1e-6
    assert there.at(0.95).low == -back.at(0.95).high
    _, same = distinct_difference(a, a, 2)
    assert same.at(0.95).low == 0 and same.p == 1 and same.is_constant


def test_rewards_of_drawn_responses_stand_beside_those_of_greedy_ones(model, tokenizer, rows, spec):
    def long(prompts, completions, **columns):
        return [float(len(text)) for text in completions]

    result = measure(model, tokenizer, rows, replace(spec, sampled=4), seed=1, rewards={"long": long})
    drawn = [row for row in result.rows if row.sample is not None]
    assert [row.sample_rewards for row in drawn] == [{"long": len(row.sample)} for row in drawn]
    assert all(not row.sample_rewards for row in result.rows if row.sample is None)
    mean = sum(len(row.sample) for row in drawn) / 4
    assert result.metrics["sampled_long"].value == pytest.approx(mean)
    assert metric("sampled_long").label == "long at T=1"
    only = measure(model, tokenizer, rows, replace(spec, metrics=("long",)), seed=1, rewards={"long": long})
    assert "sampled_long" not in only.metrics and all(row.sample is None for row in only.rows)
