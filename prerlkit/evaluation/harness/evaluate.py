"""Evaluate targets one after another. Judged problems are kept; weights are loaded only for the others."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prerlkit.errors import UsageError
from prerlkit.evaluation.harness import load
from prerlkit.evaluation.harness.load import LocalTarget
from prerlkit.evaluation.harness.plan import EvalPlan
from prerlkit.evaluation.harness.records import KINDS, Kind, Records, fingerprint
from prerlkit.evaluation.harness.results import Results, TargetResult, compare, result
from prerlkit.evaluation.harness.targets import Target
from prerlkit.evaluation.harness.task import Task
from prerlkit.evaluation.request import EvalSettings
from prerlkit.files import write_json
from prerlkit.policy.context import context_note
from prerlkit.rollout.protocol import Sampling
from prerlkit.train.callbacks import Callback
from prerlkit.train.sample_and_judge import Judge, sample_and_judge
from prerlkit.types import Prompt
from prerlkit.verify.pool.runner import Runner


def evaluate(plan: EvalPlan, output: Path, callback: Callback, *, overwrite: bool = False) -> Results:
    """Evaluate a plan's targets into `output`: a folder of samples for each, and results.json.

    Called again with the same arguments it continues where it stopped.

    Args:
        callback: receives messages and progress.

    Raises:
        UsageError: two targets are the same, `output` is a file, or a folder holds another evaluation.
        PrerlkitError: a model, data set or adapter can't be had or doesn't fit.
    """
    targets, task = plan.targets, plan.task
    slugs = [target.slug for target in targets]
    if not targets or len(set(slugs)) < len(slugs):
        raise UsageError("Give at least one target, and none twice.")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file.", "Choose a folder with --output.")
    with Runner(task.verifiers, reward=task.reward, gates=task.gates, folder=task.folder) as judge:
        session = _Session(task, plan.settings, judge, callback)
        found = tuple(session.one(target, Records(output / target.slug), overwrite) for target in targets)
    results = Results(task.name, plan.settings, found, compare(found))
    write_json(output / "results.json", results.to_json())
    return results


@dataclass(frozen=True, slots=True)
class _Session:
    """The parts that are the same for every target."""

    task: Task
    settings: EvalSettings
    judge: Judge
    callback: Callback

    def one(self, target: Target, records: Records, overwrite: bool) -> TargetResult:
        """Answer and judge the remaining problems of one target; return its estimates."""
        begun = time.perf_counter()
        local = load.resolve(target, self.callback.on_message)
        every, told = self.task.prompts(local.tokens.tokenizer)
        prompts = every[: self.settings.problems or None]
        for line in (f"{target.text}: {local.resolved.origin}", *local.notes, *told):
            self.callback.on_message(line)
        records.open(self._identity(local, every), overwrite=overwrite, report=self.callback.on_message)
        left = self._left(prompts, records)
        if left:
            self._judge(local, left, records)
        chosen = {prompt.id for prompt in prompts}
        judged = {kind: records.read(kind) for kind in KINDS}
        greedy, sampled = ([p for p in judged[kind].values() if p.id in chosen] for kind in KINDS)
        seconds = time.perf_counter() - begun if left else 0.0
        return result(target.text, greedy, sampled, self.settings, seconds=seconds, notes=local.notes)

    def _identity(self, local: LocalTarget, prompts: Sequence[Prompt]) -> dict[str, Any]:
        # These may differ when an evaluation is continued: how many problems, which estimates, how much at once.
        free = {"problems", "pass_at", "majority_at", "max_sequences"}
        return {
            "target": local.target.text,
            **local.identity(),
            "task": self.task.name,
            "verifiers": [use.model_dump(mode="json") for use in self.task.verifiers],
            "prompts": fingerprint(prompts),
            "settings": self.settings.model_dump(mode="json", exclude=free),
        }

    def _left(self, prompts: Sequence[Prompt], records: Records) -> list[tuple[Kind, Sampling, list[Prompt]]]:
        left = []
        for kind, sampling in self.settings.passes():
            done = records.read(kind)
            if rest := [prompt for prompt in prompts if prompt.id not in done]:
                left.append((kind, sampling, rest))
        return left

    def _judge(self, local: LocalTarget, left: Sequence[tuple[Kind, Sampling, list[Prompt]]], records: Records) -> None:
        """Answer and judge, in batches of what is decoded at once; each is on the disk before the next begins."""
        policy = load.load(local)
        self._warn_of_short_context(policy.model.config, left)
        engine, slow = policy.engine(self.settings.max_sequences)
        if slow:
            self.callback.on_message(slow)
        try:
            for kind, sampling, prompts in left:
                total, done = len(prompts) * sampling.samples, 0
                width = max(1, self.settings.max_sequences // sampling.samples)
                ordered = sorted(prompts, key=lambda prompt: len(prompt.token_ids))  # of like length together
                for start in range(0, len(ordered), width):
                    batch = ordered[start : start + width]
                    tell = partial(self._tell, f"{local.target.slug[-24:]} {kind}", done, total)
                    records.append(kind, sample_and_judge(engine, self.judge, batch, sampling, tell).groups)
                    done += len(batch) * sampling.samples
        finally:
            engine.close()
            del engine, policy
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # for the next target

    def _tell(self, what: str, before: int, total: int, done: int, _: int) -> None:
        self.callback.progress(what, before + done, total)

    def _warn_of_short_context(self, config: Any, left: Sequence[tuple[Kind, Sampling, list[Prompt]]]) -> None:
        longest = max(len(prompt.token_ids) for _, _, prompts in left for prompt in prompts)
        if note := context_note(config.to_dict(), longest, self.settings.max_new_tokens):
            self.callback.on_message(note)
