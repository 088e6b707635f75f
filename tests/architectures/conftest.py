"""Make the files next to these tests importable, which are no package: `architectures_table`, `_tour`, `_trial`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

for _name in ("table", "tour", "trial"):
    _spec = importlib.util.spec_from_file_location(f"architectures_{_name}", Path(__file__).parent / f"{_name}.py")
    assert _spec
    assert _spec.loader
    sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_spec.name])
