"""Request chat completions from an OpenAI-compatible server, with retries. Independent of judges.

The key appears in no message: it is in one header of one client, and redacted from the server's texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.http_retries import RetryingClient, headers
from ptspec.recipe.json_pointer import join

if TYPE_CHECKING:
    import httpx

PATH = "/chat/completions"
LONGEST_BACKOFF = 30.0
LONGEST_WAIT = 600.0
"""Seconds. A server that asks for a longer wait is not retried."""


@dataclass(frozen=True)
class Reply:
    """`text` is None if the model refused or returned nothing. `tries` counts requests, from 1."""

    text: str | None
    tries: int


class EndpointError(StageError):
    """The server gave no reply. `passing`: a later retry may succeed."""

    def __init__(self, diagnostic: Diagnostic, passing: bool) -> None:
        super().__init__(diagnostic)
        self.passing = passing


class ChatClient(RetryingClient):
    """An OpenAI-compatible server; after `stop` requests are not retried."""

    def __init__(
        self,
        endpoint: str,
        *,
        at: str,
        key: str | None,
        timeout: float,
        retries: int,
    ) -> None:
        """Set up the client; `timeout` is in seconds. Raises `InputError` if httpx is not installed."""
        self.endpoint = endpoint.rstrip("/").removesuffix(PATH)
        self.at = at
        self.retries = retries
        super().__init__(_http_client(self.endpoint, key, timeout, at), key, LONGEST_BACKOFF)

    def __repr__(self) -> str:
        return f"ChatClient({self.endpoint!r})"

    def complete(self, model: str, messages: Sequence[Mapping[str, str]], **options: Any) -> Reply:
        """Return the server's reply to `messages`. `options` are further request fields.

        Overload (429), server errors (5xx), time-outs, lost connections and bodies that are not chat
        completions are retried, with exponential backoff and jitter or after Retry-After. Raises
        `EndpointError` after the last try, and at once for errors that a retry does not fix.
        """
        body = {"model": model, "messages": list(messages), **options}
        return Reply(*self._asked(lambda: self._attempt(body)))

    def vllm_version(self) -> str | None:
        """Return vLLM's version from /version; None for another server.

        Raises `EndpointError` if nothing answers.
        """
        return self._asked(self._version)[0]

    def _asked(self, attempt: Callable[[], str | RequestFailure | None]) -> tuple[str | None, int]:
        """Return the result of `attempt`, retried if useful, and the number of tries."""
        for tries in range(1, self.retries + 2):
            got = attempt()
            if not isinstance(got, RequestFailure):
                return got, tries
            last = tries > self.retries or not got.passing or (got.wait or 0) > LONGEST_WAIT
            if last or self.is_stopped_within(tries, got.wait):
                raise self._error(got, tries)
        raise AssertionError(f"retries is {self.retries}")

    def _attempt(self, body: Mapping[str, Any]) -> str | RequestFailure | None:
        """Return the model's text, or why there is no reply."""
        import httpx

        try:
            response = self._http.post(self.endpoint + PATH, json=body)
        except httpx.RequestError as error:
            return _connection_failure(error)
        if not response.is_success:
            return _status_failure(response)
        try:
            return _content(response)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return RequestFailure(
                "answered with something other than a chat completion", _ADDRESS, detail=response.text
            )

    def _version(self) -> str | RequestFailure | None:
        import httpx

        try:
            response = self._http.get(self.endpoint.removesuffix("/v1") + "/version")
        except httpx.RequestError as error:
            return _connection_failure(error)
        if response.status_code in (429, 502, 503, 504):
            return _status_failure(response)
        try:
            found = response.json().get("version") if response.is_success else None
        except (ValueError, AttributeError, RecursionError):
            return None
        return found if isinstance(found, str) else None

    def must_be_up(self) -> None:
        """Raise `InputError` if nothing listens at the address; calls no model."""
        import httpx

        try:
            self._http.get(self.endpoint + "/models")
        except httpx.RequestError as error:
            raise InputError(*self._error(_connection_failure(error), 1).diagnostics) from error

    def _error(self, failed: RequestFailure, tries: int) -> EndpointError:
        again = f" (asked {tries} times)" if tries > 1 else ""
        wait = failed.wait or 0.0
        later = f"; retry after {wait:,.0f} s" if wait > LONGEST_WAIT else ""
        message = f"the judge at {self.endpoint} {failed.what}{again}{later}"
        notes = (self.without_key(failed.detail, 200),) if failed.detail.strip() else ()
        place = join(self.at, "endpoint")
        diagnostic = Diagnostic("judge-endpoint", message, None, place, failed.advice, notes)
        return EndpointError(diagnostic, failed.passing)


@dataclass(frozen=True)
class RequestFailure:
    """Why there is no reply, a hint, and whether a retry may succeed.

    `detail`: the server's own message; `wait`: seconds that it asks to wait.
    """

    what: str
    advice: str
    passing: bool = True
    detail: str = ""
    wait: float | None = None


_ADDRESS = "the endpoint is the address before /chat/completions, such as http://localhost:8000/v1"
_ADVICE = {
    401: 'the key is missing or wrong: "api_key_env" names the environment variable that holds it',
    403: "the key may not use this model",
    404: f'{_ADDRESS}; "model" is what the server calls the model',
    408: 'raise "timeout", or lower "max_concurrency"',
    429: 'lower "max_concurrency", or raise "retries"; then the same command resumes the run',
}


def _status_failure(response: httpx.Response) -> RequestFailure:
    status = response.status_code
    passing = status in (408, 409, 425, 429) or status >= 500
    advice = "look into the server's own log; then the same command resumes the run" if passing else _ADDRESS
    what = f"answered {status} {response.reason_phrase}".rstrip()
    wait = _retry_after(response.headers.get("retry-after"))
    return RequestFailure(what, _ADVICE.get(status, advice), passing, response.text, wait)


def _connection_failure(error: httpx.RequestError) -> RequestFailure:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return RequestFailure("did not answer in time", _ADVICE[408])
    what = f"cannot be reached: {error or type(error).__name__}"
    return RequestFailure(
        what, "is the server running, and is this its address? The same command resumes the run"
    )


def _content(response: httpx.Response) -> str | None:
    """Return the reply's text, None for a refusal; raises various errors for a malformed completion."""
    content = response.json()["choices"][0]["message"].get("content")
    return content if isinstance(content, str) else None


def _retry_after(header: str | None) -> float | None:
    """Return the seconds to wait, from a number or a date; None without the header."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except (ValueError, TypeError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
        seconds = (when - datetime.now(timezone.utc)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _http_client(endpoint: str, key: str | None, timeout: float, at: str) -> httpx.Client:
    try:
        import httpx
    except ImportError:
        message = "a judge behind an endpoint needs httpx, which is not installed"
        hint = 'pip install "ptspec[judge]"'
        raise InputError(
            Diagnostic("missing-package", message, pointer=join(at, "endpoint"), hint=hint)
        ) from None
    try:
        httpx.URL(endpoint)
    except httpx.InvalidURL as error:
        message = f"the endpoint is not an address: {error}"
        raise InputError(
            Diagnostic("wrong-judge", message, pointer=join(at, "endpoint"), hint=_ADDRESS)
        ) from None
    return httpx.Client(headers=headers(key), timeout=timeout, limits=httpx.Limits(max_connections=None))
