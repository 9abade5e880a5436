"""Rewards from a model: a one-label sequence classifier from a folder, the hub or a reward stage.

A text is scored in the tokens that TRL's RewardTrainer trains on: prompt and completion through the chat
template, or plain strings concatenated with the end-of-sequence token. (TRL's GRPO omits that token, so that
a model trained with it scores other sequences than it learned.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import cached_file, find_adapter_config_file

from ptspec.data.layouts.convert import Context, assistant_turn, context_of, user_turn
from ptspec.data.layouts.table import TEMPLATE
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, first_line
from ptspec.model.base import Base
from ptspec.model.classifier import classifier_over
from ptspec.model.device import Device
from ptspec.model.hub import must_be_loadable
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import exists
from ptspec.recipe.plan import Plan
from ptspec.recipe.second_models import folder_of
from ptspec.recipe.signals import RewardSpec
from ptspec.store.files import read_json
from ptspec.store.safetensors_only import refuse_pickles
from ptspec.store.stage_folder import ADAPTER_WEIGHTS, adapter_weights

BATCH = 16
HEADS = ("score", "classifier")
"""transformers' names of the layer that a sequence classifier adds to a language model."""

Below = Callable[[str], Base | None]
"""Returns the opened weights of a folder or hub id if they may be shared; None: load them."""


@dataclass(frozen=True)
class RewardModel:
    """A reward function in TRL's signature: the model's logit for each prompt and completion.

    With `chat`, strings become turns of the tokenizer's chat template if it has one, as in the data loader;
    otherwise they stay strings.
    """

    model: Any
    tokenizer: Any
    chat: bool = True

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """Return one score per completion. Uses no random numbers and keeps no gradient."""
        contexts = [
            context_of({name: columns[name][row] for name in TEMPLATE if name in columns})
            for row in range(len(prompts))
        ]
        tokens = [self.tokens(*one) for one in zip(prompts, completions, contexts, strict=True)]
        by_length = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        scores = [0.0] * len(tokens)
        for start in range(0, len(tokens), BATCH):
            rows = by_length[start : start + BATCH]
            for row, score in zip(rows, self._scores([tokens[row] for row in rows]), strict=True):
                scores[row] = score
        return scores

    def tokens(self, prompt: Any, completion: Any, context: Context = Context()) -> list[int]:
        """Return the scored token ids, the same that RewardTrainer makes of the texts."""
        chat = self.chat and self.tokenizer.chat_template is not None
        whole = user_turn(prompt, chat) + assistant_turn(completion, chat)
        if isinstance(whole, list):
            return list(
                self.tokenizer.apply_chat_template(
                    whole, tools=context.tools, tokenize=True, return_dict=True, **context.template_kwargs
                )["input_ids"]
            )
        end = self.tokenizer.eos_token or ""
        return list(self.tokenizer(whole if whole.endswith(end) else whole + end)["input_ids"])

    def _scores(self, tokens: Sequence[Sequence[int]]) -> list[float]:
        """Return the logits of right-padded sequences, at the last token that is not padding."""
        rows = [torch.tensor(ids, device=self.model.device) for ids in tokens]
        padded = pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        with torch.no_grad():
            logits = self.model(input_ids=padded, attention_mask=mask, use_cache=False).logits
        return [float(score) for score in logits[:, 0].float().cpu()]


def open_reward_model_of(
    plan: Plan, spec: RewardSpec, device: Device, below: Below | None = None
) -> RewardModel:
    """Open the model of the reward `spec`: a reward stage of the run, a folder, or a hub id.

    A hub id is opened at the revision in the recipe. Raises `InputError` as `open_reward_model` does.
    """
    folder = folder_of(plan, str(spec.model))
    if folder is not None:
        return open_reward_model(str(folder), device, at=spec.at, below=below)
    return open_reward_model(str(spec.model), device, at=spec.at, below=below, revision=spec.revision)


