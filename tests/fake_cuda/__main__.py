"""Run something on the simulated device: `python tests/fake_cuda [pytest's arguments | prerlkit …]`.

Without arguments it runs the tests of this folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import device as simulated  # noqa: E402 -- it must come before torch

found = simulated.load()


def main(arguments: list[str]) -> int:
    found.install()
    if arguments[:1] == ["prerlkit"]:
        from prerlkit.cli import main as prerlkit

        sys.argv = arguments
        prerlkit()
        return 0
    import pytest

    return pytest.main(["-n", "0", *(arguments or [str(HERE)])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
