"""ORPO against Hong et al. 2024, arXiv 2403.07691, eqs. 3-7:

log P(y|x) = 1/|y| Σ_t log π(y_t | x, y_<t)          (eq. 3)
odds(y|x) = P(y|x) / (1 − P(y|x))                     (eq. 4)
L = E[ L_SFT + λ · L_OR ]                             (eq. 6), λ is TRL's `beta`
L_OR = −log σ( log( odds(y_w|x) / odds(y_l|x) ) )     (eq. 7)

Finding: L_SFT in TRL is the mean over **all tokens of the chosen sequence, the prompt's included** (all but
the first, which nothing predicts), pooled over the batch. The paper says only "the conventional causal
language modelling negative log-likelihood". SFT's and DPO's cross-entropy leave the prompt out. L_OR is over
the completion's tokens only, as in the paper.
"""

import pytest
import torch
from support.loss_twin import (
    PAIRS,
    Twin,
    adapter,
    answer_ids,
    assert_agrees,
    only_batch,
    pair_rows,
    perturb,
    prompt_ids,
    tiny,
    trainer_of,
)
from torch.nn.functional import logsigmoid
from torch.nn.utils.rnn import pad_sequence

pytestmark = pytest.mark.slow

LAMBDA = 0.7

# Where TRL departs from a plain reading of the paper.
NLL_INCLUDES_PROMPT = True
ADDS_BOS_TO_STRINGS = True


def string_rows():
    return [{"prompt": x, "chosen": y_w, "rejected": y_l} for x, y_w, y_l in PAIRS]


def string_ids(tokenizer, text):
    """SFT and DPO train on the string as it is; ORPO puts the tokenizer's BOS before it."""
    return [tokenizer.bos_token_id] * ADDS_BOS_TO_STRINGS + tokenizer.encode(text)


def memorise(model, triples):
    """Until P(y|x) is well off 0: a random model's odds are its likelihoods, and 1 − P goes untested."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    sequences = [torch.tensor([*x, *y]) for x, *answers in triples for y in answers]
    ids = pad_sequence(sequences, batch_first=True)
    labels = pad_sequence(sequences, batch_first=True, padding_value=-100)
    for _ in range(40):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def likelihood(twin, prompt, completion):
    """Eq. 3."""
    return twin.token_logps(prompt, completion).mean().exp()


def odds_ratio_loss(twin, triples):
    """Eqs. 4 and 7, as they are written."""
    losses = []
    for prompt, chosen, rejected in triples:
        p_w, p_l = likelihood(twin, prompt, chosen), likelihood(twin, prompt, rejected)
        odds_w, odds_l = p_w / (1 - p_w), p_l / (1 - p_l)
        losses.append(-logsigmoid(torch.log(odds_w / odds_l)))
    return torch.stack(losses).mean()


def sft_loss(twin, triples, includes_prompt):
    logps = []
    for prompt, chosen, _ in triples:
        start = 1 if includes_prompt else len(prompt)
        whole = [*prompt, *chosen]
        logps.append(twin.token_logps(whole[:start], whole[start:]))
    return -torch.cat(logps).mean()


@pytest.mark.parametrize(("rows", "ids"), [(pair_rows, prompt_ids), (string_rows, string_ids)])
def test_equations_6_and_7(tmp_path, rows, ids):
    model, tokenizer = tiny()
    triples = [
        (ids(tokenizer, x), answer_ids(tokenizer, y_w), answer_ids(tokenizer, y_l)) for x, y_w, y_l in PAIRS
    ]
    memorise(model, triples)
    config = {"per_device_train_batch_size": len(PAIRS), "beta": LAMBDA}
    trainer = trainer_of("orpo", model, tokenizer, rows(), tmp_path, config=config, peft_config=adapter())
    perturb(trainer.model, 0.02)
    loss = trainer.compute_loss(trainer.model, only_batch(trainer))
    twin = Twin(trainer.model)
    assert max(likelihood(twin, x, y_w) for x, y_w, _ in triples) > 0.3
    odds_ratio = odds_ratio_loss(twin, triples)
    sft = sft_loss(twin, triples, NLL_INCLUDES_PROMPT)
    assert_agrees(trainer.model, loss, twin, sft + LAMBDA * odds_ratio)
    of_completion = sft_loss(twin, triples, includes_prompt=False)
    assert abs(sft.item() - of_completion.item()) > 1e-2
