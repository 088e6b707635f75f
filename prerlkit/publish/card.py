"""The model card, made from the run: the model, its training and evaluation, how to load it, what was not run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prerlkit.publish.card_data import evaluated_dataset, hub_ids, origin
from prerlkit.publish.export import vllm_rank
from prerlkit.recipe.model import PACKAGE, PYPI
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.trained import TrainedRun

Kind = Literal["adapter", "merged"]

_MARKS = re.compile(r"[\\`*\[\]<>|!~]|(?<!\w)[_#](?!\w)")
"""Characters with a meaning in Markdown or HTML."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a card that are not in the run.

    Attributes:
        base: the base's Hub id; None when it is on no Hub.
        license: of the base, as the Hub writes it; None when it is not known.
        record: export.json or merge.json of the published files.
        curves: whether there is a picture.
    """

    repo: str
    kind: Kind
    base: str | None
    license: str | None
    record: dict[str, Any]
    curves: bool


def card(run: TrainedRun, facts: Facts) -> str:
    """Return README.md: metadata as YAML, then the text."""
    parts = [
        f"# {facts.repo.rpartition('/')[2]}",
        _what(run, facts),
        "## Load it",
        _load(facts),
        "## How it was trained",
        _training(run),
        "## Results",
        _results(run, facts),
        "## Is this the policy that was trained?",
        _proof(facts),
        "## What was not run",
        _not_run(run, facts),
        "## Versions",
        _versions(run),
    ]
    return f"---\n{_metadata(run, facts)}\n---\n\n" + "\n\n".join(parts) + "\n"


def _metadata(run: TrainedRun, facts: Facts) -> str:
    from huggingface_hub import ModelCardData

    relation: dict[str, Any] = {"base_model": facts.base} if facts.base else {}
    if facts.base:
        relation["base_model_relation"] = "adapter" if facts.kind == "adapter" else "finetune"
    names = hub_ids(run.recipe)
    data = ModelCardData(
        license=facts.license,
        library_name="peft" if facts.kind == "adapter" else "transformers",
        pipeline_tag="text-generation",
        datasets=names or None,
        tags=["prerlkit", "reinforcement-learning", "rlvr", "lora"],
        model_name=facts.repo.rpartition("/")[2],
        eval_results=_index(run) or None,
        ignore_metadata_errors=True,
        **relation,
    )
    return str(data.to_yaml()).rstrip()


def _index(run: TrainedRun) -> list[Any]:
    """Return the Hub's model-index: the last evaluation's figures."""
    from huggingface_hub import EvalResult

    done = [e for e in run.evaluations if e["name"] != "before"]
    if not done:
        return []
    dataset = evaluated_dataset(run.recipe)
    figures = []
    if done[-1].get("accuracy"):
        figures.append(("accuracy", "greedy accuracy", done[-1]["accuracy"]["value"]))
    figures += [("pass@k", f"pass@{k}", value["value"]) for k, value in done[-1].get("pass_at", {}).items()]
    common: dict[str, Any] = {"task_type": "text-generation", **dataset}
    return [
        EvalResult(**common, metric_type=kind, metric_name=name, metric_value=round(value, 4))
        for kind, name, value in figures
    ]


def _what(run: TrainedRun, facts: Facts) -> str:
    form = "A LoRA adapter" if facts.kind == "adapter" else f"A merged model in {facts.record.get('dtype', '16 bit')}"
    base = f"[{facts.base}](https://huggingface.co/{facts.base})" if facts.base else base_name(run.recipe)
    stages = " → ".join(stage.name for stage in run.recipe.stages)
    about = f" {_text(run.recipe.description)}." if run.recipe.description else ""
    part = "" if run.complete else f" **This is a checkpoint of step {run.step} of an unfinished run.**"
    if (scale := facts.record.get("lora_scale", 1)) != 1:
        part += f" **Merged with {scale:g} times the trained change: not the policy that is measured below.**"
    quantized = " (trained on its 4-bit NF4 weights)" if run.recipe.model.quantization == "nf4" else ""
    return (
        f"{form} of {base}{quantized}, trained by reinforcement learning with verifiable rewards with "
        f"prerlkit.{about} Stages: {stages}.{part}"
    )


def base_name(recipe: Recipe) -> str:
    """Return a description of the base for readers, without paths of this machine."""
    if recipe.model.id.startswith(PYPI):
        return f"{_text(recipe.model.id.removeprefix(PYPI))} (a PyPI wheel)"
    if recipe.model.id.startswith(PACKAGE):
        return f"`{recipe.model.id}` (a model that comes with prerlkit)"
    return (
        "a model that is not on the Hub"
        if "/" in recipe.model.id and recipe.model.id[0] in "/~."
        else _text(recipe.model.id)
    )


def _load(facts: Facts) -> str:
    if facts.kind == "merged":
        body = f"""```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{facts.repo}", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("{facts.repo}")
```

```python
from transformers import pipeline

generate = pipeline("text-generation", "{facts.repo}")
```

```sh
vllm serve {facts.repo}
```"""
    else:
        allowed = vllm_rank(facts.record.get("rank", 1))
        place, download = facts.repo, ""
        if inside := facts.record.get("vllm"):
            name = facts.repo.rpartition("/")[2]
            place, download = f"{name}/{inside}", f"hf download {facts.repo} --local-dir {name}\n"
        serve = f"""```sh
{download}vllm serve {facts.base} --enable-lora --max-lora-rank {allowed} --lora-modules policy={place}
```"""
        body = f"""```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{facts.base}", dtype="auto")
model = PeftModel.from_pretrained(base, "{facts.repo}")
tokenizer = AutoTokenizer.from_pretrained("{facts.base}")
```

