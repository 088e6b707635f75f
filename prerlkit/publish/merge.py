"""All stages in one 16-bit model: streamed tensor by tensor from the 16-bit base, rounded once, and proved.

Nothing is merged into 4-bit weights: a run on an NF4 base is merged into the 16-bit files that the base was made from.
The distance from the 4-bit policy is measured and recorded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

import prerlkit
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.files import new_folder, write_json
from prerlkit.paths import user_path
from prerlkit.policy.layout import TensorGroup
from prerlkit.policy.tokens import load_tokenizer
from prerlkit.policy.weights import INDEX, Weights
from prerlkit.publish import fold, proof
from prerlkit.publish.allowed import allow_model
from prerlkit.publish.four_bit import FourBit, four_bit_difference
from prerlkit.publish.leaks import check_inside
from prerlkit.publish.proof import MergeProof
from prerlkit.publish.space import check_space, disk_advice
from prerlkit.publish.streamed import StreamedModel
from prerlkit.recipe.dtype import Dtype
from prerlkit.runs.trained import TrainedRun

Gguf = Literal["bf16", "q8_0"]
Report = Callable[[str], None]

RECORD = "merge.json"
"""File next to the weights, with the merged run and the proof."""
SHARD_BYTES = 2 << 30
"""Bytes of one weight file; one is held in memory while it is written."""

_COPIED = ("*.json", "*.jinja", "*.model", "*.txt", "*.py", "LICENSE*", "NOTICE*")
_NOT_COPIED = ("*.index.json", "config.json", "README*", RECORD, "adapter_config.json")


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged model.

    Attributes:
        folder: load it with `AutoModelForCausalLM.from_pretrained(folder)`.
        proof: measured before the folder got its name.
        four_bit: the 4-bit policy against this model; None for a 16-bit run.
        gguf: the GGUF file in it, where one was asked for.
    """

    folder: Path
    proof: MergeProof
    four_bit: FourBit | None
    gguf: Path | None


def merge(
    run: str | Path,
    output: str | Path | None = None,
    *,
    base: str | None = None,
    dtype: Dtype | None = None,
    lora_scale: float = 1.0,
    gguf: Gguf | None = None,
    checkpoint: bool = False,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    trust: bool = False,
    report: Report = lambda line: None,
) -> Merged:
    """Write the policy of a run as one model, and prove that it is that policy.

    Args:
        run: a run folder.
        output: the new folder; `<run>/merged` when None.
        base: place of the 16-bit base, if it is not the recipe's.
        dtype: of the result; the recipe's model.dtype when None.
        lora_scale: multiplies the adapters; 1 is the policy that was trained.
        gguf: also write a GGUF file of that kind.
        trust: allow the code that comes with the model; see `prerlkit.trust`.
        checkpoint: take an unfinished run as it was at its last checkpoint.
        overwrite: replace an earlier merge in `output`.
        report: receives a line about each step.

    Raises:
        UsageError: not a finished run, an `output` that exists, a scale that means nothing.
        PrerlkitError: no base, another base, a full disk, or a merge that fails its proof; then no file is left.
    """
    trained = TrainedRun.open(user_path(run), checkpoint=checkpoint, weights=True)
    allow_model(trained, base, trust)
    folder = user_path(output) if output else trained.folder / "merged"
    _check(trained, folder, lora_scale, overwrite)
    source = trained.resolve_base(base, report)
    model = trained.recipe.model
    original = StreamedModel(source, model.trust_remote_code)
    plan = _MergePlan.make(original, original.with_adapters(trained.parts, lora_scale), dtype or model.dtype)
    _check_disk(plan, folder, gguf)
    with disk_advice(folder), new_folder(folder) as work:
        report(f"merging {len(plan.folds.factors)} weights of {plan.bytes / 2**30:.2f} GiB into {folder}")
        _write_weights(plan, work, shard_bytes)
        _write_rest(plan, work)
        report("proving: logits of live policy, base, rounded base and merged model in float32")
        merged = StreamedModel(work, model.trust_remote_code)
        tokens = proof.probe_tokens(load_tokenizer(str(source)), trained.files.samples)
        proven = _prove(plan, merged, tokens)
        four_bit = file = None
        if model.quantization != "none":
            report("measuring the 4-bit policy against the merged model")
            four_bit = four_bit_difference(model, plan.live, tokens, merged.read)
        if gguf:
            from prerlkit.publish.gguf_file import write_gguf

            report(f"writing and loading back GGUF {gguf}")
            file = write_gguf(work, trained.recipe.name, gguf, tokens)
        write_json(work / RECORD, _record(trained, plan, proven, four_bit, file))
    return Merged(folder, proven, four_bit, folder / file.path.name if file else None)


