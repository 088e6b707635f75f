"""Makes tests written as code runnable apart from what they test: finds which names are the candidate's, marks asserts.

Everything here reads only the data's own tests, never a completion.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Sequence
from typing import Any

_BUILTINS = frozenset(dir(builtins))
_EVALUATES = frozenset(
    ["eval", "exec", "compile", "__import__", "importlib.import_module", "pickle.loads", "pickle.load", "marshal.loads"]
)


class UnreadableTests(ValueError):  # noqa: N818 - said of tests
    """The row's tests can't be used: the sample stays unjudged."""


def job(
    units: Sequence[str], *, helpers: str = "", entry: str = "", targets: Iterable[str] = (), stop: bool = True
) -> dict[str, Any]:
    """What `prerlkit.sandbox.guest.judge` needs to run tests.

    Args:
        units: sources, run one after the other in one namespace.
        helpers: code of the prompt; what it defines besides `entry` is there for the tests.
        entry: the function that `check` is called with.
        targets: names that the completion defines even where they are built-in ones (`sum`).
        stop: end at the first assert that fails.

    Raises:
        UnreadableTests: they don't parse, assert nothing, or call nothing that a completion could define.
    """
    trees = [_parse(unit) for unit in units]
    classes = _test_classes(trees)
    if classes:
        _refuse_what_stays_here(trees)
    for tree in trees:
        tree.body = [node for node in tree.body if not _runs_unittest(node)]
    remote = {name for tree in trees for name in _take_foreign_imports(tree)}
    helper_tree = _parse_or_none(helpers)
    _refuse_evaluation([*trees, *([] if helper_tree is None else [helper_tree])])
    defined = [node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    functions = [name for name in defined if name.startswith("test")]
    check = entry if "check" in defined and entry else ""
    if "check" in defined and not entry:
        raise UnreadableTests("the tests define check(candidate), but the row has no entry_point")
    bound = {name for tree in [*trees, helper_tree] if tree is not None for name in _bound(tree)}
    loaded = {name for tree in trees for name in _names(tree, ast.Load)}
    own = {entry.partition("(")[0].partition(".")[0], *targets} - {""}
    free = loaded - bound - _BUILTINS - own
    imports = free & set(sys.stdlib_module_names)
    # Where the row says what is the completion's, a name without a definition is the tests' mistake: a completion that
    # could define any name would define `isclose` too.
    remote |= (own & loaded) | (set() if own else free - imports)
    if not remote and not check:
        raise UnreadableTests("the tests call nothing that a completion could define")
    if not any(_asserts(node) for tree in trees for node in ast.walk(tree)):
        raise UnreadableTests("the tests assert nothing")
    return {
        "helpers": [] if helper_tree is None else [_compile(helper_tree, "prompt")],
        "imports": sorted(imports),
        "names": sorted(remote),
        "units": [_compile(_marked(tree), f"tests {number}") for number, tree in enumerate(trees, 1)],
        "check": check,
        "functions": functions,
        "classes": classes,
        "stop": stop,
    }


def count(units: Sequence[str]) -> int:
    """How many asserts are separate cases, as far as the text shows: a lower bound where some are in loops."""
    marks = sum(isinstance(node, ast.With) and _is_mark(node) for unit in units for node in _walk_marked(unit))
    return marks + sum(map(len, _test_classes([_parse(unit) for unit in units]).values()))


def defined_by(source: str) -> set[str]:
    """The functions and classes at the top of a source; none when it doesn't parse."""
    tree = _parse_or_none(source)
    return set() if tree is None else {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def _test_classes(trees: Sequence[ast.Module]) -> dict[str, list[str]]:
    """The test methods of each unittest class, and of classes named `Test…` without a base, as pytest has them."""
    found: dict[str, list[str]] = {}
    bases: set[str] = set()  # classes of the tests that are a TestCase
    for node in (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)):
        names = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        if any(name in bases or name.endswith("TestCase") for name in names):
            bases.add(node.name)
        elif names or not node.name.startswith("Test"):
            continue
        methods = [
            item.name for item in node.body if isinstance(item, ast.FunctionDef) and item.name.startswith("test")
        ]
        if methods:
            found[node.name] = sorted(methods)
    return found


