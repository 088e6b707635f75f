"""Take every model of the table all the way and write what happened: `python tests/architectures/tour.py [NAME…]`.

It writes `outcomes.json` next to this file and the table of docs/models.md. Names pick rows; the others stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUTCOMES = HERE / "outcomes.json"
PAGE = ROOT / "docs" / "models.md"
_BEGIN, _END = "<!-- models -->\n", "<!-- end -->"
_NOTES = {
    "takes no packed rows": "padded rows in training",
    "held whole": "logits held whole",
    "several times slower": "decodes through `generate`, slower",
    "depend on a text's length": "positions fixed for the run's longest text",
    "by formula": "memory planned by formula",
}
"""Part of a message that a run prints → what the table calls it."""
_MEANINGS = {
    "padded rows in training": "attention or a recurrent state takes no packed rows: each completion is a padded row "
    "with its prompt",
    "logits held whole": "the model changes its logits after the head, so they exist for a whole micro-batch: use "
    "small ones",
    "decodes through `generate`, slower": "its cache can't be padded and repeated for a group",
    "positions fixed for the run's longest text": "LongRoPE and dynamic NTK choose frequencies by length; a run takes "
    "one choice for all texts, as vLLM does by `max_model_len`",
    "experts without an adapter": "the experts of a layer are one tensor",
    "memory planned by formula": "the model can't be traced on shapes",
}


def outcome(trial: Any) -> dict[str, Any]:
    """Return a trial as it is recorded: the notes that the user sees, and the two differences."""
    if trial.refused:
        return {"result": "refused", "note": trial.refused.split(": ")[0].split(" (")[0]}
    notes = [word for part, word in _NOTES.items() if any(part in line for line in trial.messages)]
    notes += [_left_out(line) for line in trial.messages if line.startswith("without an adapter")]
    return {"result": "works with a note" if notes else "works", "note": "; ".join(dict.fromkeys(notes))}


def _left_out(line: str) -> str:
    kinds = line.removeprefix("without an adapter: ").partition(" (")[0]
    if "experts." in kinds:
        return "experts without an adapter"
    return f"no adapter on {kinds}"


def table(outcomes: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown tables of models and of what the notes mean."""
    rows = [f"| {name} | {found['result']} | {found['note']} |" for name, found in outcomes.items()]
    notes = [f"| {note} | {meaning} |" for note, meaning in _MEANINGS.items()]
    models = ["| model | result | note |", "|---|---|---|", *rows]
    return "\n".join([*models, "", "| note | meaning |", "|---|---|", *notes]) + "\n"


def write(outcomes: dict[str, dict[str, Any]]) -> None:
    """Write the outcomes and the page's table."""
    OUTCOMES.write_text(json.dumps(outcomes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if PAGE.is_file():
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
        PAGE.write_text(before + _BEGIN + table(outcomes) + _END + rest.partition(_END)[2], encoding="utf-8")


def main(wanted: list[str]) -> None:
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import table as models
    import transformers
    import trial
    from conftest import build_tokenizer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = json.loads(OUTCOMES.read_text(encoding="utf-8")) if OUTCOMES.is_file() else {}
    for row in models.ROWS:
        if wanted and row.name not in wanted:
            continue
        try:
            with tempfile.TemporaryDirectory() as name:
                models.write(row, Path(name) / "model", build_tokenizer())
                done = trial.go(Path(name) / "model", Path(name) / "run", row.architecture)
        except Exception as error:  # noqa: BLE001 -- a crash is not recorded: it is a bug to mend
            print(f"{row.name}: CRASH {type(error).__name__}: {error}")
            continue
        found[row.name] = outcome(done)
        print(f"{row.name}: {found[row.name]} adapter {done.adapter:.1e} merged {done.merged:.1e} {done.seconds:.0f} s")
        write({each.name: found[each.name] for each in models.ROWS if each.name in found})


if __name__ == "__main__":
    main(sys.argv[1:])
