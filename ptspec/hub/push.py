"""Upload a folder as a commit of a model repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptspec.diagnostics import Diagnostic, StageError, first_line
from ptspec.hub.connection import obstacle, reason

TOKEN = "log in: `hf auth login`, or HF_TOKEN with a token that may write"


@dataclass(frozen=True)
class Pushed:
    """The commit's URL, and whether its repository was created for it."""

    url: str
    is_new: bool


def push(folder: Path, repository: str, *, message: str, private: bool, revision: str | None) -> Pushed:
    """Upload the files of `folder` as one commit on `revision` (a branch; None: main).

    A missing `repository` is created, private or public; an existing one keeps its visibility. Raises
    `StageError` if the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    if (why := obstacle()) is not None:
        raise StageError(_refused(repository, f"the hub is not asked ({why})", None))
    # Its HTTP client differs by version; the client's errors are bases of its own.
    transport: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, ValueError)
    api = HfApi()
    try:
        is_new = not api.repo_exists(repository)
        api.create_repo(repository, private=private if is_new else None, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        made = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, revision=revision
        )
    except LocalTokenNotFoundError:
        raise StageError(_refused(repository, "no token is stored here", TOKEN)) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        hint = TOKEN if status in (401, 403) else None
        raise StageError(_refused(repository, error.server_message or reason(error), hint)) from None
    except transport as error:
        raise StageError(_refused(repository, first_line(error), None)) from None
    return Pushed(made.commit_url, is_new)


def _refused(repository: str, why: str, hint: str | None) -> Diagnostic:
    return Diagnostic("not-pushed", f"nothing was pushed to {repository}: {why}", hint=hint)
