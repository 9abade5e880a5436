"""Fetch the small files of a hub model and the headers of its weights, but no weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ptspec.hub.connection import TIMEOUT, together
from ptspec.hub.repository import Repository

CONFIGS = ("config.json", "generation_config.json", "adapter_config.json")
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"),
    *("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt", "tekken.json"),
)

_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")

Header = Mapping[str, tuple[str, tuple[int, ...]]]
"""Data type (safetensors' name) and shape of each tensor."""


def fetch(repository: Repository, seconds: float) -> Path:
    """Return the cache folder with the config and the tokenizer files.

    They are fetched by commit, which leaves the cache's `main` as it was: a model loaded before still loads
    without a network. Raises a file's first error: `OSError`, `TimeoutError` or an error of huggingface_hub.
    """
    from huggingface_hub import hf_hub_download

    wanted = [name for name in (*CONFIGS, *TOKENIZER) if name in repository.files]
    tasks = {
        name: partial(
            hf_hub_download,
            repository.name,
            name,
            revision=repository.commit,
            repo_type=repository.kind,
            etag_timeout=TIMEOUT,
        )
        for name in wanted
    }
    outcomes = together(tasks, seconds)
    for outcome in outcomes.values():
        if isinstance(outcome, Exception):
            raise outcome
    return Path(str(outcomes[wanted[0]])).parent if wanted else Path()


def headers(repository: Repository, seconds: float) -> Header:
    """Return the tensors of all weight files, from the first bytes of each; {} without safetensors.

    Raises a file's first error, as `fetch` does.
    """
    from huggingface_hub import HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    names = [name for name in repository.files if _WEIGHTS.fullmatch(name)]
    tasks = {
        name: partial(api.parse_safetensors_file_metadata, repository.name, name, revision=repository.commit)
        for name in names
    }
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for outcome in together(tasks, seconds).values():
        if isinstance(outcome, Exception):
            raise outcome
        tensors.update({name: (one.dtype, tuple(one.shape)) for name, one in outcome.tensors.items()})
    return tensors
