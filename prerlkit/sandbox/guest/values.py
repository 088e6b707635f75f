"""Turns Python values into plain data and back. Values that cross between processes are rebuilt from built-in types.

So a class with a special `__eq__` never reaches the side that compares. An object that is no plain value (an instance,
a function, an iterator) stays in its process; `opaque` gives it a name, or refuses it.

    None, bool, str, float, int below 2^63, list   as they are
    {"int": hex} {"tuple": […]} {"set": […]} {"frozenset": […]} {"dict": [[k, v], …]} {"bytes": hex} {"bytearray": hex}
    {"complex": [re, im]} {"range": [start, stop, step]} {"Fraction": [n, d]} {"Decimal": text}
    {"deque": [items, maxlen]} {"iterator": […]} where the host asked for the items of iterators, {"obj": …}
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_DEEPEST = 200
_SMALL = 1 << 63
# A few bytes that a comparison might expand: `list(range(10**12))`, `int(Decimal("1e999999999"))`.
_LONGEST_RANGE = 1_000_000
_LARGEST_EXPONENT = 10_000
_LONGEST_DECIMAL = 20_000
_LARGEST_PART = 1 << 16  # bits of a fraction's numerator or denominator, of which the greatest common divisor is taken
# A set compares each item with all different ones that have the same hash, and tuples part by part.
_MOST_COMPARED = 20_000_000  # parts
_FEW = 16  # items, of which any hashes are cheap


def pack(value: Any, opaque: Callable[[Any], Any], depth: int = 0) -> Any:
    """Return plain data for a value. Instances of a subclass of a built-in type count as that type.

    Raises:
        ValueError: it is nested too deeply.
        Any error that `opaque` raises for an object that is no plain value.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"int": hex(value)}
    if depth > _DEEPEST:
        raise ValueError("the value is nested too deeply")
    if kind is list:
        return [pack(item, opaque, depth + 1) for item in value]
    for base, name in _SEQUENCES:
        if isinstance(value, base):
            items = [pack(item, opaque, depth + 1) for item in base.__iter__(value)]
            return items if name == "list" else {name: items}
    if isinstance(value, dict):
        return {"dict": [[pack(k, opaque, depth + 1), pack(v, opaque, depth + 1)] for k, v in dict.items(value)]}
    return _pack_rest(value, opaque, depth)


_SEQUENCES: tuple[tuple[Any, str], ...] = ((list, "list"), (tuple, "tuple"), (set, "set"), (frozenset, "frozenset"))


def _pack_rest(value: Any, opaque: Callable[[Any], Any], depth: int) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return pack(int.__add__(value, 0), opaque, depth)
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, bytes):
        return {"bytes": bytes.hex(value)}
    if isinstance(value, bytearray):
        return {"bytearray": bytearray.hex(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range) and _length(value) <= _LONGEST_RANGE:
        return {"range": [pack(part, opaque) for part in (value.start, value.stop, value.step)]}
    # Only where the program has loaded these itself: their import costs more than most calls.
    fractions, decimal = sys.modules.get("fractions"), sys.modules.get("decimal")
    if fractions is not None and isinstance(value, fractions.Fraction):
        return {"Fraction": [pack(value.numerator, opaque), pack(value.denominator, opaque)]}
    if decimal is not None and isinstance(value, decimal.Decimal):
        return {"Decimal": str(value)}
    collections = sys.modules.get("collections")
    if collections is not None and isinstance(value, collections.deque):
        items = [pack(item, opaque, depth + 1) for item in collections.deque.__iter__(value)]
        return {"deque": [items, value.maxlen]}
    return opaque(value)


def unpack(data: Any, opaque: Callable[[Any], Any]) -> Any:
    """Return the value of plain data; `opaque` turns the content of "obj" or "iterator" into a value.

    The time is proportional to the size of the data, whatever their content.

    Raises:
        ValueError, TypeError, RecursionError, ArithmeticError: the data are malformed, or forged to be expensive.
    """
    if data is None or isinstance(data, bool | str | float | int):
        return data
    if isinstance(data, list):
        return [unpack(item, opaque) for item in data]
    ((name, body),) = data.items()
    match name:
        case "obj":
            return opaque(body)
        case "iterator":
            return opaque({"iterator": [unpack(item, opaque) for item in body]})
        case "int":
            return int(body, 16)
        case "tuple":
            return tuple([unpack(item, opaque) for item in body])
        case "set":
            return set(distinct([unpack(item, opaque) for item in body]))
        case "frozenset":
            return frozenset(distinct([unpack(item, opaque) for item in body]))
        case "dict":
            items = [(unpack(key, opaque), unpack(item, opaque)) for key, item in body]
            distinct([key for key, _ in items])
            return dict(items)
        case "bytes":
            return bytes.fromhex(body)
        case "bytearray":
            return bytearray.fromhex(body)
        case "complex":
            return complex(*[float(part) for part in body])
        case "range":
            numbers = range(*[unpack(part, opaque) for part in body])
            if _length(numbers) > _LONGEST_RANGE:
                raise ValueError("the range is too long")
            return numbers
        case "Fraction" | "Decimal" | "deque":
            return _unpack_of_module(name, body, opaque)
    raise ValueError(f"no value is called {name!r}")


def _unpack_of_module(name: str, body: Any, opaque: Callable[[Any], Any]) -> Any:
    """Return a value whose class has to be imported."""
    if name == "Fraction":
        from fractions import Fraction

        parts = [unpack(part, opaque) for part in body]
        if any(part.bit_length() > _LARGEST_PART for part in parts):
            raise ValueError("the fraction is too large")
        return Fraction(*parts)
    if name == "Decimal":
        from decimal import Decimal

        if len(body) > _LONGEST_DECIMAL:
            raise ValueError("the decimal number is too long")
        number = Decimal(body)
        if number.is_finite() and abs(number.adjusted()) > _LARGEST_EXPONENT:
            raise ValueError("the exponent is too large")
        return number
    from collections import deque

    items, most = body
    return deque([unpack(item, opaque) for item in items], most)


def distinct(items: list[Any]) -> list[Any]:
    """Return the same items, after a check that a set of them is cheap to make.

    Raises:
        ValueError: too many different ones have the same hash, for their size.
    """
    if len(items) > _FEW:
        by_hash: dict[int, list[Any]] = {}
        compared = 0
        for item in items:
            same = by_hash.setdefault(hash(item), [])
            if same:
                compared += len(same) * _parts(item)
                if compared > _MOST_COMPARED:
                    raise ValueError("too many items have the same hash")
            if item not in same:
                same.append(item)
    return items


def _parts(item: Any) -> int:
    """Return an upper bound of the parts to compare in an item of a set."""
    if isinstance(item, tuple | frozenset):
        return 1 + sum([_parts(part) for part in item])
    if isinstance(item, str | bytes):
        return 1 + len(item) // 64
    return 1 + item.bit_length() // 64 if isinstance(item, int) else 8


def _length(numbers: range) -> int:
    """Return `len` without its limit of 2^63."""
    return max(0, -((numbers.start - numbers.stop) // numbers.step)) if numbers.step else 0
