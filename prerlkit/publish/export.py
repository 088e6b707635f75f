"""The policy as adapters for other programs: one for all stages, and one per stage; loaded back and checked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from safetensors.torch import save_file
from torch import Tensor

import prerlkit
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.files import new_folder, write_json
from prerlkit.paths import user_path
from prerlkit.policy.adapters import ROOT
from prerlkit.policy.gguf import quiet_transformers
from prerlkit.policy.identity import write_base
from prerlkit.policy.save import WEIGHTS, concatenate, renamed
from prerlkit.policy.tokens import load_tokenizer
from prerlkit.publish import proof
from prerlkit.publish.allowed import allow_model
from prerlkit.publish.proof import rms
from prerlkit.publish.reduce import Reduction, reduced
from prerlkit.publish.space import disk_advice
from prerlkit.publish.streamed import StreamedModel
from prerlkit.rollout.vllm import RANKS
from prerlkit.runs.trained import Part, TrainedRun

Report = Callable[[str], None]

RECORD = "export.json"
VLLM = "vllm"
"""Subfolder of an adapter under the names that vLLM knows."""
TOLERANCE = 0.01
"""Bound of the loaded adapter's distance from the live stack, as a share of the stack's distance from the base, in
float32. `proof.FLOOR` is added for sums in another order. Ours."""
LEAST_VLLM_RANK = 8
"""The smallest --max-lora-rank that is advised; vLLM takes 1 too."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An exported adapter, loaded by `how`, against the policy (root mean squares of float32 logits).

    Attributes:
        error: distance from the policy; `effect` is the policy's distance from the base.
        note: the fault of this way of loading; "" when there is none.
    """

    how: str
    error: float
    effect: float
    note: str = ""

    def __str__(self) -> str:
        return (
            self.note or f"{self.how}: {self.error:.2g} from the live policy, which is {self.effect:.2g} from the base"
        )


@dataclass(frozen=True, slots=True)
class Exported:
    """Exported adapters.

    Attributes:
        folder: of the one adapter; `stages` are folders of each stage's own, bottom first.
        vllm: the same adapter for vLLM: `folder`, or a folder in it where vLLM has other names for the layers.
        checks: each way of loading, measured.
    """

    folder: Path
    vllm: Path
    stages: tuple[Path, ...]
    rank: int
    checks: tuple[LoadedModel, ...]
    reduction: Reduction | None
    dora: bool = False


def export(
    run: str | Path,
    output: str | Path | None = None,
    *,
    base: str | None = None,
    rank: int | None = None,
    stages: bool = False,
    checkpoint: bool = False,
    overwrite: bool = False,
    trust: bool = False,
    report: Report = lambda line: None,
) -> Exported:
    """Write the policy of a run as one PEFT adapter, and load it back by PEFT and by transformers.

    Args:
        run: a run folder.
        output: the new folder; `<run>/export` when None.
        base: place of the base, if it is not the recipe's.
        rank: reduce the adapter to this rank by SVD; the loss is measured.
        stages: also write each stage's own adapter, in `<output>/stages/<stage>`.
        trust: allow the code that comes with the model; see `prerlkit.trust`.
        checkpoint: take an unfinished run as it was at its last checkpoint.
        overwrite: replace an earlier export in `output`.

    Raises:
        UsageError: not a finished run, an `output` that exists, a rank that is no reduction.
        PrerlkitError: no base, another base, a full disk, or an adapter that isn't the policy; then no file is left.
    """
    trained = TrainedRun.open(user_path(run), checkpoint=checkpoint, weights=True)
    allow_model(trained, base, trust)
    folder = user_path(output) if output else trained.folder / "export"
    if folder.exists() and not ((folder / RECORD).is_file() and overwrite):
        what = "an export; add --overwrite to replace it" if (folder / RECORD).is_file() else "something else"
        raise UsageError(f"{folder} exists and holds {what}.", "Or choose another folder with -o.")
    source = trained.resolve_base(base, report)
    reference = _Reference(trained, source)
    config, tensors, reduction = reference.config, reference.tensors, None
    if rank is not None:
        config, tensors, reduction = reduced(config, tensors, rank)
    with disk_advice(folder), new_folder(folder) as work:
        _write(work, config, tensors, trained, source)
        report("checking: loaded by PEFT and by transformers, against the live policy in float32")
        checks = reference.check(work, trained.parts, config, reduced=reduction is not None)
        served = _write_for_vllm(work, config, tensors, trained, source, reference.served_names(tensors))
        made = []
        if stages:
            for part, own in zip(trained.parts, reference.configs, strict=True):
                place = work / "stages" / part.name
                _write(place, own, part.tensors, trained, source)
                reference.check(place, (part,), own, reduced=False)
                made.append(folder / "stages" / part.name)
        write_json(work / RECORD, _record(trained, config.r, checks, reduction, served))
    return Exported(folder, folder / served, tuple(made), config.r, checks, reduction, bool(config.use_dora))


def vllm_rank(rank: int) -> int | None:
    """Return the --max-lora-rank that serves an adapter of this rank; None when vLLM takes no adapter so large."""
    return next((allowed for allowed in RANKS if allowed >= max(rank, LEAST_VLLM_RANK)), None)


class _Reference:
    """The live policy, the one adapter that equals it, and the base's logits for comparison."""

    def __init__(self, run: TrainedRun, source: Path) -> None:
        self._base = StreamedModel(source, run.recipe.model.trust_remote_code)
        self._tokens = proof.probe_tokens(load_tokenizer(str(source)), run.files.samples)
        self._base_logits = self._base.logits(self._tokens)
        stack = self._base.with_adapters(run.parts).stack()
        self.configs: list[LoraConfig] = [stack.config(part.name) for part in run.parts]
        self.config: LoraConfig = self.configs[0]
        self.tensors: dict[str, Tensor] = run.parts[0].tensors
        if len(run.parts) > 1:
            self.config, self.tensors = concatenate(self.configs, [part.tensors for part in run.parts])

    def served_names(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """Return vLLM's names of the adapted layers, where they differ."""
        return self._base.read.stored_modules(sorted({key.removeprefix(ROOT).split(".lora_")[0] for key in tensors}))

    def check(
        self, folder: Path, parts: tuple[Part, ...], config: LoraConfig, *, reduced: bool
    ) -> tuple[LoadedModel, ...]:
        """Load the adapter in `folder` in both ways. Raise PrerlkitError when it doesn't equal `parts`."""
        live = self._base.with_adapters(parts).logits(self._tokens)
        effect = rms(live - self._base_logits)
        allowed = proof.FLOOR * rms(live) + TOLERANCE * effect
        logits, tokens = self._base.logits, self._tokens
        by_peft = logits(tokens, load=lambda model: PeftModel.from_pretrained(model, str(folder), torch_device="cpu"))
        by_transformers = logits(tokens, load=lambda model: _load_adapter(model, folder))
        apart = rms(by_peft - by_transformers)
        checks = [
            LoadedModel("PEFT", rms(by_peft - live), effect),
            LoadedModel("transformers", rms(by_transformers - live), effect),
        ]
        if config.use_dora and not apart <= allowed:
            note = "transformers' load_adapter loses DoRA's norms and gives another model: load this adapter with PEFT"
            checks[1] = LoadedModel("transformers", checks[1].error, effect, note)
        for one in checks:
            within = apart <= allowed if reduced else one.error <= allowed
            if not within and not one.note:  # not a number is within no bound
                raise PrerlkitError(
                    f"Refused, and nothing was written: loaded by {one.how}, the adapter is {one.error:.2g} from the "
                    f"policy ({allowed:.2g} is allowed).",
                    "The base's files and the adapter don't belong together, or this is a bug: please report it.",
                )
        return tuple(checks)


def _load_adapter(model: Any, folder: Path) -> None:
    with quiet_transformers():  # its report of missing weights: the logits decide
        model.load_adapter(str(folder))


def _write(folder: Path, config: LoraConfig, tensors: dict[str, Tensor], run: TrainedRun, source: Path) -> None:
    """Write one PEFT folder, with the identity of its base."""
    config = copy.copy(config)
    config.base_model_name_or_path, config.revision = run.recipe.model.id, run.model.revision
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_base(folder, run.recipe.model.id, run.model.revision, source)


def _write_for_vllm(
    folder: Path,
    config: LoraConfig,
    tensors: dict[str, Tensor],
    run: TrainedRun,
    source: Path,
    names: dict[str, str],
) -> str:
    """Write the adapter under vLLM's names, if they differ; return the path of vLLM's adapter in `folder`.

    transformers loads the language model of a checkpoint of text and images, and vLLM 0.32 serves the whole. It drops
    an adapter with the names of the language model alone, without an error.
    """
    if not names:
        return ""
    _write(folder / VLLM, *renamed(config, tensors, names), run, source)
    return VLLM


def _record(
    run: TrainedRun, rank: int, checks: tuple[LoadedModel, ...], reduction: Reduction | None, vllm: str
) -> dict[str, Any]:
    return {
        "run": run.recipe.name,
        "policy": run.fingerprint,
        "steps": run.step,
        "complete": run.complete,
        "stages": [part.name for part in run.parts],
        "rank": rank,
        "reduction": reduction.to_json() if reduction else None,
        "vllm": vllm,
        "loaded": {one.how: {"error": one.error, "effect": one.effect, "note": one.note} for one in checks},
        "prerlkit": prerlkit.__version__,
    }
