"""An evaluation of a run that a stop request interrupts: what is judged is kept, and a resumed run samples the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prerlkit.evaluation.request import EvalSettings
from prerlkit.rollout.protocol import Sampling
from prerlkit.runs.writer import RunWriter
from prerlkit.train.sample_and_judge import SamplingInterrupted
from prerlkit.types import Completion, Group, Prompt, Verdict

SampleAndJudge = Callable[[Sequence[Prompt], Sampling], Sequence[Group]]


@dataclass(slots=True)
class EvaluationPart:
    """The judged groups of one evaluation, by how they were drawn and by prompt.

    Args:
        sample_and_judge: raises SamplingInterrupted with the groups that are judged.
        writer: the run's; the groups go into its folder.
        name, step: of the evaluation.
        identity: of its settings and prompts.
    """

    sample_and_judge: SampleAndJudge
    writer: RunWriter
    name: str
    step: int
    identity: str
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)

    def restore(self, saved: Mapping[str, Any], prompts: Sequence[Prompt]) -> int:
        """Take the groups of an interrupted evaluation, if it is this one; return how many."""
        if (saved.get("name"), saved.get("step"), saved.get("identity")) != (self.name, self.step, self.identity):
            return 0
        by_id = {prompt.id: prompt for prompt in prompts}
        for kind, groups in saved["groups"].items():
            self.groups[kind] = {key: _group(by_id[key], judged) for key, judged in groups.items()}
        return sum(len(groups) for groups in self.groups.values())

    def sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Group]:
        """Return the groups of all prompts; only those that are missing are sampled.

        Raises:
            SamplingInterrupted: what is judged is in the run folder.
        """
        known = self.groups.setdefault("greedy" if sampling.temperature is None else "sampled", {})
        missing = [prompt for prompt in prompts if prompt.id not in known]
        try:
            if missing:
                known |= {group.prompt.id: group for group in self.sample_and_judge(missing, sampling)}
        except SamplingInterrupted as interrupted:
            known |= {group.prompt.id: group for group in interrupted.groups}
            self.writer.write_evaluation_part(self._to_json())
            raise
        return [known[prompt.id] for prompt in prompts]

    def _to_json(self) -> dict[str, Any]:
        groups = {
            kind: {
                key: [
                    {"completion": asdict(completion), "verdict": {**asdict(verdict), "details": dict(verdict.details)}}
                    for completion, verdict in zip(group.completions, group.verdicts, strict=True)
                ]
                for key, group in judged.items()
            }
            for kind, judged in self.groups.items()
        }
        return {"name": self.name, "step": self.step, "identity": self.identity, "groups": groups}


def identity(settings: EvalSettings, prompts: Sequence[Prompt]) -> str:
    """Return a digest that changes with the settings of an evaluation and with its prompts."""
    asked = [settings.model_dump(mode="json"), [[prompt.id, prompt.token_ids, prompt.answer] for prompt in prompts]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _group(prompt: Prompt, judged: Sequence[Mapping[str, Any]]) -> Group:
    completions = tuple(_completion(one["completion"]) for one in judged)
    return Group(prompt, completions, tuple(Verdict(**one["verdict"]) for one in judged))


def _completion(values: Mapping[str, Any]) -> Completion:
    lists = {key: tuple(values[key]) for key in ("token_ids", "logprobs")}
    return Completion(**{**values, **lists})
