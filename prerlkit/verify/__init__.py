"""The verify room: completions become verdicts, judged by plugins in processes of their own.

What a plugin's author needs is imported from here. The runner (`prerlkit.verify.runner`) is imported by its own name,
so that a worker process never loads it.
"""

from prerlkit.settings import Settings
from prerlkit.types import Verdict
from prerlkit.verify.base import GoldCase, Sample, Verifier

__all__ = ["GoldCase", "Sample", "Settings", "Verdict", "Verifier"]
