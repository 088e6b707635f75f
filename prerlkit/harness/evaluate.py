"""Evaluates targets one after another: what is judged already is kept, weights are loaded only for the rest."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prerlkit.errors import UsageError
from prerlkit.files import write_json
from prerlkit.harness import load
from prerlkit.harness.load import LocalTarget
from prerlkit.harness.records import KINDS, Kind, Records, fingerprint
from prerlkit.harness.results import Results, TargetResult, compare, result
from prerlkit.harness.settings import EvalSettings
from prerlkit.harness.targets import Target
from prerlkit.harness.task import Task
from prerlkit.policy import source
from prerlkit.rollout.protocol import Sampling
from prerlkit.seeds import derive
from prerlkit.train.sample_and_judge import Judge, sample_and_judge
from prerlkit.types import Prompt
from prerlkit.verify.pool.runner import Runner

OnMessage = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""(what, completions finished, of how many)"""


def _silent(*_: Any) -> None:
    pass


def evaluate(
    targets: Sequence[Target],
    task: Task,
    settings: EvalSettings,
    output: Path,
    *,
    overwrite: bool = False,
    on_message: OnMessage = _silent,
    progress: Progress = _silent,
    report: source.Report = None,
) -> Results:
    """Evaluate `targets` on `task`, into `output`: a folder of samples for each, and results.json.

    Called again with the same arguments it goes on where it stopped.

    Raises:
        UsageError: two targets are the same, `output` is a file, or a folder holds another evaluation.
        PrerlkitError: a model, data set or adapter can't be had or doesn't fit.
    """
    slugs = [target.slug for target in targets]
    if not targets or len(set(slugs)) < len(slugs):
        raise UsageError("Give at least one target, and none twice.")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file.", "Choose a folder with --output.")
    with Runner(task.verifiers, reward=task.reward, gates=task.gates, folder=task.folder) as judge:
        session = _Session(task, settings, judge, on_message, progress, report)
        found = tuple(session.one(target, Records(output / target.slug), overwrite) for target in targets)
    results = Results(task.name, settings, found, compare(found))
    write_json(output / "results.json", results.to_json())
    return results


@dataclass(frozen=True, slots=True)
class _Session:
    """What is the same for every target."""

    task: Task
    settings: EvalSettings
    judge: Judge
    on_message: OnMessage
    progress: Progress
    report: source.Report

    def one(self, target: Target, records: Records, overwrite: bool) -> TargetResult:
        """Judge what isn't judged yet, and estimate."""
        begun = time.perf_counter()
        local = load.resolve(target, self.report)
        every, told = self.task.prompts(local.tokens.tokenizer)
        prompts = every[: self.settings.problems or None]
        for line in (f"{target.text}: {local.resolved.origin}", *local.notes, *told):
            self.on_message(line)
        records.open(self._identity(local, every), overwrite=overwrite)
        left = self._left(prompts, records)
        if left:
            self._judge(local, left, records)
        chosen = {prompt.id for prompt in prompts}
        judged = {kind: records.read(kind) for kind in KINDS}
        greedy, sampled = ([p for p in judged[kind].values() if p.id in chosen] for kind in KINDS)
        seconds = time.perf_counter() - begun if left else 0.0
        return result(target.text, greedy, sampled, self.settings, seconds=seconds, notes=local.notes)

    def _identity(self, local: LocalTarget, prompts: Sequence[Prompt]) -> dict[str, Any]:
        # What may differ when an evaluation goes on: how many problems, which estimates, how much at once.
        free = {"problems", "pass_at", "majority_at", "max_sequences"}
        return {
            "target": local.target.text,
            **local.identity(),
            "task": self.task.name,
            "verifiers": [use.model_dump(mode="json") for use in self.task.verifiers],
            "prompts": fingerprint(prompts),
            "settings": self.settings.model_dump(mode="json", exclude=free),
        }

    def _passes(self) -> Iterator[tuple[Kind, Sampling]]:
        """Greedy answers and samples apart, each with batches that fit it."""
        settings, seed = self.settings, derive(self.settings.seed, "evaluation")  # as a run's own evaluations draw
        limit = settings.max_new_tokens
        if settings.greedy:
            yield "greedy", Sampling(1, limit, None, seed)
        if settings.samples:
            yield (
                "sampled",
                Sampling(settings.samples, limit, settings.temperature, seed, settings.top_p, settings.top_k),
            )

    def _left(self, prompts: Sequence[Prompt], records: Records) -> list[tuple[Kind, Sampling, list[Prompt]]]:
        left = []
        for kind, sampling in self._passes():
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
            self.on_message(slow)
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
                torch.cuda.empty_cache()  # the next target wants the room

    def _tell(self, what: str, before: int, total: int, done: int, _: int) -> None:
        self.progress(what, before + done, total)

    def _warn_of_short_context(self, config: Any, left: Sequence[tuple[Kind, Sampling, list[Prompt]]]) -> None:
        window = config.to_dict().get("max_position_embeddings")
        longest = max(len(prompt.token_ids) for _, _, prompts in left for prompt in prompts)
        if window and longest + self.settings.max_new_tokens > window:
            self.on_message(
                f"the longest prompt ({longest:,} tokens) and {self.settings.max_new_tokens:,} new ones exceed the "
                f"model's context of {window:,}: what it writes past that means little"
            )
