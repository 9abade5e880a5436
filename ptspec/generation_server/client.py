"""Requests to a plain `vllm serve`: completions of token ids, log-probabilities, adapters by name.

Prompts and completions are token ids both ways, so that nothing is tokenised twice. Adapters loaded at
runtime need `--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in the server's environment.

`prompt_logprobs` is not used: with `--enable-lora`, vLLM 0.32 crashes on two such requests at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptspec.generation_server.requests import Requests, ServerError

COMPLETIONS = "/v1/completions"
RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
HOW_TO_SERVE = f"{RUNTIME_LORA}=1 vllm serve MODEL --enable-lora --max-lora-rank RANK"


@dataclass(frozen=True)
class ServedModel:
    """A model name that the server accepts.

    `root`: the path or hub id it was loaded from; `parent`: the base model of an adapter, None for a whole
    model, which alone has a `max_length` (tokens).
    """

    name: str
    root: str
    parent: str | None = None
    max_length: int | None = None


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters under vLLM's names; `top_k` 0 means all tokens.

    `more`: further request fields, which take precedence. The model's own generation config is not used.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop_token_ids: tuple[int, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """Return the request fields."""
        own = {name: value for name, value in vars(self).items() if name != "more"}
        return {**own, "stop_token_ids": list(self.stop_token_ids), **self.more}


@dataclass(frozen=True)
class Completion:
    """A completion; `token_ids` includes the token that ended it, if any (`stopped`).

    `logps`: log-probability of each token in nats, NaN if the server returns none; of the model's own
    distribution, or of the sampled one with `--logprobs-mode processed_logprobs`.
    """

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    stopped: bool


class GenerationServer:
    """A `vllm serve`. Thread-safe. Requests raise `ServerError`."""

    def __init__(
        self,
        base_url: str,
        *,
        at: str,
        key: str | None = None,
        timeout: float = 600.0,
        retries: int = 5,
        concurrency: int = 64,
    ) -> None:
        """Set up the client; no request is sent.

        `at`: the JSON pointer of the recipe that names the server; `timeout`: seconds per request;
        `concurrency`: rows requested at a time. Raises `InputError` if httpx is not installed or `base_url`
        is not an address.
        """
        self.requests = Requests(base_url, at=at, key=key, timeout=timeout, retries=retries)
        self.concurrency = concurrency

    def __repr__(self) -> str:
        return f"GenerationServer({self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The server's address, without a trailing slash."""
        return self.requests.base_url

    def must_be_up(self, wait: float = 0.0) -> None:
        """Wait up to `wait` seconds for the server's health check.

        Raises `ServerError` if it is still down then, or answers something else.
        """
        until = time.monotonic() + wait
        while True:
            try:
                self.requests.get("/health", retries=0)
            except ServerError as error:
                starting = error.status is None or error.status >= 500
                if not starting or time.monotonic() >= until:
                    raise
                time.sleep(min(1.0, max(0.0, until - time.monotonic())))
            else:
                return

    def models(self) -> tuple[ServedModel, ...]:
        """Return the names the server accepts now: its model under each name, and its adapters.

        Raises `ServerError` if it cannot be reached or is not a vLLM server.
        """
        found = self.requests.get("/v1/models")
        try:
            return tuple(
                ServedModel(
                    one["id"], one.get("root") or one["id"], one.get("parent"), one.get("max_model_len")
                )
                for one in found["data"]
            )
        except (LookupError, TypeError, AttributeError):
            raise self._no_vllm("/v1/models", found) from None

    def model(self) -> ServedModel:
        """Return the whole model under its first name. Raises `ServerError` if the server has none."""
        whole = [one for one in self.models() if one.parent is None]
        if not whole:
            raise self.requests.failure("serves no model", HOW_TO_SERVE)
        return whole[0]

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        model: str,
        sampling: Sampling,
        seeds: Sequence[int] | None = None,
    ) -> list[Completion]:
        """Return one completion of each of `prompts` (token ids) by `model`, a name the server accepts.

        A row with a seed gets the same completion whatever is requested beside it, up to rounding in the
        server's batches. The first failure ends all and raises `ServerError`.
        """
        own = {**sampling.fields(), "logprobs": 0}
        bodies = [self._body(model, prompt, own) for prompt in prompts]
        for body, seed in zip(bodies, seeds or [], strict=seeds is not None):
            body["seed"] = seed
        return [self._completion(choice) for choice in self._all(bodies)]

    def load_adapter(self, name: str, folder: Path | str) -> None:
        """Serve the adapter in `folder`, a path on the server's machine, as `name`, replacing that name.

        Later completions use it. A changed adapter must lie in a folder that was not loaded before: vLLM's
        prefix cache is keyed by name and folder. Raises `ServerError` with what is wrong with the server's
        options, the folder, or the adapter.
        """
        body = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        try:
            self.requests.post("/v1/load_lora_adapter", body)
        except ServerError as error:
            raise self._unloadable(error, str(folder)) from error

    def unload_adapter(self, name: str, *, retries: int | None = None) -> None:
        """Stop serving `name`; an unknown name is not an error. Raises `ServerError` otherwise."""
        try:
            self.requests.post("/v1/unload_lora_adapter", {"lora_name": name}, retries=retries)
        except ServerError as error:
            if error.status != 404:
                raise

    def close(self) -> None:
        """Close the connections."""
        self.requests.close()

    def _body(self, model: str, prompt: Sequence[int], fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": model, "prompt": list(prompt), "return_token_ids": True, **fields}

    def _all(self, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the single choice of each request, several requests at a time."""
        if not bodies:
            return []
        self.requests.resume()
        with ThreadPoolExecutor(max_workers=min(self.concurrency, len(bodies))) as pool:
            asked = [pool.submit(self._choice, body) for body in bodies]
            try:
                return [one.result() for one in asked]
            except BaseException:
                self.requests.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _choice(self, body: Mapping[str, Any]) -> Any:
        found = self.requests.post(COMPLETIONS, body)
        try:
            (choice,) = found["choices"]
        except (LookupError, TypeError, ValueError):
            raise self._no_vllm(COMPLETIONS, found) from None
        return choice

    def _completion(self, choice: Any) -> Completion:
        try:
            token_ids = tuple(int(token) for token in choice["token_ids"])
            logps = tuple(_number(value) for value in choice["logprobs"]["token_logprobs"])
            stopped = choice["finish_reason"] == "stop"
        except (LookupError, TypeError, ValueError):
            raise self._no_vllm(COMPLETIONS, choice) from None
        if len(logps) != len(token_ids):
            raise self._no_vllm(COMPLETIONS, choice)
        return Completion(token_ids, logps, stopped)

    def _no_vllm(self, path: str, found: Any) -> ServerError:
        what = f"answered {path} with something else than `vllm serve` does"
        return self.requests.failure(
            what, "token ids and log-probabilities are asked for; vLLM gives them", None, str(found)
        )

    def _unloadable(self, error: ServerError, folder: str) -> ServerError:
        said = next(iter(error.diagnostics[0].notes), "")
        if error.status == 404 and "adapter" not in said:
            what = "takes no adapters while it runs"
            hint = f"start it so: {HOW_TO_SERVE}"
        elif error.status == 404:
            what = f"sees no adapter in {folder}"
            hint = "the folder has to be one that the server's machine sees at the same path"
        elif error.status in (400, 500):
            what = f"does not take the adapter in {folder}"
            hint = "its --max-lora-rank has to be at least the adapter's r, and its model the adapter's base"
        else:
            return error
        return self.requests.failure(what, hint, error.status, said.removeprefix("it said: "))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
