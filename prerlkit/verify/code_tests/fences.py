"""Takes the code out of a completion: the last fenced block, or all of it where there is none."""

from __future__ import annotations

_PYTHON = ("", "python", "py", "python3", "python2")


def code_of(completion: str) -> str:
    """The last fenced block that is Python or says nothing; else the last block; else the whole completion.

    A block that is never closed goes to the end. Text is kept as it is, indentation too: a completion may be the rest
    of a function.
    """
    blocks: list[tuple[str, list[str]]] = []
    fence = ""
    for line in completion.splitlines(keepends=True):
        bare = line.strip()
        if fence:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
            else:
                blocks[-1][1].append(line)
        elif bare.startswith(("```", "~~~")):
            fence = bare[: len(bare) - len(bare.lstrip(bare[0]))]
            blocks.append((bare[len(fence) :].strip().lower().partition(" ")[0], []))
    if not blocks:
        return completion
    python = [lines for language, lines in blocks if language in _PYTHON]
    return "".join(python[-1] if python else blocks[-1][1])