def open_reward_model(
    path: str, device: Device, *, at: str, below: Below | None = None, revision: str | None = None
) -> RewardModel:
    """Open the reward model in the folder or hub id `path`: full weights, or an adapter with a head.

    An adapter shares the weights that `below` returns. The random state is unchanged. Raises `InputError` for
    what cannot be loaded, is not a reward model, or has pickled weights.
    """
    refuse_pickles(path, at)
    must_be_loadable(path, revision, f"{at}/model")
    with _random_numbers_kept(device):
        try:
            found = find_adapter_config_file(path, revision=revision)
            if found is None:
                model = _classifier(path, device, revision, at)
            else:
                if not Path(path).is_dir():  # beside its config, in the hub's cache
                    cached_file(path, ADAPTER_WEIGHTS, revision=revision)
                model = _adapted(Path(found).parent, device, below, at)
            tokenizer = _tokenizer(path, revision, model, below)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(_cannot_load(path, at, error)) from error
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return RewardModel(model.eval().requires_grad_(False), tokenizer)


@contextmanager
def _random_numbers_kept(device: Device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.kind == "cuda" else []):
        yield


def _classifier(path: str, device: Device, revision: str | None, at: str) -> Any:
    """Return a sequence classifier with one label and its own head."""
    config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    architecture = (config.architectures or ["a model"])[0]
    if not architecture.endswith("ForSequenceClassification"):
        raise InputError(_no_reward_model(path, at, f"it is a {architecture}"))
    if config.num_labels != 1:
        raise InputError(_no_reward_model(path, at, f"it has {config.num_labels} labels, not one"))
    return _loaded(path, device, revision)


def _loaded(path: str, device: Device, revision: str | None = None) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        path,
        revision=revision,
        num_labels=1,
        dtype=torch.float32 if device.is_cpu else "auto",
        device_map={"": device.place},
        use_safetensors=True,
        trust_remote_code=False,
    )


def _adapted(folder: Path, device: Device, below: Below | None, at: str) -> Any:
    """Return the adapter of `folder`, with its head, over the weights in its config."""
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError(_no_reward_model(str(folder), at, f"there is no {ADAPTER_WEIGHTS}"))
    with safe_open(folder / ADAPTER_WEIGHTS, "pt") as file:
        if not any(name.split(".")[-2] in HEADS for name in file.keys()):  # noqa: SIM118  # no mapping
            raise InputError(_no_reward_model(str(folder), at, "the adapter has no score head"))
    weights = adapter_weights(folder, read_json(folder / "adapter_config.json"))
    refuse_pickles(weights, at)
    base = below(weights) if below is not None else None
    model = classifier_over(base) if base is not None and base.path == weights else None
    return PeftModel.from_pretrained(model or _loaded(weights, device), folder)


def _tokenizer(path: str, revision: str | None, model: Any, below: Below | None) -> Any:
    """Return the tokenizer beside the weights; for an adapter without one, its base's."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError):
        if not isinstance(model, PeftModel):
            raise
        weights = model.active_peft_config.base_model_name_or_path
        base = below(weights) if below is not None else None
        if base is not None and base.path == weights:
            tokenizer = copy.deepcopy(base.tokenizer)
        else:
            tokenizer = AutoTokenizer.from_pretrained(weights, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _no_reward_model(path: str, at: str, why: str) -> Diagnostic:
    return Diagnostic(
        "not-a-reward-model",
        f"{_words(path)} is not a reward model: {why}",
        pointer=join(at, "model"),
        hint="a reward model is a sequence classifier with one label, or a stage with the method reward",
    )


def _cannot_load(path: str, at: str, error: Exception) -> Diagnostic:
    return Diagnostic(
        "cannot-load-model",
        f"the reward model {_words(path)} cannot be loaded: {first_line(error)}",
        pointer=join(at, "model"),
        hint="a folder with config.json or adapter_config.json, tokenizer and *.safetensors, or a hub id",
    )


def _words(path: str) -> str:
    return shown(Path(path)) if exists(Path(path)) else path
