"""The names that a formula may hold: commands of LaTeX, functions, and how both are spelled."""

from __future__ import annotations

import re

GREEK = frozenset(
    re.findall(
        r"\S+",
        """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron rho sigma tau upsilon phi
        chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar varsigma vartheta varrho
        aleph""",
    )
)
SAME = {"varphi": "phi", "varepsilon": "epsilon"}
"""Two shapes of one letter."""
TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])
INVERSE = {"arc" + name: "a" + name for name in TRIGONOMETRIC} | {"a" + name: "a" + name for name in TRIGONOMETRIC}
FUNCTIONS = TRIGONOMETRIC | INVERSE.keys() | {"sinh", "cosh", "tanh", "coth", "log", "ln", "lg", "exp"}
"""Functions whose argument may follow without brackets."""
CALLED = frozenset(["max", "min", "gcd", "lcm"])
"""Functions of several arguments, in brackets or braces."""
RAW = sorted([*FUNCTIONS, *CALLED, "sqrt", "abs", "floor", "ceil", "factorial", "cbrt", "Gamma", "binom"], key=len)[
    ::-1
]
"""Functions by their names without a backslash, the longest first."""
MARKS = frozenset(re.findall(r"\S+", """overline bar vec hat tilde widehat overrightarrow angle triangle dot"""))
"""Commands that make a name of what follows: `\\overline{AB}`, `\\angle ABC`."""
STYLES = frozenset(
    re.findall(
        r"\S+",
        """text textbf textit
        underline textrm textsf texttt textnormal mbox hbox mathrm mathbf mathit mathsf mathtt mathcal
    operatorname boldsymbol bm rm normal""",
    )
)
"""Commands that change only how their argument looks."""
NO_FACTORS = frozenset(re.findall(r"\S+", """cdot times div rfloor rceil ast star circ degree prime"""))
"""Commands that no factor of a product begins with."""
KNOWN = (
    NO_FACTORS
    | GREEK
    | SAME.keys()
    | FUNCTIONS
    | MARKS
    | STYLES
    | {"frac", "binom", "sqrt", "infty", "pi", "lfloor", "lceil", "max", "min", "gcd"}
)


def command(name: str) -> str:
    r"""Return the longest command that a run of letters begins with: `\cosx` is `\cos` and x. Empty without one."""
    if name in KNOWN:
        return name
    return next((name[:end] for end in range(len(name) - 1, 1, -1) if name[:end] in KNOWN), "")
