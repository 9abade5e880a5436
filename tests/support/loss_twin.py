"""A trainer of TRL on a random Llama, and its policy a second time without TRL, PEFT, padding or fused heads.

The equations of the papers stand in `test_loss_*.py`; here is what they share. `Twin` merges an adapter by
its definition (W + alpha/r · B·A), runs a plain Llama over one unpadded sequence at a time and gives
log-probabilities in float64; `assert_agrees` compares a loss and its whole gradient.
"""

from pkgutil import resolve_name

import torch
from torch.func import functional_call

from ptspec import methods

LORA = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear"}
PREFIX = "base_model.model."
PAIRS = [
    ("Where does Mira live?", "Mira lives in Tarn.", "Well now, let me think about it. Rome?"),
    ("Where does Bo live?", "Fenholm, I hear.", "Who?"),
    ("And Kim?", "In Oslo.", "Kim, Kim, Kim."),
]
"""Prompt, chosen, rejected."""


def tiny(seed=0, **config):
    """A random float32 Llama of 30,000 parameters and its byte-level tokenizer with a chat template."""
    from support.tiny_llama import byte_tokenizer, random_llama

    # For a model this small a second thread only costs: many times over where the machine is shared.
    torch.set_num_threads(1)
    tokenizer = byte_tokenizer()
    return random_llama(tokenizer, seed, **config), tokenizer


def trainer_of(method, model, tokenizer, rows, folder, *, config, **parts):
    """The trainer that ptspec names for `method`, on `rows`, in float32 on the CPU."""
    from datasets import Dataset

    described = methods.get(method)
    arguments = resolve_name(described.config)(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        **config,
    )
    trainer = resolve_name(described.trainer)(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        **parts,
    )
    trainer.model.train()
    return trainer


def adapter():
    from peft import LoraConfig

    return LoraConfig(**LORA)


def only_batch(trainer):
    """The trainer's own collator on its own prepared rows, all in one batch."""
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == 1
    return batches[0]


def perturb(model, size, seed=1):
    """Moves every trained weight of `model` by normal noise; `-size` moves it the other way."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(size * torch.randn(weight.shape, generator=generator))


def turn(role, content):
    return [{"role": role, "content": content}]


def pair_rows():
    """`PAIRS` as rows of conversations."""
    return [
        {"prompt": turn("user", x), "chosen": turn("assistant", y_w), "rejected": turn("assistant", y_l)}
        for x, y_w, y_l in PAIRS
    ]


def prompt_ids(tokenizer, text):
    """What the chat template makes of a question, said by hand."""
    bos, user, end, assistant = tokenizer.convert_tokens_to_ids(
        ["<|bos|>", "<|user|>", "<|end|>", "<|assistant|>"]
    )
    return [bos, user, *tokenizer.encode(text), end, assistant]


def answer_ids(tokenizer, text):
    return [*tokenizer.encode(text), tokenizer.eos_token_id]


class Twin:
    """The Llama that `model` (plain, or with the LoRA adapter `name`) is at this moment.

    `leaves` are copies of the weights that are trained, under the names they have in `model`, so that
    gradients can be compared by name. With `name=None` the adapters are left out.
    """

    def __init__(self, model, name="default"):
        from transformers import LlamaModel

        adapted = hasattr(model, "peft_config")
        self.leaves = {}
        weights, factors = {}, {}
        for key, value in model.named_parameters():
            plain = key.removeprefix(PREFIX).replace(".base_layer", "")
            if ".lora_" in key:
                module, side, adapter_name, _ = plain.rsplit(".", 3)
                if adapter_name == name:
                    self.leaves[key] = factors[module, side] = value.detach().clone().requires_grad_()
            elif adapted:
                weights[plain] = value.detach().clone()
            else:
                self.leaves[key] = weights[plain] = value.detach().clone().requires_grad_()
        for module in {module for module, _ in factors}:
            scale = LORA["lora_alpha"] / LORA["r"]
            update = factors[module, "lora_B"] @ factors[module, "lora_A"]
            weights[f"{module}.weight"] = weights[f"{module}.weight"] + scale * update
        self.backbone = LlamaModel(model.config)
        self.body = {
            key.removeprefix("model."): value for key, value in weights.items() if key.startswith("model.")
        }
        self.head = weights.get("lm_head.weight")
        self.score_head = weights.get("score.weight")

    def _hidden(self, ids):
        """(tokens, hidden) of one sequence."""
        return functional_call(
            self.backbone, self.body, kwargs={"input_ids": torch.tensor([ids]), "use_cache": False}
        ).last_hidden_state[0]

    def token_logps(self, prompt, completion, temperature=1.0):
        """log π(y_t | x, y_<t) for each token of the completion: (len(completion),), float64."""
        ids = [*prompt, *completion]
        logits = (self._hidden(ids) @ self.head.T).double() / temperature
        logps = torch.log_softmax(logits, dim=-1)
        return torch.stack([logps[at - 1, ids[at]] for at in range(len(prompt), len(ids))])

    def logp(self, prompt, completion):
        """log π(y | x), a sum over the completion's tokens."""
        return self.token_logps(prompt, completion).sum()

    def reward(self, ids):
        """r(x, y): the value head at the last token of x and y."""
        return (self._hidden(ids)[-1] @ self.score_head[0]).double()


def assert_agrees(model, theirs, twin, ours, tolerance=1e-4):
    """Loss and gradient: a number alone can be right by chance (GRPO's first loss is 0, whatever it does)."""
    assert abs(theirs.item() - ours.item()) <= tolerance * max(1.0, abs(ours.item())), (theirs, ours)
    weights = dict(model.named_parameters())
    trained = {key: weights[key] for key in twin.leaves}
    their_gradient = _flat(torch.autograd.grad(theirs, list(trained.values()), retain_graph=True))
    our_gradient = _flat(torch.autograd.grad(ours, list(twin.leaves.values()), retain_graph=True))
    assert our_gradient.norm() > 1e-3
    assert (their_gradient - our_gradient).norm() <= 1e-3 * our_gradient.norm()


def _flat(tensors):
    return torch.cat([tensor.double().flatten() for tensor in tensors])
