"""Sends one request to an OpenAI-compatible endpoint, with a deadline. Redirects are not followed.

The standard library's client: it follows no redirect and reads no proxy variables or netrc, so that a key goes to the
host in the recipe and to no other one.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import time
from typing import Any
from urllib.parse import SplitResult, urlsplit

_MOST = 1 << 20  # bytes of a reply
_CHUNK = 1 << 14
_SHOWN = 200  # characters of a server's message
_PASSING = (408, 409, 425, 429)  # and all from 500 on: the same request may succeed later


class Refusal(Exception):  # noqa: N818 - what came instead of a reply
    """No reply came.

    Attributes:
        again: the same request may succeed later.
        after: seconds that the server asks to wait.
        status: HTTP's, or None where no answer came at all.
    """

    def __init__(self, reason: str, *, again: bool, after: float = 0.0, status: int | None = None) -> None:
        super().__init__(reason)
        self.again, self.after, self.status = again, after, status


def url_error(url: str) -> str:
    """Return what is wrong with an endpoint's address, or ""."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError as error:
        return f"it can't be read: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "it is no address like http://127.0.0.1:8000/v1"
    if "@" in parts.netloc:
        return "it holds a login, which would be written into the run folder"
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        return "it has a query, a fragment or spaces"
    return ""


def is_local(url: str) -> bool:
    """Return whether an address is of this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def post(url: str, body: bytes, key: str | None, deadline: float) -> Any:
    """Send JSON and return the JSON that comes back.

    Args:
        key: sent as a bearer token.
        deadline: by `time.monotonic()`; the reply must be whole by then.

    Raises:
        Refusal: no connection, too slow, another status than 200, or no JSON.
    """
    parts = urlsplit(url)
    connection = _connection(parts, _left(deadline))
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection.connect()
        wire = connection.sock  # the connection forgets it when the response's headers are read
        wire.settimeout(_left(deadline))
        connection.request("POST", parts.path, body, headers)
        wire.settimeout(_left(deadline))
        with connection.getresponse() as response:
            data = _read(response, wire, deadline)
    except TimeoutError:
        raise Refusal("the judge didn't answer in time", again=True) from None
    except (OSError, http.client.HTTPException) as error:
        raise Refusal(f"the judge can't be reached: {type(error).__name__}: {error}"[:_SHOWN], again=True) from None
    finally:
        connection.close()
    if response.status != 200:
        raise _refusal(response, data)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(f"the judge's answer is no JSON: {_start(data)}", again=True, status=200) from None


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, parts.port, timeout=timeout)


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise Refusal("the judge didn't answer in time", again=True)
    return left


def _read(response: http.client.HTTPResponse, wire: socket.socket, deadline: float) -> bytes:
    """The whole answer. Each wait ends at the deadline, also when the server sends a byte now and then."""
    data = bytearray()
    while True:
        wire.settimeout(_left(deadline))
        chunk = response.read1(_CHUNK)
        if not chunk:
            return bytes(data)
        data += chunk
        if len(data) > _MOST:
            raise Refusal(f"the judge's answer is longer than {_MOST} bytes", again=False, status=response.status)


def _refusal(response: http.client.HTTPResponse, data: bytes) -> Refusal:
    status = response.status
    if 300 <= status < 400:
        target = urlsplit(response.headers.get("Location", ""))
        where = f"{target.scheme}://{target.hostname}" if target.hostname else "another path"
        return Refusal(
            f"the judge redirects to {where} (HTTP {status}), which is not followed", again=False, status=status
        )
    asked = response.headers.get("Retry-After", "")
    after = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0.0
    again = status in _PASSING or status >= 500
    return Refusal(f"the judge answers HTTP {status}: {_start(data)}", again=again, after=after, status=status)


def _start(data: bytes) -> str:
    """The start of an answer for a message, as printable text."""
    return repr(data[:_SHOWN].decode(errors="replace"))[1:-1][:_SHOWN]
