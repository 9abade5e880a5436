"""HTTP requests to one server, with retries. Independent of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.http_retries import RetryingClient, headers

if TYPE_CHECKING:
    import httpx

LONGEST_BACKOFF = 8.0
"""Longest wait between two tries of a request, in seconds."""
CONNECT_TIMEOUT = 10.0
"""Seconds until an address that does not answer counts as unreachable."""


class ServerError(StageError):
    """The server cannot be reached, or answers with an error. `status`: the HTTP status, if any."""

    def __init__(self, diagnostic: Diagnostic, status: int | None = None) -> None:
        super().__init__(diagnostic)
        self.status = status


@dataclass(frozen=True)
class _RequestFailure:
    """Why a request failed, and whether a retry may succeed."""

    what: str
    hint: str
    passing: bool
    status: int | None = None
    detail: str = ""


class Requests(RetryingClient):
    """Requests to a generation server, as JSON."""

    def __init__(self, base_url: str, *, at: str, key: str | None, timeout: float, retries: int) -> None:
        """Set up the client. `at`: JSON pointer of the server in the recipe; `timeout`: seconds per request.

        Raises `InputError` if httpx is not installed, or `base_url` is not an address.
        """
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self.at = at
        self._retries = retries
        super().__init__(_http_client(self.base_url, key, timeout, at), key, LONGEST_BACKOFF)

    def get(self, path: str, *, retries: int | None = None) -> Any:
        """Return the JSON of the response; None for an empty body. Raises `ServerError`."""
        return self._ask("GET", path, None, self._retries if retries is None else retries)

    def post(self, path: str, body: Mapping[str, Any], *, retries: int | None = None) -> Any:
        """Like `get` with a JSON body; returns the response's text if it is not JSON.

        Raises `ServerError`.
        """
        return self._ask("POST", path, body, self._retries if retries is None else retries)

    def failure(self, what: str, hint: str, status: int | None = None, detail: str = "") -> ServerError:
        """Return an error of this server: `what` it did, and what to do."""
        detail = self.without_key(detail, 300)
        notes = (f"it said: {detail}",) if detail else ()
        message = f"the generation server at {self.base_url} {what}"
        return ServerError(Diagnostic("generation-server", message, None, self.at, hint, notes), status)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, retries: int) -> Any:
        tries = 0
        while True:
            tries += 1
            got = self._attempt(method, path, body)
            if not isinstance(got, _RequestFailure):
                return got
            if tries > retries or not got.passing or self.is_stopped_within(tries):
                again = f" (asked {tries} times)" if tries > 1 else ""
                raise self.failure(got.what + again, got.hint, got.status, got.detail)

    def _attempt(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        import httpx

        try:
            response = self._http.request(method, self.base_url + path, json=body)
        except httpx.TimeoutException:
            return _RequestFailure("did not answer in time", "look into the server's own log", passing=True)
        except httpx.RequestError as error:
            hint = "is the server running, and is this its address? The same command resumes the run"
            return _RequestFailure(f"cannot be reached: {error or type(error).__name__}", hint, passing=True)
        if not response.is_success:
            return _refused(response, path)
        try:
            return response.json() if response.content else None
        except ValueError:
            return response.text


def _refused(response: httpx.Response, path: str) -> _RequestFailure:
    status = response.status_code
    passing = status in (408, 409, 425, 429, 502, 503, 504)
    hint = {
        401: 'the server requires a key: "api_key_env" names the environment variable that holds it',
        403: 'the server requires another key: "api_key_env" names the environment variable that holds it',
        404: "is this the address of a `vllm serve`?",
    }.get(status, "look into the server's own log")
    what = f"answered {status} {response.reason_phrase} to {path}".replace("  ", " ")
    return _RequestFailure(what, hint, passing, status, _said(response))


def _said(response: httpx.Response) -> str:
    """Return the server's own error message."""
    try:
        found = response.json()
    except ValueError:
        return response.text
    error = found.get("error", found) if isinstance(found, dict) else found
    return str(error.get("message", error) if isinstance(error, dict) else error)


def is_address(text: str) -> bool:
    """Return whether `text` is a server's address without user or password."""
    try:
        parts = urlsplit(text)
        whole = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        return False
    return whole and not ("@" in parts.netloc or parts.query or parts.fragment)


def _http_client(base_url: str, key: str | None, timeout: float, at: str) -> httpx.Client:
    try:
        import httpx
    except ImportError:
        message = "a generation server is asked over HTTP, which needs httpx, and that is not installed"
        hint = 'pip install "ptspec[vllm]"'
        raise InputError(Diagnostic("missing-package", message, pointer=at, hint=hint)) from None
    if not is_address(base_url):
        message = "this is not the address of a server"
        hint = "such as http://localhost:8000"
        raise InputError(Diagnostic("generation-server", message, pointer=at, hint=hint))
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    timeouts = httpx.Timeout(timeout, connect=CONNECT_TIMEOUT)
    return httpx.Client(headers=headers(key), timeout=timeouts, limits=limits)