def _runs_unittest(node: ast.stmt) -> bool:
    """Whether it is `unittest.main()`: the judge calls the methods itself."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "unittest.main"


def _asserts(node: ast.AST) -> bool:
    """Whether it can fail a test: an assert, a raise, or one of unittest's methods such as `self.assertEqual`."""
    method = node.attr if isinstance(node, ast.Attribute) else ""
    return isinstance(node, ast.Assert | ast.Raise) or method.startswith("assert") or method == "fail"


def _refuse_what_stays_here(trees: Sequence[ast.Module]) -> None:
    """Tests of a class that replace parts of the program, or write files for it, can't reach it from their process.

    Raises:
        UnreadableTests: they do.
    """
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Name) and node.id in ("mock", "patch", "MagicMock", "Mock", "mock_open"):
            raise UnreadableTests(f"the tests use {node.id}, which can't reach the program in its own process")
        if isinstance(node, ast.Name) and node.id in ("open", "tempfile", "shutil"):
            raise UnreadableTests(f"the tests use {node.id}: the program can't see files of the tests")


def _refuse_evaluation(trees: Sequence[ast.Module]) -> None:
    """Tests that evaluate text would run what the completion answers, in the process that says how the tests went.

    Raises:
        UnreadableTests: they do. Texts that the tests spell out are theirs.
    """
    for tree in trees:
        nodes = list(ast.walk(tree))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        spelled = {id(call.func) for call in calls if call.args and all(isinstance(a, ast.Constant) for a in call.args)}
        for node in nodes:
            name = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""
            if name in _EVALUATES and id(node) not in spelled:
                raise UnreadableTests(f"the tests use {name}, which would run what the program answers as a test")


def _walk_marked(unit: str) -> Iterable[ast.AST]:
    return ast.walk(_marked(_parse(unit)))


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableTests(f"the tests don't parse: {error}") from error


def _parse_or_none(source: str) -> ast.Module | None:
    if not source.strip():
        return None
    try:
        return _parse(source)
    except UnreadableTests:
        return None


def _compile(tree: ast.Module, name: str) -> Any:
    try:
        return compile(tree, f"<{name}>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UnreadableTests(f"the tests don't compile: {error}") from error


def _take_foreign_imports(tree: ast.Module) -> set[str]:
    """Remove `from solution import f`, of modules that no Python has: these names are the candidate's."""
    taken, kept = set(), []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in sys.stdlib_module_names:
            if any(alias.name == "*" or alias.asname not in (None, alias.name) for alias in node.names):
                raise UnreadableTests(f"the tests import from {node.module or '.'} under other names")
            taken |= {alias.name for alias in node.names}
        else:
            kept.append(node)
    tree.body = kept
    return taken


def _bound(tree: ast.AST) -> set[str]:
    """Every name that is assigned, defined, imported or an argument anywhere."""
    names = _names(tree, ast.Store)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def _marked(tree: ast.Module) -> ast.Module:
    """The same with `with __case__("assert …"):` around each assert that stands on its own, and `__drops__(f)(…)` for
    each call `f(…)` whose value isn't used: there the test looks at how the arguments have changed.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            node.value.func = ast.Call(ast.Name("__drops__", ast.Load()), [node.value.func], [])
    tree.body = _mark(tree.body, top=True)
    return ast.fix_missing_locations(tree)


def _mark(body: list[ast.stmt], top: bool = False) -> list[ast.stmt]:
    marked: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            call = ast.Call(ast.Name("__case__", ast.Load()), [ast.Constant(ast.unparse(node)[:200])], [])
            node = ast.copy_location(ast.With([ast.withitem(call)], [node]), node)
        elif isinstance(node, ast.For | ast.While | ast.If | ast.With):
            node.body = _mark(node.body)
            if not isinstance(node, ast.With):
                node.orelse = _mark(node.orelse)
        elif top and isinstance(node, ast.FunctionDef) and (node.name == "check" or node.name.startswith("test")):
            node.body = _mark(node.body)
        marked.append(node)
    return marked


def _is_mark(node: ast.With) -> bool:
    call = node.items[0].context_expr
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "__case__"
