"""How answers are found, brought into one spelling and compared, without computer algebra."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from prerlkit.verify.mathematics import extract
from prerlkit.verify.mathematics.equal import same
from prerlkit.verify.mathematics.exact import NotExact, Undefined, fraction
from prerlkit.verify.mathematics.grammar import readable
from prerlkit.verify.mathematics.normal import normal
from prerlkit.verify.mathematics.quantity import quantity
from prerlkit.verify.mathematics.size import too_large


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} and \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"{ stray \boxed{3} then cut \boxed{4", "3"),
        (r"\boxed 7", "7"),
        (r"\boxed{a\boxed{5}}", r"a\boxed{5}"),
        ("none", None),
    ],
)
def test_the_last_complete_box_counts(text: str, answer: str | None) -> None:
    assert extract.boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It costs $1,234.50 each", "$1,234.50"),
        ("so 3/4", "3/4"),
        ("it is −5.", "-5"),
        ("1,2,3", "3"),
        ("50% of them", "50%"),
        ("h2o", None),
    ],
)
def test_the_last_number(text: str, answer: str | None) -> None:
    assert extract.last_number(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"1 \boxed{2} #### 3 the answer is 4", "2"),
        ("1 #### 3\nthe answer is 4", " 3".strip()),
        ("The final answer is: **42**.", "42"),
        ("The answer is Tuesday. It rained on 3 days", "Tuesday"),
        ("The answer is therefore 5 apples.", "5 apples"),
        (r"The answer is (2\sqrt{3}, 5)", r"(2\sqrt{3}, 5)"),
        ("so $a=3$ then 7", "7"),
        ("so 7 then $a=3$", "a=3"),
        (r"\[ x^2 \]", " x^2 "),
    ],
)
def test_auto_takes_the_surest_place_first(text: str, answer: str) -> None:
    assert extract.auto(text) == answer


@pytest.mark.parametrize(
    "piece",
    [
        r"\boxed{",
        "{",
        "$",
        "1,",
        "answer is ",
        r"\[",
        "$a",
        "#### ",
        "1/",
        " ",
        "-",
        "}",
        r"\(",
        r"\sqrt[3]{",
        r"\a",
        "sqrt",
        "=1, ",
    ],
)
def test_hostile_megabytes_are_read_in_time(piece: str) -> None:
    text = piece * (10**6 // len(piece))
    started = time.process_time()
    extract.auto(text)
    assert time.process_time() - started < 3  # quadratic would take minutes


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("-3", Fraction(-3)),
        ("1,234.5", Fraction(2469, 2)),
        (r"\dfrac{-1}{2}", Fraction(-1, 2)),
        (r"\frac12", Fraction(1, 2)),
        (r"6\frac{1}{6}", Fraction(37, 6)),
        ("-1 1/2", Fraction(-3, 2)),
        (r"1.5\times10^{3}", Fraction(1500)),
        ("2e-1", Fraction(1, 5)),
        (r"\$5", Fraction(5)),
        (r"90^\circ", Fraction(90)),
        (r"12\text{ cm}^2", Fraction(12)),
        ("5 apples", Fraction(5)),
    ],
)
def test_numbers_in_all_their_spellings(answer: str, value: Fraction) -> None:
    assert number(answer) == value


def number(answer: str) -> Fraction | None:
    """The rational number that an answer is without its unit."""
    found = quantity(normal(answer))
    formula = readable(found.value)
    try:
        return None if formula is None or (found.label and not found.unit) else fraction(formula) * found.scale
    except (NotExact, Undefined):
        return None


@pytest.mark.parametrize("answer", ["5x", "5 is wrong", "1,23", "x", "5 and 6", r"\frac{1}{0}", "1,2", "9" * 5000])
def test_what_is_no_number(answer: str) -> None:
    assert number(answer) is None


def refuse(gold: str, answer: str) -> bool | None:
    raise AssertionError(f"{gold} and {answer} were left to computer algebra")


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("1/2", "0.5", True),
        ("1/3", "0.333333", False),
        ("50", r"50\%", True),
        ("0.5", r"50\%", True),
        (r"50\%", "0.5", True),
        ("50", "0.5", False),
        ("-2,2", r"\pm 2", True),
        ("1,2", "2 and 1", True),
        ("1,2", r"\{2, 1\}", True),
        ("1,1,2", "1,2,2", False),
        ("(1,2)", "(1, 2)", True),
        ("(1,2)", "(2,1)", False),
        ("(1,2)", "[1,2]", False),
        (r"(-\infty,1]\cup[2,\infty)", r"[2,\infty)\cup(-\infty,1]", True),
        (r"\begin{pmatrix}6\3\end{pmatrix}", r"\begin{bmatrix} 6 \\ 3 \end{bmatrix}", True),
        (r"\begin{pmatrix}6\3\end{pmatrix}", r"\begin{pmatrix} 6 & 3 \end{pmatrix}", False),
        ("2215_6", "2215_{6}", True),
        ("2215_6", "2215", True),
        ("2215_6", "2215_7", False),
        ("2215_6", "2216", False),
        ("8:34", "8:34 p.m.", True),
        ("8:34", "8:35", False),
        ("Friday", r"\text{friday}", True),
        ("{Friday}", "Friday", True),
        ("Friday", "Friday+1", False),
        ("(A)", r"\textbf{(A)}", True),
        ("A", "B", False),
        ("5", "x = 5", True),
        ("5", "x = 6", False),
        (r"x \in [1,2]", "[1,2]", True),
        ("x=5", "y=5", False),
        ("", "5", None),
        ("5", "", False),
        ("0", "2x-y=0", False),
    ],
)
def test_equal_without_algebra(gold: str, answer: str, equal: bool | None) -> None:
    assert same(gold, answer, 0.0, refuse) is equal


def test_the_tolerance_is_relative_to_the_gold_answer() -> None:
    assert same("200", "201", 0.005, refuse) is True
    assert same("200", "201.1", 0.005, refuse) is False
    assert same("0", "0.004", 0.005, refuse) is True


@pytest.mark.parametrize(
    "formula", ["9^{9^{9^9}}", "9^9^9", "2^{100000}", "10000!", "3!!", "10^{9*999999}", "7^{7^7}", "3^{4!}", "9**9**9"]
)
def test_what_would_take_for_ever_is_told_beforehand(formula: str) -> None:
    assert too_large(formula)


@pytest.mark.parametrize(
    "formula", ["2^{49}", "x^{2^n}", "5!", r"e^{2\pi i}", "2005^{2007}", "2^{2^3}", "x^2+5", "2^{-3}"]
)
def test_ordinary_powers_are_worked_out(formula: str) -> None:
    assert not too_large(formula)