```python
model = AutoModelForCausalLM.from_pretrained("{facts.base}", dtype="auto")
model.load_adapter("{facts.repo}")
```

{serve if allowed else "vLLM takes no adapter of this rank: merge it, or reduce its rank."}"""
    return body


def _training(run: TrainedRun) -> str:
    recipe = run.recipe
    rows = ["| stage | objective | steps | learning rate | reincarnation | adapter |", "|---|---|---|---|---|---|"]
    for index, stage in enumerate(recipe.stages):
        objectives = "; ".join(f"{o.space} · {o.samples} · {o.advantage.kind} · {o.loss.kind}" for o in stage.objective)
        objectives = objectives if stage.source is None else "an adapter that was there before the run"
        lora = f"{'DoRA' if stage.adapter.dora else 'LoRA'} r={stage.adapter.rank}, alpha={stage.adapter.alpha:g}"
        over = stage.reincarnation if index else "fresh"
        rows.append(f"| {stage.name} | {objectives} | {stage.steps} | {stage.learning_rate:g} | {over} | {lora} |")
    data = _text(evaluated_dataset(recipe)["dataset_name"])
    verifiers = ", ".join(_text(use.name.rpartition("/")[2]) for use in recipe.verifiers)
    return (
        "The whole recipe is in `recipe.yaml`; `prerlkit run recipe.yaml` repeats the run.\n\n"
        + "\n".join(rows)
        + f"\n\nData: {data}. Verifier: {verifiers}. Seed: {recipe.seed}."
        + "".join(
            f" Demonstrations of stage {s.name}: {_text(origin(s.demonstrations))}."
            for s in recipe.stages
            if s.demonstrations
        )
    )


def _results(run: TrainedRun, facts: Facts) -> str:
    done = run.evaluations
    lines = []
    if done:
        lines = ["| evaluation | step | problems | greedy accuracy | pass@k |", "|---|---|---|---|---|"]
        for one in done:
            passes = ", ".join(f"pass@{k} {_percent(v)}" for k, v in one.get("pass_at", {}).items()) or "–"
            greedy = _percent(one["accuracy"]) if one.get("accuracy") else "–"
            lines.append(f"| {_text(one['name'])} | {one['step']} | {one['prompts']} | {greedy} | {passes} |")
        lines.append("\n95 % intervals in brackets: Wilson for greedy accuracy, bootstrap over problems for pass@k.")
    else:
        lines.append("No evaluation was made.")
    if facts.curves:
        lines.append("\n![training curves](curves.png)")
    return "\n".join(lines)


def _text(text: object) -> str:
    """Return text of the run as text in the card, in one line. Others may have written it."""
    return _MARKS.sub(r"\\\g<0>", " ".join(str(text).split()))


def _percent(estimate: dict[str, float]) -> str:
    return f"{100 * estimate['value']:.1f} % [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def _proof(facts: Facts) -> str:
    if facts.kind == "merged" and (proven := facts.record.get("proof")):
        text = (
            f"Checked on {proven['tokens']} tokens of probe texts, logits in float32 (root mean squares): this model "
            f"is {proven['error']:.2g} from the live policy, where rounding to {proven['dtype']} alone moves a model "
            f"by {proven['noise']:.2g}; it is {proven['distance']:.2g} from its base. "
            f"{100 * proven['share']:.1f} % of the trained change is in it."
        )
        if four := facts.record.get("four_bit"):
            text += (
                f" The run trained on 4-bit weights: that policy differs from this one by KL {four['kl']:.2g} nats a "
                f"token, and the likeliest token is the same at {100 * four['same_top']:.0f} % of the positions."
            )
        return text
    loaded = facts.record.get("loaded")
    if not loaded:
        return "The adapter has not been loaded back; pushing without `--dry-run` does that first."
    lines = [f"- {how}: {v['note'] or _distance(v)}" for how, v in loaded.items()]
    text = "Loaded back and compared with the live policy, logits in float32 (root mean squares):\n\n" + "\n".join(
        lines
    )
    if reduction := facts.record.get("reduction"):
        text += (
            f"\n\nThe rank was reduced from {reduction['rank_before']} to {reduction['rank']}: "
            f"{100 * reduction['error']:.2g} % of the change of the weights is lost."
        )
    return text


def _distance(loaded: dict[str, Any]) -> str:
    return f"{loaded['error']:.2g} from the policy, which is {loaded['effect']:.2g} from its base"


def _not_run(run: TrainedRun, facts: Facts) -> str:
    done: Sequence[Any] = run.evaluations
    lines = ["Generation was not evaluated from this repository, but in the run, before it was published."]
    lines.append(
        "vLLM was not used to check these files." if facts.kind == "adapter" else "No engine but transformers."
    )
    if run.environment.get("hardware", {}).get("device") == "cpu":
        lines.append("The run was made on a CPU; nothing of it was run on a GPU.")
    if len({e["prompts"] for e in done}) and max(e["prompts"] for e in done) < 100:
        lines.append("The evaluation has fewer than 100 problems: its interval is wide.")
    lines.append(f"One seed ({run.recipe.seed}) was run.")
    lines.append("No evaluation for safety, bias, or any task but the one above.")
    if not facts.curves:
        lines.append("No picture of the curves: matplotlib was not installed (`pip install 'prerlkit[card]'`).")
    return "\n".join(f"- {line}" for line in lines)


def _versions(run: TrainedRun) -> str:
    versions = run.environment.get("versions", {})
    return ", ".join(_text(f"{name} {version}") for name, version in versions.items()) or "Not recorded."
