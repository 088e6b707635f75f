"""The needs of compiling at an engine's first start: Triton builds a C launcher for each of its kernels."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def compile_problem() -> str:
    """Return what is missing to compile Triton's kernels, with the package that has it; empty where all is there.

    Triton takes $CC, or gcc, or clang, and includes Python.h.
    """
    missing, packages = [], []
    if not any(shutil.which(name) for name in (os.environ.get("CC", "gcc"), "gcc", "clang")):
        missing.append("a C compiler")
        packages.append("gcc")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        missing.append(f"Python's headers ({header})")
        packages.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    if not missing:
        return ""
    return f"missing {' and '.join(missing)}: apt-get install {' '.join(packages)}"
