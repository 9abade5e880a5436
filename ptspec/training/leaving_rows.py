"""Decode completions of TRL's online trainers with ptspec's loop instead of `generate()`.

Finished rows leave the batch, and completions of one prompt share its prefill.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import pad

from ptspec.model.decoding.adapter_rows import readable_by_rows
from ptspec.model.decoding.draws import RowDraws
from ptspec.model.decoding.loop import Choice, Prompts, decodes_by_rows, greedy
from ptspec.training.nash_md.reference import POLICY
from ptspec.training.nash_md.sampler import sample


class LeavingRows:
    """Mixin for a TRL trainer that generates.

    The completions equal those of `generate()` up to rounding, except for the random numbers: a row's depend
    on its index among those of all processes.
    """

    args: Any
    model: Any
    model_wrapped: Any
    accelerator: Any
    generation_config: Any
    generation_kwargs: Any
    eos_token_ids: list[int]
    state: Any
    _batch: tuple[int, ...] | None = None
    use_vllm: bool
    use_transformers_continuous_batching = False
    is_fsdp_enabled: bool
    _dist: Any
    _tokenizer: Any
    pad_to_multiple_of: int | None

    def _completions(self, prompt_ids: list[list[int]], images: Any, fields: Any) -> list[list[int]] | None:
        """Return the token ids after each prompt; None if TRL samples by other means or rows cannot leave."""
        elsewhere = self.use_vllm or self.use_transformers_continuous_batching
        policy = self.accelerator.unwrap_model(self.model)
        if elsewhere or images is not None or fields or not decodes_by_rows(policy, self.generation_config):
            return None
        synced = self._is_synced()
        is_adapter = isinstance(policy, PeftModel)
        plain = is_adapter and policy.active_adapters == [POLICY] and readable_by_rows(policy, [POLICY])
        with self._generating():
            tokens = sample(
                policy.get_base_model() if is_adapter and not synced else policy,
                self._padded(prompt_ids),
                self.generation_config,
                synced=synced,
                adapters=(POLICY, None) if plain else None,
                choice=self._choice(len(prompt_ids)),
            )
        return until_end(tokens, self.eos_token_ids)

    def _choice(self, *kinds: int) -> Choice:
        """Return the token sampler of a batch with so many rows of each kind, one kind after another."""
        if not self.generation_config.do_sample:
            return greedy
        batch, process = self._next_batch(), self.accelerator.process_index
        return RowDraws(
            [(*batch, kind, process * rows + row) for kind, rows in enumerate(kinds) for row in range(rows)]
        )

    def _next_batch(self) -> tuple[int, ...]:
        """Return a unique key of a batch.

        The seed, the step before which it is sampled, training or evaluation, and the number of batches
        before.
        """
        now = (self.args.seed, self.state.global_step, int(self.model.training))
        if self._batch is None or self._batch[:-1] != now:
            self._batch = (*now, 0)
        else:
            self._batch = (*now, self._batch[-1] + 1)
        return self._batch

    def _is_synced(self) -> bool:
        """Whether processes must stay in step because each holds a shard of the model."""
        sharded = self._dist.is_zero3 or self.is_fsdp_enabled
        return bool(sharded and self.accelerator.num_processes > 1)

    @contextmanager
    def _generating(self) -> Iterator[None]:
        """The model as TRL generates with it: unwrapped, shards gathered, no gradient checkpointing."""
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            yield

    def _padded(self, prompt_ids: list[list[int]]) -> Prompts:
        ids = [torch.tensor(row, device=self.accelerator.device) for row in prompt_ids]
        return Prompts(
            pad(ids, self._tokenizer.pad_token_id, "left", self.pad_to_multiple_of),
            pad([torch.ones_like(row) for row in ids], 0, "left", self.pad_to_multiple_of),
        )


def until_end(completions: Tensor, end_ids: list[int]) -> list[list[int]]:
    """Return the tokens of each row up to its first end token, inclusive."""
    rows = []
    ends = torch.isin(completions, torch.tensor(end_ids, device=completions.device))
    for tokens, is_end in zip(completions.tolist(), ends.tolist(), strict=True):
        rows.append(tokens[: is_end.index(True) + 1] if True in is_end else tokens)
    return rows
