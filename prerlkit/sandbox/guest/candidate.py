"""Serves calls of functions that a model wrote. It receives what to call and never what a test expects.

    load   {prompt, code, entry, prelude}           its top level is run; prelude: with common imports (`prelude`)
    call   {target, args, kwargs, spell, changes}   target: a name, `Class().method`, or an object that stayed here;
                                                    spell: iterators are answered with their items;
                                                    changes: so are the arguments after the call, whatever it returns
    apply  {function, args}                         one of a few built-in functions, for objects that stayed here

Each request carries a nonce that its answer must repeat, so that answers can't be written in advance.
"""

from __future__ import annotations

import _ast
import sys

from prerlkit.sandbox.guest.channel import Channel
from prerlkit.sandbox.guest.prelude import bind
from prerlkit.sandbox.guest.values import pack, unpack

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from typing import Any

_APPLY: dict[str, Any] = {
    "list": list, "len": len, "bool": bool, "str": str, "repr": repr, "getattr": getattr, "setattr": setattr,
    "next": next, "getitem": lambda value, key: value[key],
    "setitem": lambda value, key, item: value.__setitem__(key, item),
}  # fmt: skip
_MUTABLE = (list, dict, set, bytearray)
_MOST_ITEMS = 1_000_000  # of one iterator that is spelled out
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))


def main(channel: Channel, config: dict[str, Any]) -> None:
    """Answer requests until the host closes its pipe."""
    module = sys.modules["candidate"] = type(sys)("candidate")
    served = Served(module.__dict__)
    while True:
        nonce, name, arguments = channel.receive()
        try:
            answer = getattr(served, name)(**arguments)
        except BaseException as error:  # noqa: BLE001 - sys.exit and the like too: the program's end isn't ours
            answer = {"e": [[kind.__name__ for kind in type(error).__mro__], _text(error)]}
        channel.send({"n": nonce, **answer})


class Served:
    """A program's names, and its objects that the tests hold on to."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._objects: list[Any] = []

    def load(self, prompt: str, code: str, entry: str, prelude: bool) -> dict[str, Any]:
        """Run the program. Where it doesn't define `entry` and the prompt is code, it continues the prompt."""
        for number, source in enumerate(_units(prompt, code, entry)):
            program = compile(source, f"program{number or ''}.py", "exec", dont_inherit=True)
            if prelude:
                bind(self._names, program, source)
            exec(program, self._names)
        return {"v": None}

    def call(self, target: Any, args: Any, kwargs: Any, spell: bool = False, changes: bool = False) -> dict[str, Any]:
        function = self._find(target) if isinstance(target, str) else self._objects[target["obj"]]
        values = [unpack(item, self._object) for item in args]
        result = function(*values, **{key: unpack(item, self._object) for key, item in kwargs.items()})
        made = isinstance(function, type) and function.__module__ == "candidate"
        keep = self._spelled if spell else self._keep
        answer = {"v": self._keep(result) if made else pack(result, keep)}  # a new object stays, list or not
        if (changes or result is None) and any(isinstance(value, _MUTABLE) for value in values):
            answer["m"] = [pack(value, self._keep) for value in values]
        return answer

    def apply(self, function: str, args: Any) -> dict[str, Any]:
        values = [unpack(item, self._object) for item in args]
        return {"v": pack(_APPLY[function](*values), self._keep)}

    def _find(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        owner, _, method = name.rpartition(".")
        if owner:  # Class().method, or Class.method
            holder = self._find(owner.removesuffix("()"))
            return getattr(holder() if owner.endswith("()") else holder, method)
        solution = self._names.get("Solution")
        if isinstance(solution, type) and hasattr(solution, name):
            return getattr(solution(), name)
        raise NameError(f"name {name!r} is not defined")

    def _spelled(self, value: Any) -> Any:
        """Return the items of an iterator or of a dict's view; other objects stay here."""
        if not isinstance(value, _VIEWS) and not hasattr(type(value), "__next__"):
            return self._keep(value)
        items: list[Any] = []
        for item in value:
            if len(items) >= _MOST_ITEMS:
                raise ValueError(f"an iterator has more than {_MOST_ITEMS} items")
            items.append(pack(item, self._spelled))
        return {"iterator": items}

    def _object(self, name: Any) -> Any:
        return self._find(name) if isinstance(name, str) else self._objects[name]

    def _keep(self, value: Any) -> Any:
        self._objects.append(value)
        return {"obj": len(self._objects) - 1}


def _units(prompt: str, code: str, entry: str) -> list[str]:
    """Return the sources to run one after the other, in one namespace."""
    if not prompt:
        return [code]
    entry = entry.partition("(")[0].partition(".")[0]  # the class of Class().method
    tree = _parse(code)
    if tree is None or entry not in _defined(tree):
        together = prompt + code if prompt.endswith("\n") or code.startswith("\n") else f"{prompt}\n{code}"
        if _parse(together) is not None or tree is None:
            return [together]
    # The prompt first: its imports and helpers, and a stub of the function that the code then replaces.
    return [prompt, code] if _parse(prompt) is not None else [code]


def _parse(source: str) -> Any:
    """Return the syntax tree, or None. The import of `ast` would take as long as the interpreter's start."""
    try:
        return compile(source, "program.py", "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def _defined(tree: Any) -> set[str]:
    """Return the functions, classes and variables that it defines anywhere."""
    names, nodes = set(), [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, _ast.FunctionDef | _ast.AsyncFunctionDef | _ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, _ast.Name) and isinstance(node.ctx, _ast.Store):
            names.add(node.id)
        for field in node._fields:
            value = getattr(node, field, None)
            nodes += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, _ast.AST)]
    return names


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))[:300]
    except BaseException:  # noqa: BLE001 - its __str__ is the program's
        return ""
