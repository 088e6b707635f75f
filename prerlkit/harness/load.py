"""A target's weights: the base, with a run's stages or a PEFT adapter on it, ready to answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from prerlkit.errors import PrerlkitError
from prerlkit.harness.targets import Target
from prerlkit.policy import source
from prerlkit.policy.adapters import AdapterStack, compute_in_base_dtype
from prerlkit.policy.base import head_is_plain, load_base, pick_device
from prerlkit.policy.identity import resolve_for
from prerlkit.policy.save import WEIGHTS
from prerlkit.policy.tokens import end_token_ids, load_tokenizer
from prerlkit.rollout.generate import local_engine
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.types import Prompt


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A target whose files are on this machine and whose base is the right one.

    Attributes:
        resolved: its base.
        notes: lines for a person.
    """

    target: Target
    resolved: source.ResolvedModel
    tokenizer: Any
    end_ids: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """The adapters' weights, in the order of the stack."""
        if self.target.adapter:
            return sorted(self.target.adapter.glob("adapter_model.*"))
        return [file for _, file in self.target.run.adapters] if self.target.run else []

    def identity(self) -> dict[str, Any]:
        """What makes two evaluations those of one policy."""
        digest = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        model = self.target.model
        return {
            "base": model.id,
            "revision": self.resolved.revision,
            "dtype": model.dtype,
            "quantization": model.quantization,
            "adapters": digest.hexdigest() if self.files else None,
        }


class LoadedPolicy:
    """A policy in memory.

    Attributes:
        model: the transformers model; calling it applies the adapters.
        tokenizer: its tokenizer.
        notes: lines for a person.
    """

    def __init__(self, local: LocalTarget, model: Any, *, plain_head: bool) -> None:
        self.model = model
        self.tokenizer = local.tokenizer
        self.notes = local.notes
        self._end_ids = local.end_ids
        self._plain_head = plain_head

    def engine(self, max_sequences: int) -> tuple[RolloutEngine, str | None]:
        """What samples from it, and a note where that is a slow one; see `rollout.generate.local_engine`."""
        return local_engine(self.model, self.tokenizer, self._end_ids, max_sequences, plain_head=self._plain_head)

    def answer(
        self,
        question: str,
        *,
        samples: int = 1,
        temperature: float | None = None,
        max_new_tokens: int = 256,
        seed: int = 0,
        chat: bool = True,
    ) -> list[str]:
        """Completions of one question.

        Args:
            question: the user's turn, or with `chat` false the text to go on from.
            temperature: None takes the likeliest token each time.
        """
        text, special = question, not chat
        if chat:
            turns = [{"role": "user", "content": question}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tuple(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        sampling = Sampling(samples, max_new_tokens, temperature, seed)
        engine, _ = self.engine(max(1, samples))
        found = engine.generate([Prompt("question", text, ids)], sampling)
        by_number = {number: completion.text for _, number, completion in found}
        return [by_number[number] for number in range(samples)]


def resolve(target: Target, report: source.Report = None) -> LocalTarget:
    """Fetch what isn't here and check that the base is the adapter's own. Loads no weights.

    Raises:
        PrerlkitError: the base can't be had, isn't the one that the adapter was trained on, or has no tokenizer.
    """
    if target.adapter or target.run:
        resolved, note = resolve_for(target.text, target.model, target.base, report)
    else:
        resolved, note = source.resolve(target.model, report=report), ""
    # A trained adapter may come with a tokenizer of its own (an end token, a chat template).
    own = target.adapter if target.adapter and (target.adapter / "tokenizer_config.json").is_file() else None
    where = str(own or resolved.path)
    tokenizer = load_tokenizer(where, trust_remote_code=target.model.trust_remote_code)
    return LocalTarget(target, resolved, tokenizer, end_token_ids(resolved.path, tokenizer), (note,) if note else ())


def load(local: LocalTarget) -> LoadedPolicy:
    """Load the weights and put the adapters on.

    Raises:
        PrerlkitError: they can't be read, or don't fit the base.
    """
    target = local.target
    base = load_base(local.resolved.path, target.model, pick_device(target.model.device))
    plain = head_is_plain(base, local.end_ids[0])
    if target.run:
        stack = AdapterStack(base)
        for stage, file in target.run.adapters:
            with _adapter_errors(file):
                tensors = load_file(file)
                stack.fresh(stage.name, stage.adapter, seed=0)
                stack.load_state(stage.name, tensors)
    elif target.adapter:
        _put_on(base, target.adapter)
    base.requires_grad_(False)
    base.eval()
    return LoadedPolicy(local, base, plain_head=plain)


def _put_on(base: Any, folder: Path) -> None:
    """An adapter of PEFT's. Every one of its tensors must find its place: PEFT itself would go on with some."""
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict

    with _adapter_errors(folder):
        peft = PeftModel.from_pretrained(base, str(folder))
        if (folder / WEIGHTS).is_file():
            given, taken = set(load_file(folder / WEIGHTS)), set(get_peft_model_state_dict(peft))
            if given != taken:
                raise ValueError(f"{len(given ^ taken)} tensors have no counterpart, such as {min(given ^ taken)}")
    config = peft.peft_config["default"]
    if config.peft_type == "LORA" and not config.use_dora:
        compute_in_base_dtype(base, "default")


@contextmanager
def _adapter_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise PrerlkitError(
            f"The adapter {where} does not fit the base, or can't be read: {str(error).splitlines()[0]}",
            "Check that base and adapter belong together and that the file is whole.",
        ) from error
