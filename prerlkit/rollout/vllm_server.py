"""A `vllm serve` that runs already, on this machine or another: rollouts over HTTP, adapters through its LoRA API."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib import error, request

from prerlkit.errors import EngineError, UsageError
from prerlkit.rollout.protocol import Sampling, Scores
from prerlkit.rollout.vllm import NAME, Answers, GoneError, Request, Sampled, check_finished

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 1800.0
"""Seconds for one completion, which may wait in the server's queue behind many others."""
KEY = "VLLM_API_KEY"
COMPLETIONS = "/v1/completions"
_SHOWN = 500  # bytes of a refusal
ABSENT = "/prerlkit/no-such-adapter"
"""A folder that no machine has."""


_MOST = 1 << 28
"""Bytes of an answer. The prompt's log-probs of a long sequence take some megabytes."""


class _NoRedirect(request.HTTPRedirectHandler):
    """Follows no redirect: the key and the prompts go only to the host in the recipe."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


_OPENER = request.build_opener(_NoRedirect)


class ServerVllm:
    """A `Client` of a running server.

    Args:
        address: `http://host:8000`.
        connections: completions asked for at once; the server batches them.
        serve: the command that starts a suitable server, for messages.
    """

    def __init__(self, address: str, *, connections: int, serve: str) -> None:
        self._address = address.rstrip("/")
        self._serve = serve
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix="vllm")
        self._loaded = False
        self._model = self._base_model()

    def check_tokenizer(self, texts: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        """Raise UsageError when the server tokenizes a (text, token ids) pair differently."""
        for text, ids in texts:
            body = {"model": self._model, "prompt": text, "add_special_tokens": False}
            if tuple(self._post("/tokenize", body)["tokens"]) != ids:
                raise UsageError(
                    f"The tokenizer of the server at {self._address} ({self._model}) is not the recipe's: it makes "
                    f"other tokens of {text[:60]!r}.",
                    f"Start it with the recipe's model: {self._serve}",
                )

    def check_logprobs(self, token_ids: tuple[int, ...], *, plain: bool) -> None:
        """Raise UsageError when the server's log-probs are not of the distribution that it draws from.

        Args:
            plain: whether the recipe samples at temperature 1 without top_p and top_k: then any server's are right.
        """
        if plain:
            return
        body = {**self._body(token_ids, None), "max_tokens": 1, "temperature": 1.0, "top_k": 1}
        # If the distribution is cut to one token, its log-prob under the cut distribution is 0.
        only = self._complete(body)["logprobs"]["token_logprobs"][0]
        if abs(only) > 1e-3:
            raise UsageError(
                f"The server at {self._address} gives log-probs at temperature 1, and the recipe samples differently.",
                f"Start it with processed log-probs: {self._serve}",
            )

    def check_adapters(self) -> None:
        """Raise EngineError when the server takes no adapters while it runs: it must report a missing adapter."""
        try:
            self._load(f"{NAME}-check", ABSENT)
        except _UnseenError:
            return

    def wake(self) -> None:
        """Do nothing: the server has separate memory."""

    def rest(self) -> None:
        """Do nothing: the server has separate memory."""

    def load(self, folder: Path) -> None:
        """See `Client.load`."""
        self._load(NAME, str(folder))
        self._loaded = True

    def sample(self, requests: Sequence[Request], sampling: Sampling, end_ids: Sequence[int]) -> Answers:
        """See `Client.sample`."""
        common = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": 0.0 if sampling.temperature is None else sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "stop_token_ids": list(end_ids),
            "ignore_eos": True,
        }
        waiting = {}
        for index, one in enumerate(requests):
            body = {**self._body(one.token_ids, one.salt), **common, "seed": one.seed}
            waiting[self._pool.submit(self._complete, body)] = index
        try:
            for answer in as_completed(waiting):
                choice = answer.result()
                yield Sampled(waiting[answer], tuple(choice["token_ids"]), tuple(choice["logprobs"]["token_logprobs"]))
        finally:
            for answer in waiting:
                answer.cancel()

    def score(self, sequences: Sequence[tuple[int, ...]], *, adapter: bool) -> dict[str, Scores]:
        """See `RemoteEngine.score`."""
        scores = []
        for ids in sequences:
            body = {**self._body(ids, None), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
            body["model"] = NAME if adapter else self._model
            places = self._complete(body)["prompt_logprobs"][1:]
            scores.append([place[str(token)]["logprob"] for place, token in zip(places, ids[1:], strict=True)])
        return {f"the vLLM server at {self._address}": scores}

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._loaded:
            try:
                self._post("/v1/unload_lora_adapter", {"lora_name": NAME}, text=True)
            except EngineError:
                return  # the server is gone, and the adapter with it

    def _load(self, name: str, folder: str) -> None:
        body = {"lora_name": name, "lora_path": folder, "load_inplace": True}
        try:
            self._post("/v1/load_lora_adapter", body, text=True)
        except _NotFoundError as missing:
            if folder in missing.message:  # it names what it looked for; an unknown address doesn't
                raise _UnseenError(
                    f"The server at {self._address} doesn't see the adapter's folder {folder}.",
                    "Set rollout.vllm.shared_folder to a folder that this machine and the server's see under one path.",
                ) from missing
            raise EngineError(
                f"The server at {self._address} takes no adapters while it runs.", f"Start it so: {self._serve}"
            ) from missing

    def _base_model(self) -> str:
        """Return the name under which the server serves its base. Raise EngineError when it is out of reach."""
        models = self._send("/v1/models", None, CONNECT_SECONDS)["data"]
        return str(next(m["id"] for m in models if not m.get("parent")))

    def _body(self, token_ids: tuple[int, ...], salt: str | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": NAME if self._loaded else self._model,
            "prompt": list(token_ids),
            "logprobs": 0,
            "return_token_ids": True,
            "add_special_tokens": False,
        }
        return {**body, "cache_salt": f"{os.getpid()}-{salt}"} if salt else body

    def _complete(self, body: Any) -> Any:
        """Return the completion of a request. Raise AbortedError where it was broken off."""
        choice = self._post(COMPLETIONS, body)["choices"][0]
        check_finished(choice["finish_reason"], f"The vLLM server at {self._address}")
        return choice

    def _post(self, path: str, body: Any, *, text: bool = False) -> Any:
        return self._send(path, body, ANSWER_SECONDS, text=text)

    def _send(self, path: str, body: Any, seconds: float, *, text: bool = False) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        asked = request.Request(self._address + path, data, headers)
        try:
            with _OPENER.open(asked, timeout=seconds) as answer:
                content = answer.read(_MOST + 1)
                if len(content) > _MOST:
                    raise ValueError(f"its answer is longer than {_MOST} bytes")
                return None if text else json.loads(content)
        except error.HTTPError as refusal:
            raise _refused(self._address, path, refusal) from refusal
        except (OSError, ValueError) as failure:
            raise GoneError(
                f"The vLLM server at {self._address} does not answer: {failure}",
                f"Check that it is running and that rollout.vllm.server is right. Start it with: {self._serve}. A run "
                "that had begun continues from its last checkpoint with --resume.",
            ) from failure


class _NotFoundError(EngineError):
    """The server has no such address, or the requested object doesn't exist."""


class _UnseenError(EngineError):
    """The server takes adapters, but there is none in the folder of the request."""


def _refused(address: str, path: str, refusal: error.HTTPError) -> EngineError:
    said = refusal.read(_SHOWN).decode(errors="replace")
    if 300 <= refusal.code < 400:
        said = f"it redirects to {refusal.headers.get('Location', 'nowhere')[:200]}, which is not followed"
    message = f"The vLLM server refused {address}{path} ({refusal.code}): {said}"
    if refusal.code in (401, 403):
        return EngineError(message, f"It wants a key: set {KEY}.")
    if refusal.code == 404:
        return _NotFoundError(message)
    # A completion fails so when the engine behind the server died; an adapter also when it doesn't fit the server.
    dead = refusal.code >= 500 and path == COMPLETIONS
    return (GoneError if dead else EngineError)(message, "The server's own log says more.")
