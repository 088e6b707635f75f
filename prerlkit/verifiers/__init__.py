"""The built-in verifiers: in a checkout the top-level folder `verifiers/`, in a wheel the files next to this one.

The top-level folder has no `__init__.py` on purpose. PyPI has a package named `verifiers`; a folder without
`__init__.py` never wins over a real package, so `import verifiers` stays theirs, even with this checkout on the path.
"""

from pathlib import Path

_here = Path(__file__).resolve().parent
# Only a checkout lacks the modules here. In site-packages `../../verifiers` would be PyPI's package: never look there.
if not (_here / "math.py").exists():
    __path__.append(str(_here.parents[1] / "verifiers"))
