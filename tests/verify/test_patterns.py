"""What is known of a pattern without a text is never wrong: a pattern that can be met is not refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prerlkit.verify.patterns import always_matches, cannot_capture, never_matches


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"costs $(\d+)", "nothing can follow $ (a dollar sign is \\$)"),
        (r"a\Z\s*b", "nothing can follow \\Z"),
        (r"x = ^(\d)", "nothing can precede ^ (a caret is \\^)"),
        (r"\$(\d+)", ""),
        (r"[$^](\d+)", ""),
        (r"a$", ""),
        (r"a$\n?", ""),
        (r"^a|$b", ""),
        (r"\s*^a", ""),
        (r"(?m)a$\nb", ""),
        (r"(?m)a$b", ""),  # not found, as it is searched for no further
        (r"a$(?=b)", ""),
        (r"(?x) a $ # the end", ""),
    ],
)
def test_patterns_that_match_nothing(pattern, why):
    assert never_matches(pattern) == why


@pytest.mark.parametrize(
    ("pattern", "always"), [("x*", True), ("(a|b?)*", True), ("x+", False), ("^(a|aa)*$", False), ("(?!x)", False)]
)
def test_patterns_that_are_found_everywhere(pattern, always):
    assert always_matches(pattern) is always


@pytest.mark.parametrize(
    ("pattern", "group", "answer", "impossible"),
    [
        (r"Answer: (-?\d+)", 1, "3/4", True),
        (r"Answer: (-?\d+)", 1, " 34 ", False),
        (r"Answer: (?P<it>[^,\]]+)", "it", "a,b", True),
        (r"Answer: (?P<it>[^,\]]+)", "it", "ab", False),
        (r"(a)(?:b(c))", 2, "c", False),
        (r"(a)(?:b(c))", 2, "a", True),
        (r"\((\w+)\)", 1, "yes", False),
        (r"[(](\w+)", 1, "yes no", True),
        (r"Answer: ([A-Z]+)", 1, "yes", True),
        (r"Answer: (\b\w+)", 1, "a b", False),  # not known: the text around has a say
        (r"(?i:answer: (yes))", 1, "YES", False),
        (r"(\d+)", 0, "no", False),
        (r"x(\s\s\d+\t)", 1, "5", False),
        (r"x([ ]{3}\d+\r\n)", 1, "5", False),
        (r"(?# one ( )(\d+)", 1, "5", False),
    ],
)
def test_answers_that_a_group_cannot_hold(pattern, group, answer, impossible):
    assert cannot_capture(re.compile(pattern), group, answer, strip=True, ignore_case=False) is impossible


def test_case_and_space_count_where_the_verifier_says_so():
    pattern = re.compile("Answer: ([A-Z]+)")
    assert not cannot_capture(pattern, 1, "yes", strip=True, ignore_case=True)
    assert cannot_capture(pattern, 1, " YES", strip=False, ignore_case=False)
    assert not cannot_capture(re.compile("(STRASSE)"), 1, "straße", strip=True, ignore_case=True)


PATTERNS = st.text("ab$^|().*?\\Z[]\n", max_size=12)


@given(PATTERNS, st.text("ab\n$^", max_size=8))
@settings(max_examples=400, deadline=None)
def test_a_pattern_that_matches_something_is_never_called_one_that_matches_nothing(pattern, text):
    try:
        found = re.compile(pattern).search(text)
    except re.error:
        return
    assert found or not always_matches(pattern)
    if found:
        assert never_matches(pattern) == ""
        for number, captured in enumerate(found.groups(), 1):
            if captured is not None:
                assert not cannot_capture(re.compile(pattern), number, captured, strip=False, ignore_case=False)
