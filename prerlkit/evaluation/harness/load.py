"""Load a target as a policy: its base, with the stages of a run or a PEFT adapter on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.evaluation.harness.targets import Target
from prerlkit.policy import source
from prerlkit.policy.identity import resolve_for
from prerlkit.policy.policy import Policy, load_policy
from prerlkit.policy.tokens import Tokens, end_token_ids, load_tokenizer, resolve_start_token


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A target whose files are on this machine and whose base is the right one.

    Attributes:
        resolved: its base.
        notes: what a person should know about where its base was found.
    """

    target: Target
    resolved: source.ResolvedModel
    tokens: Tokens
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


def resolve(target: Target, report: source.Report = None) -> LocalTarget:
    """Fetch what isn't on this machine and check that the base is the adapter's own. No weights are loaded.

    Raises:
        PrerlkitError: the base can't be had, isn't the one that the adapter was trained on, or has no tokenizer.
    """
    if target.adapter or target.run:
        resolved, note = resolve_for(target.text, target.model, target.base, report)
    else:
        resolved, note = source.resolve(target.model, report=report), ""
    # A trained adapter may come with its own tokenizer (an end token, a chat template).
    own = target.adapter if target.adapter and (target.adapter / "tokenizer_config.json").is_file() else None
    tokenizer = load_tokenizer(str(own or resolved.path), trust_remote_code=target.model.trust_remote_code)
    try:
        start = resolve_start_token(target.model.start_token, tokenizer)
    except UsageError:
        start = None  # to answer it needs none
    tokens = Tokens(tokenizer, end_token_ids(resolved.path, tokenizer, target.model.end_tokens), start)
    unchecked = target.run.note if target.run else ""
    return LocalTarget(target, resolved, tokens, tuple(filter(None, (note, unchecked))))


def load(local: LocalTarget) -> Policy:
    """Load the weights and put the adapters on, all frozen. Always through transformers, whatever trained them.

    Raises:
        PrerlkitError: they can't be read, or don't fit the base.
    """
    target = local.target
    model = target.model.model_copy(update={"backend": "transformers"})
    policy = load_policy(local.resolved.path, model, local.tokens)
    if target.run:
        for part in target.run.parts:
            with _adapter_errors(target.run.files.adapters / part.name):
                policy.adapters.restore(part.name, part.settings, part.tensors)
    elif target.adapter:
        with _adapter_errors(target.adapter):
            policy.adapters.adopt(target.adapter)
    policy.base.requires_grad_(False)
    policy.base.eval()
    return replace(policy, notes=local.notes)


@contextmanager
def _adapter_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise PrerlkitError(
            f"The adapter {where} does not fit the base, or can't be read: {str(error).splitlines()[0]}",
            "Check that base and adapter belong together and that the file is whole.",
        ) from error
