"""What must hold for any gold answer: another spelling passes, one changed symbol doesn't, a constant text is no key.

The gold answers here are invented. PRERLKIT_GOLD names parquet files with a column `answer` to draw from as well.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

ROOT = Path(__file__).resolve().parents[2]
INVENTED = [
    "0", "1", "7", "12", "-3", "45", "128", "1024", "-250", "36000", "0.5", "2.75", "-0.125", "3.1",
    r"\frac{3}{8}", r"-\frac{7}{20}", r"\frac{5}{9}", r"\frac{125}{4}", r"2\frac{3}{4}", r"\frac{11}{6}",
    r"\sqrt{7}", r"3\sqrt{5}", r"\frac{\sqrt{3}}{6}", r"2+\sqrt{3}", r"\sqrt[3]{5}", r"\frac{1+\sqrt{13}}{4}",
    r"12\pi", r"\frac{5\pi}{6}", r"16-4\pi", r"\pi^2", "3+4i", r"-2-7i", r"i\sqrt{5}",
    "x^2+3x-4", "(x-2)(x+9)", "7y-5", "-4k^3", r"\frac{a+b}{3}", "2^{n+1}", r"\sqrt{x^2+y^2}", "x_1+2x_2",
    "3,8", "-2,5,9", r"1+\sqrt{2},1-\sqrt{2}", r"\frac{1}{3},4", "2i,-2i",
    "(3,-8)", r"(\frac{1}{2},5)", "(1,4,6)", "[2,9)", r"(-\infty,4]", r"[3,\infty)", r"(-\infty,1)\cup(6,\infty)",
    "x=9", "y=3x-2", "2x+5y=11", "x^2+y^2=49", "231_5", "1011_2", "3:5", r"\text{Wednesday}", r"\text{odd}", "LMNP",
    r"\sin\theta", r"\tan\frac{x}{4}", r"2\cos a\sin b", r"\frac{1}{2^{70}}", r"2^{300}-1", "15!", r"\binom{30}{7}",
    r"\begin{pmatrix}2\\-5\end{pmatrix}", r"\begin{pmatrix}1&4\\0&3\end{pmatrix}",
]  # fmt: skip
READABLE = [
    *INVENTED, r"\{x\mid x>0\}", r"\{x\mid x\ne 1\}", r"\mathbb{R}\setminus\{0\}", r"\mathbb{R}", r"\emptyset",
    "x>3", r"1<x\le 4", r"\{1,2\}", r"x\equiv 2\pmod 5", "2020-03-15", r"3:00\text{ PM}", r"50\%", r"5\text{ kg}",
    r"\$4.50", r"\textbf{(B)}\ 5", "C", r"\pm 3", r"|x-5|", r"\lfloor x\rfloor", r"0.\overline{3}",
    r"\sum_{k=1}^{3} k",
]  # fmt: skip
PIECES = [
    "0", "7", "-", "+", "=", "<", r"\le ", r"\ne ", "(", ")", "[", "]", r"\{", r"\}", "{", "}", "|", ",", ";", ":",
    "x", "y", "i", "^", "_", r"\frac", r"\sqrt", r"\cup", r"\infty", r"\mid ", r"\in ", r"\pmod",
    r"\begin{pmatrix}", "&", r"\\\\", r"\end{pmatrix}", r"\text{", "not", r"\%", r"\sum", r"\int", r"\lim",
    r"\sin", r"^\circ", r"\pm", "!", "/", "...", "$",
]  # fmt: skip
COUNT = 3_000


@pytest.fixture(scope="module")
def shares(tmp_path_factory) -> dict[str, Any]:
    """Each file's results; benchmarks are no part of the package, so a process in the checkout."""
    folder = tmp_path_factory.mktemp("gold")
    pq.write_table(pa.table({"answer": INVENTED}), folder / "invented.parquet")
    paths = [folder / "invented.parquet", *filter(None, os.environ.get("PRERLKIT_GOLD", "").split(os.pathsep))]
    command = [sys.executable, "-m", "benchmarks.verdicts", "--count", str(COUNT), "--seed", "5"]
    subprocess.run([*command, "--json", folder / "out.json", "--gold", *paths], cwd=ROOT, check=True)
    return json.loads((folder / "out.json").read_text())


def test_an_answer_with_one_symbol_changed_fails(shares):
    for found in shares.values():
        assert len(found["changed"]) <= 0.002 * COUNT, "\n".join(found["changed"])


def test_an_answer_written_otherwise_passes(shares):
    for found in shares.values():
        assert len(found["rewritten"]) <= 0.01 * COUNT, "\n".join(found["rewritten"])


def test_no_constant_text_passes_for_many_gold_answers(shares):
    for found in shares.values():
        assert len(found["constants"]) > 100
        assert {text: count for text, count in found["constants"].items() if count > 4} == {}


def test_every_gold_answer_is_its_own():
    verifier = make("math", {})
    passed = [verifier.judge(VerifierInput("", rf"$\boxed{{{gold}}}$", gold)).passed for gold in INVENTED]
    assert passed == [True] * len(INVENTED)


def test_no_answer_makes_a_gold_answer_unreadable():
    verifier, chance = make("math", {}), random.Random(19)
    garbage = ["".join(chance.choices(PIECES, k=chance.randint(1, 8))) for _ in range(60)]
    garbage += [
        r"\text{I don't know}",
        "(",
        r"\frac{1}{",
        r"\begin{pmatrix}1&2\\3\end{pmatrix}",
        "1=1",
        "0.5=5",
        r"\{x\mid",
    ]
    unjudged = [
        (gold, answer)
        for gold in READABLE
        for answer in garbage
        if verifier.judge(VerifierInput("", rf"<answer>{answer}</answer>", gold)).passed is None
    ]
    assert unjudged == []
