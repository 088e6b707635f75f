"""The files of one target's evaluation: what it is, and a line for each problem, appended as it is judged."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.evaluation.attempts import Attempt, Problem, found
from prerlkit.evaluation.request import Kind
from prerlkit.files import write_json
from prerlkit.runs.jsonl import append_lines, group_line, keep_lines, read_json, read_lines
from prerlkit.types import Group, Prompt, Verdict

KINDS: tuple[Kind, ...] = ("greedy", "sampled")


class Records:
    """One target's folder.

    Args:
        folder: `<output>/<target>`; made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples = folder / "samples.jsonl"
        self._identity = folder / "evaluation.json"

    def open(self, identity: Mapping[str, Any], *, overwrite: bool, report: Callable[[str], None]) -> None:
        """Continue the evaluation that is in the folder if it is the same one, else begin it.

        Args:
            report: receives a sentence about a damaged file; its problems are judged again.

        Raises:
            UsageError: the folder holds another evaluation, or something else.
        """
        wanted = json.loads(json.dumps(identity))
        if overwrite and self._identity.is_file():
            shutil.rmtree(self.folder)
        if self._identity.is_file():
            before = read_json(self._identity)
            if changed := sorted(key for key in {*before, *wanted} if before.get(key) != wanted.get(key)):
                raise UsageError(
                    f"{self.folder} holds an evaluation with another {', '.join(changed)}.",
                    "Choose another --output, or add --overwrite to start from scratch.",
                )
            keep_lines(self.samples, lambda line: line["kind"] in KINDS and "prompt_id" in line, report)
            return
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UsageError(f"{self.folder} exists and holds no evaluation.", "Choose another --output.")
        write_json(self._identity, wanted)

    def append(self, kind: Kind, groups: Sequence[Group]) -> None:
        append_lines(self.samples, [{"kind": kind, **group_line(group)} for group in groups])

    def read(self, kind: Kind) -> dict[str, Problem]:
        """Return the problems that are judged already, by id."""
        lines = (line for line in read_lines(self.samples) if line["kind"] == kind)
        return {line["prompt_id"]: _problem(line) for line in lines}


def _problem(line: Mapping[str, Any]) -> Problem:
    return Problem(line["prompt_id"], tuple(_attempt(completion) for completion in line["completions"]))


def _attempt(line: Mapping[str, Any]) -> Attempt:
    verdict = Verdict(line["score"], line["passed"], line["reason"], line["details"])
    return Attempt(line["passed"], line["tokens"], line["truncated"], line["text"], found(verdict))


def fingerprint(prompts: Sequence[Prompt]) -> str:
    """Changes when a prompt, its order or a gold answer does."""
    digest = hashlib.sha256()
    for prompt in prompts:
        row = json.dumps([prompt.id, prompt.text, list(prompt.token_ids), prompt.answer, dict(prompt.row)], default=str)
        digest.update(row.encode() + b"\n")
    return digest.hexdigest()