@dataclass(frozen=True)
class _MergePlan:
    """Everything that is decided before a byte is written.

    Attributes:
        base: the model as it was before training.
        live: the policy: the base with the run's adapters on it.
        kind: the dtype of the result.
    """

    base: StreamedModel
    live: StreamedModel
    folds: fold.Folds
    kind: Dtype
    _last: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, base: StreamedModel, live: StreamedModel, kind: Dtype) -> _MergePlan:
        model, stack = base.empty(), live.stack()
        configs = [stack.config(part.name) for part in live.parts]
        made = fold.folds(live.parts, model, configs, base.read.names, live.lora_scale)
        for name in made.factors:
            base.read.check_reversible(base.read.group(name))
        return cls(base, live, made, kind)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.kind)
        return dtype

    @property
    def weights(self) -> Weights:
        return self.base.weights

    @property
    def parameters(self) -> int:
        return sum(self.weights.size(name)[0] for name in self.weights.names)

    @property
    def bytes(self) -> int:
        return sum(self.size(name) for name in self.weights.names)

    def size(self, name: str) -> int:
        count, kept = self.weights.size(name)
        return count * (self.dtype if kept.is_floating_point else kept).itemsize

    def merged(self, name: str) -> Tensor:
        """Return the tensor for the output files: folded in float32, rounded once."""
        weight = self._folded(name)
        if not weight.is_floating_point():
            return weight
        result = weight.to(self.dtype)
        if not torch.isfinite(result).all():
            raise PrerlkitError(
                f"{name} does not fit into {self.dtype}: it has values that are not finite.",
                "Use --dtype bfloat16 or float32. If that fails too, the adapter holds NaN: use an earlier checkpoint.",
            )
        return result.contiguous()

    @cached_property
    def _changed(self) -> dict[str, TensorGroup]:
        """The groups that adapters change, by the names of their tensors in the files."""
        groups = {id(group): group for group in map(self.base.read.group, self.folds.factors)}
        return {name: group for group in groups.values() for name in group.files}

    def _folded(self, name: str) -> Tensor:
        """Return a tensor of the files with its adapters in it; float32 where there are any."""
        group = self._changed.get(name)
        if group is None:
            return self.weights(name)
        if self._last.get("group") is not group:  # the other tensors of a group are written next
            read = self.base.read
            folded = {target: self.folds(target, read(target)) for target in read.targets(group)}
            self._last.update(group=group, tensors=read.revert(group, folded))
        tensor: Tensor = self._last["tensors"][name]
        return tensor


def _write_weights(plan: _MergePlan, work: Path, shard_bytes: int) -> None:
    """Write the shards one after the other, and their index where there are several."""
    shards = list(_shards(plan, shard_bytes))
    index: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        several = f"model-{number:05}-of-{len(shards):05}.safetensors"
        file = several if len(shards) > 1 else "model.safetensors"
        save_file({name: plan.merged(name) for name in names}, work / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(names, file))
    if len(shards) > 1:
        write_json(work / INDEX, {"metadata": {"total_size": plan.bytes}, "weight_map": index})


def _shards(plan: _MergePlan, limit: int) -> Iterator[list[str]]:
    held: list[str] = []
    size = 0
    for name in plan.weights.names:
        if held and size + plan.size(name) > limit:
            yield held
            held, size = [], 0
        held.append(name)
        size += plan.size(name)
    yield held


def _write_rest(plan: _MergePlan, work: Path) -> None:
    """Write config, tokenizer, chat template, generation config and licence as the base has them."""
    source = plan.base.folder
    for pattern in _COPIED:
        for file in source.glob(pattern):
            if file.is_file() and not any(file.match(no) for no in _NOT_COPIED):
                check_inside(file, source)
                shutil.copyfile(file, work / file.name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    for key in ("quantization_config", "_name_or_path", "torch_dtype"):
        config.pop(key, None)
    write_json(work / "config.json", {**config, "dtype": plan.kind})


def _prove(plan: _MergePlan, merged: StreamedModel, tokens: tuple[Tensor, Tensor]) -> MergeProof:
    """Measure whether `merged` is the policy. Raises PrerlkitError when it is not."""
    base, live = plan.base, plan.live
    proven = proof.compare(
        dtype=plan.kind,
        live=live.logits(tokens),
        merged=merged.logits(tokens),
        base=base.logits(tokens),
        rounded=base.logits(tokens, proof.rounded(live.live_weights(), plan.dtype)),
        noisy=live.logits(tokens, proof.shaken(base.read, plan.dtype, plan.folds.factors.__contains__)),
    )
    if proven.failure:
        raise PrerlkitError(f"Refused, and nothing was written: {proven.failure}.", proven.advice)
    return proven


def _check_disk(plan: _MergePlan, folder: Path, gguf: Gguf | None) -> None:
    """Raise PrerlkitError when the result does not fit on the disk, or the model can't be a GGUF file."""
    gguf_bytes = 0
    if gguf:
        from prerlkit.publish.gguf_file import check_writable, size_of

        check_writable(plan.base.folder)
        gguf_bytes = size_of(plan.parameters, gguf)
    check_space(folder, plan.bytes + gguf_bytes)


def _check(run: TrainedRun, folder: Path, lora_scale: float, overwrite: bool) -> None:
    if lora_scale <= 0:
        raise UsageError("--lora-scale must be above 0.", "1 is the policy that was trained.")
    if lora_scale != 1 and run.dora:
        raise UsageError("--lora-scale has no meaning for DoRA, whose adapter also sets the norms.", "Leave it out.")
    if folder.exists() and not ((folder / RECORD).is_file() and overwrite):
        if (folder / RECORD).is_file():
            raise UsageError(f"{folder} holds a merged model.", "Add --overwrite to replace it, or choose another -o.")
        if not folder.is_dir() or any(folder.iterdir()):
            raise UsageError(f"{folder} exists and holds something else.", "Choose another -o.")


def _record(
    run: TrainedRun, plan: _MergePlan, proven: MergeProof, four_bit: FourBit | None, file: Any
) -> dict[str, Any]:
    return {
        "run": run.recipe.name,
        "policy": run.fingerprint,
        "steps": run.step,
        "complete": run.complete,
        "base": {"id": run.model.id, "revision": run.model.revision},
        "dtype": plan.kind,
        "lora_scale": plan.live.lora_scale,
        "stages": [part.name for part in run.parts],
        "proof": proven.to_json(),
        "four_bit": four_bit.to_json() if four_bit else None,
        "gguf": file.to_json() if file else None,
        "prerlkit": prerlkit.__version__,
    }
