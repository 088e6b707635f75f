"""Reads YAML that others wrote: bounded in size, and every mistake is one error.

With aliases a few lines can mean billions of values, and a key may merge itself. This module bounds the number of
values with aliases expanded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

LONGEST = 1 << 20
"""Characters. The longest packaged recipe has a hundredth of it."""
_MOST = 50_000
_DEEPEST = 50


class WrongYamlError(ValueError):
    """The text is not YAML, or too large.

    Attributes:
        line, column: counted from 1, where they are known.
    """

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line, self.column = line, column


def read(text: str, *, with_lines: bool = False) -> Any:
    """Return the document: plain Python values, or ruamel's round-trip types, which remember their lines.

    Raises:
        WrongYamlError: it is not YAML, or over the size limit.
    """
    if len(text) > LONGEST:
        raise WrongYamlError(f"it has more than {LONGEST:,} characters")
    try:
        document = YAML(typ="rt").load(text) if with_lines else YAML(typ="safe", pure=True).load(text)
        written_out = plain(document)
    except MarkedYAMLError as error:
        parts = [part.strip().splitlines()[0] for part in (error.context, error.problem) if part]
        mark = error.problem_mark
        place = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise WrongYamlError(": ".join(parts), *place) from None
    except RecursionError:
        raise WrongYamlError("it is nested too deeply, or a part of it holds itself") from None
    except YAMLError as error:
        raise WrongYamlError(str(error).splitlines()[0]) from None
    except WrongYamlError:
        raise
    # A number of 5,000 digits, the 99th of a month, a key that is a list: ruamel raises plain Python errors for these.
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise WrongYamlError(f"a value in it can't be read: {why[:200]}") from None
    return document if with_lines else written_out


def plain(value: Any) -> Any:
    """Return ruamel's types as Python's, with aliases expanded.

    Raises:
        WrongYamlError: that makes too many values, or too deep ones.
    """
    return _Plain().value(value, 0)


class _Plain:
    """Counts the values that it has written out."""

    def __init__(self) -> None:
        self._values = 0

    def value(self, value: Any, depth: int) -> Any:
        self._values += 1
        if self._values > _MOST:
            raise WrongYamlError(f"it has more than {_MOST:,} values, with its aliases written out")
        if depth > _DEEPEST:
            raise WrongYamlError("it is nested too deeply, or a part of it holds itself")
        if isinstance(value, Mapping):
            return {str(key): self.value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, depth + 1) for item in value]
        for kind in (bool, int, float, str):
            if isinstance(value, kind):
                return kind(value)
        return value
