"""A hub repository: whether it exists and is readable, the commit of a revision, its files."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ptspec.hub.cache import DATASET
from ptspec.hub.connection import TIMEOUT, VALID


class Refusal(Enum):
    """Why the hub refuses a repository."""

    NO_REPOSITORY = "no repository"
    NO_REVISION = "no revision"
    NO_ACCESS = "no access"


class Refused(Exception):
    """The hub has no such repository or revision, or denies access; `words` is its own message."""

    def __init__(self, refusal: Refusal, words: str = "") -> None:
        super().__init__(refusal.value)
        self.refusal, self.words = refusal, words


@dataclass(frozen=True)
class Repository:
    """A repository at one commit; `card` is the metadata of its README."""

    name: str
    kind: str
    commit: str
    files: tuple[str, ...]
    card: Mapping[str, Any]


def look(name: str, revision: str | None, kind: str) -> Repository:
    """Query the hub; answers are reused for a while.

    Raises `Refused`, and what huggingface_hub raises if there is no answer.
    """
    from huggingface_hub import constants

    return _asked(constants.ENDPOINT, name, revision, kind, int(time.monotonic()) // VALID)


@functools.lru_cache(maxsize=64)
def _asked(endpoint: str, name: str, revision: str | None, kind: str, period: int) -> Repository:
    """Query the hub. Exceptions are not cached: the next call asks again."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi(endpoint=endpoint)
    try:
        ask = api.dataset_info if kind == DATASET else api.model_info
        info = ask(name, revision=revision, timeout=TIMEOUT)
        if info.gated:
            api.auth_check(name, repo_type=kind)
    except GatedRepoError as error:
        raise Refused(Refusal.NO_ACCESS, "its terms have to be accepted first") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise Refused(Refusal.NO_REPOSITORY) from error
    except RevisionNotFoundError as error:
        raise Refused(Refusal.NO_REVISION) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            words = (
                error.response.headers.get("X-Error-Message") or f"it answered {error.response.status_code}"
            )
            raise Refused(Refusal.NO_ACCESS, words) from error
        raise
    files = tuple(sibling.rfilename for sibling in info.siblings or ())
    card = vars(info.card_data) if info.card_data is not None else {}
    return Repository(name, kind, info.sha or revision or "main", files, card)
