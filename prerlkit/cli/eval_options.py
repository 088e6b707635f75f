"""The options of `prerlkit eval`, in the order that its help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_ASK, _DRAW, _MODEL = "What is asked", "How it is answered", "The models"

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET…",
        help="Run folders, adapter folders, Hub ids, model folders, pypi: models of packaged recipes.",
    ),
]
Recipe = Annotated[str | None, typer.Option("--recipe", "-r", help="Its eval set and verifiers.", rich_help_panel=_ASK)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="PATH=VALUE", help="Override a key of it.", rich_help_panel=_ASK),
]
Preset = Annotated[str | None, typer.Option("--preset", help="A known benchmark; see --list.", rich_help_panel=_ASK)]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FILE|{…}",
        help="A file, or a source as in recipes: '{kind: hub, id: …, split: test}'. With --preset: for the Hub.",
        rich_help_panel=_ASK,
    ),
]
Verifier = Annotated[
    str | None,
    typer.Option(
        "--verifier", metavar="NAME|{…}", help="math, or '{name: math, settings: {…}}'.", rich_help_panel=_ASK
    ),
]
Prompt = Annotated[
    str | None, typer.Option("--prompt", help="Text with {column}s. Default: {question}.", rich_help_panel=_ASK)
]
Answer = Annotated[
    str | None,
    typer.Option("--answer", metavar="COLUMN", help="The gold answer; default: answer.", rich_help_panel=_ASK),
]
AnswerPattern = Annotated[
    str | None,
    typer.Option("--answer-pattern", help="Regular expression; group 1 is the answer.", rich_help_panel=_ASK),
]
System = Annotated[str | None, typer.Option("--system", help="System prompt.", rich_help_panel=_ASK)]
Chat = Annotated[
    bool | None,
    typer.Option("--chat/--no-chat", help="Use the chat template. Default: if there is one.", rich_help_panel=_ASK),
]
Problems = Annotated[
    int, typer.Option("--problems", "-n", min=0, help="Only the first so many. 0: all.", rich_help_panel=_ASK)
]
Samples = Annotated[
    int, typer.Option("--samples", "-k", min=0, help="Samples a problem, beside greedy.", rich_help_panel=_DRAW)
]
PassAt = Annotated[
    str, typer.Option("--pass-at", metavar="K,K,…", help="pass@k; default: 1, 2, 4, … samples.", rich_help_panel=_DRAW)
]
MajorityAt = Annotated[
    str, typer.Option("--maj-at", metavar="K,K,…", help="maj@k; default: samples.", rich_help_panel=_DRAW)
]
Greedy = Annotated[bool, typer.Option("--greedy/--no-greedy", help="One greedy answer each.", rich_help_panel=_DRAW)]
Temperature = Annotated[float, typer.Option("--temperature", "-t", help="Of samples.", rich_help_panel=_DRAW)]
TopP = Annotated[float, typer.Option("--top-p", help="1: off.", rich_help_panel=_DRAW)]
TopK = Annotated[int, typer.Option("--top-k", help="0: off.", rich_help_panel=_DRAW)]
MaxNewTokens = Annotated[
    int | None, typer.Option("--max-new-tokens", help="Default: the recipe's or preset's.", rich_help_panel=_DRAW)
]
MaxSequences = Annotated[
    int, typer.Option("--max-sequences", min=1, help="Decoded at once: speed for memory.", rich_help_panel=_DRAW)
]
Seed = Annotated[int | None, typer.Option("--seed", help="Default: the recipe's, or 0.", rich_help_panel=_DRAW)]
Base = Annotated[str | None, typer.Option("--base", help="Where an adapter's base lies now.", rich_help_panel=_MODEL)]
WithBase = Annotated[
    bool, typer.Option("--with-base", help="First evaluate the first target's base.", rich_help_panel=_MODEL)
]
Checkpoint = Annotated[
    bool, typer.Option("--checkpoint", help="Take unfinished runs as last saved.", rich_help_panel=_MODEL)
]
Dtype = Annotated[
    str | None, typer.Option("--dtype", help="auto, bfloat16, float16 or float32.", rich_help_panel=_MODEL)
]
Quantization = Annotated[str | None, typer.Option("--quantization", help="none or nf4.", rich_help_panel=_MODEL)]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=_MODEL)]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder; default: evals/<what is asked>.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew where other results are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print results.json and nothing else.")]
ListPresets = Annotated[bool, typer.Option("--list", help="Show the presets and stop.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Libraries' warnings, and tracebacks.")]
