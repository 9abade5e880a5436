"""What a plain `vllm serve` is asked for: completions of token ids, log-probabilities, adapters by name.

Prompts and completions are token ids both ways, so that nothing is tokenised twice. The server needs no
options for that; for adapters that come and go it runs with `--enable-lora` and
VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment.

Log-probabilities of given tokens (`prompt_logprobs`) are not asked for: with `--enable-lora` vLLM 0.32 ends
its engine on two such requests at a time.
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
    """A name that the server answers to.

    `root` is the path or hub id that it was loaded from; `parent` the model that an adapter goes over, None
    of a whole model, which alone has a `max_length` (in tokens)."""

    name: str
    root: str
    parent: str | None = None
    max_length: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How completions are sampled, under vLLM's names; `top_k` 0 takes all tokens.

    `more`: further fields of the request, which win. Whatever the model's own generation config says of these
    is not used."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop_token_ids: tuple[int, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """As fields of a request."""
        own = {name: value for name, value in vars(self).items() if name != "more"}
        return {**own, "stop_token_ids": list(self.stop_token_ids), **self.more}


@dataclass(frozen=True)
class Completion:
    """`token_ids` with the token that ended it, if one did (`stopped`).

    `logps`: of each token, in nats, NaN where the server has none; under the model's own distribution, or
    under the one that was sampled from if the server runs with `--logprobs-mode processed_logprobs`."""

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    stopped: bool


class GenerationServer:
    """One `vllm serve`. May be used from several threads at once. Its errors are `ServerError`s."""

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
        """`at` is the JSON pointer of the recipe that names the server; `timeout` a request's, in seconds;
        `concurrency`: how many rows are asked for at a time. Raises `InputError` where httpx is not installed
        or `base_url` is no address."""
        self.requests = Requests(base_url, at=at, key=key, timeout=timeout, retries=retries)
        self.concurrency = concurrency

    def __repr__(self) -> str:
        return f"GenerationServer({self.base_url!r})"

    @property
    def base_url(self) -> str:
        return self.requests.base_url

    def must_be_up(self, wait: float = 0.0) -> None:
        """Returns when the server answers that it is well.

        Raises `ServerError` where it has not after `wait` seconds, or answers something else."""
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
        """What the server answers to now: its model, under each of its names, and the adapters over it."""
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
        """The whole model, under the first of its names."""
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
        """One completion of each of `prompts` (token ids) by `model`, a name that the server answers to.

        A row with a seed gets the same completion whatever is asked beside it, up to rounding in the server's
        batches. The first failure ends all."""
        own = {**sampling.fields(), "logprobs": 0}
        bodies = [self._body(model, prompt, own) for prompt in prompts]
        for body, seed in zip(bodies, seeds or [], strict=seeds is not None):
            body["seed"] = seed
        return [self._completion(choice) for choice in self._all(bodies)]

    def load_adapter(self, name: str, folder: Path | str) -> None:
        """Serves the adapter in `folder`, a path on the server's machine, under `name`, in the place of one
        of that name. Completions asked for from now on are by it. What changed has to lie in a folder that
        was not loaded before: vLLM goes on using what it has computed of a prompt for the same name and
        folder (its prefix cache). Raises `ServerError`, which says what is wrong with the server's options,
        with the folder, or with the adapter."""
        body = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        try:
            self.requests.post("/v1/load_lora_adapter", body)
        except ServerError as error:
            raise self._unloadable(error, str(folder)) from error

    def unload_adapter(self, name: str, *, retries: int | None = None) -> None:
        """Serves `name` no longer; one that it does not serve is fine."""
        try:
            self.requests.post("/v1/unload_lora_adapter", {"lora_name": name}, retries=retries)
        except ServerError as error:
            if error.status != 404:
                raise

    def close(self) -> None:
        self.requests.close()

    def _body(self, model: str, prompt: Sequence[int], fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": model, "prompt": list(prompt), "return_token_ids": True, **fields}

    def _all(self, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The one choice that answers each request, several being asked at a time."""
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
