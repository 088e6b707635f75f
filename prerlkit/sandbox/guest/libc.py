"""Calls functions of the C library that the standard library doesn't offer.

The import of `ctypes` takes 2.5 ms, a tenth of a guest's start. Its C half alone takes a fifth of that.
"""

from __future__ import annotations

import _ctypes
import os

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from typing import Any


class _Long(_ctypes._SimpleCData):
    _type_ = "l"


class _Int(_ctypes._SimpleCData):
    _type_ = "i"


class _Byte(_ctypes._SimpleCData):
    _type_ = "c"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int


_LIBRARY = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]  # None: the libraries that are loaded already


def call(name: str, *arguments: Any) -> int:
    """Return what a function of the C library returns, which is an `int` or a small `long`.

    Args:
        arguments: whole numbers, bytes (passed by address), buffers, or None for a null pointer.

    Raises:
        OSError: it returned a negative number.
    """
    function = _Function(_ctypes.dlsym(_LIBRARY, name))
    _ctypes.set_errno(0)
    result = function(*[_Long(value) if isinstance(value, int) else value for value in arguments])
    if result < 0:
        number = _ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def buffer(data: bytes) -> Any:
    """Return memory that holds `data` and may be written to."""
    return (_Byte * len(data)).from_buffer_copy(data)


def address(memory: Any) -> int:
    """Return where a buffer lies."""
    return int(_ctypes.addressof(memory))
