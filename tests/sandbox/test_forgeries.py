"""Completions that try to be judged right without solving anything. The tests call `solve`; none of these may pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from prerlkit.verify import VerifierInput

PROMPT = 'import math\n\ndef solve(values: list) -> list:\n    """Sorted, without doubles."""\n'
TEST = """
def check(candidate):
    assert candidate([3, 1, 3]) == [1, 3]
    assert candidate([]) == []
    assert len(candidate([271828, 5])) == 2
    values = [9, 8]
    assert candidate(values) == sorted(values)
    assert all(a < b for a, b in zip(candidate([2, 1]), [2, 3]))
    assert math.isclose(candidate([2.5])[0], 2.5)
    assert abs(candidate([4, 2])[0] - 2) < 1e-6
"""
ROW = {"prompt": PROMPT, "entry_point": "solve", "test": TEST}
ASSERTS = {
    "test_list": [
        "assert 4 in solve([4, 4]) and 5 not in solve([4])",
        "assert solve([3, 1, 3]) == [1, 3]",
        "assert set(solve([1, 1])) == {1}",
        "assert not solve([])",
    ],
    "code": "def solve(values): return sorted(set(values))",
}
CALLS = {"fn_name": "solve", "inputs": [[[3, 1, 3]], [[5, 4]]], "outputs": [[1, 3], [4, 5]]}
SOLUTION = "def solve(values):\n    return sorted(set(values))\n"

# Sends frames of its own down every descriptor that is open.
FRAMES = """
import os
def shout(*texts):
    for fd in range(1, 64):
        for text in texts:
            body = text.encode()
            try: os.write(fd, len(body).to_bytes(4, 'big') + body)
            except OSError: pass
"""
GUEST = "import sys\nchannel = sys.modules['prerlkit.sandbox.guest.channel'].Channel\n"

FORGERIES = {
    "sys.exit at once": "import sys; sys.exit(0)",
    "os._exit at once": "import os; os._exit(0)",
    "sys.exit when called": "import sys\ndef solve(values): sys.exit(0)",
    "os._exit when called": "import os\ndef solve(values): os._exit(0)",
    "kill itself": "import os\ndef solve(values): os.kill(os.getpid(), 9)",
    "exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef solve(values): raise SystemExit(0)",
    "equals everything": """
class Same:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __len__(self): return 2
    def __bool__(self): return True
    def __contains__(self, item): return True
    def __iter__(self): return iter([1, 2])
def solve(values): return Same()""",
    "a list that equals everything": """
class Same(list):
    def __eq__(self, other): return True
    def __len__(self): return 2
    def __iter__(self): return iter([0, 1])
def solve(values): return Same([0])""",
    "an int that equals everything": """
class Same(int):
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    def __sub__(self, other): return 0
    __hash__ = int.__hash__
def solve(values): return [Same(0), Same(0)]""",
    "pretends another class": """
class Same:
    __class__ = property(lambda self: list)
    def __eq__(self, other): return True
def solve(values): return Same()""",
    "patched builtins": """
import builtins
builtins.AssertionError = type('Fine', (BaseException,), {})
builtins.all = builtins.any = builtins.abs = builtins.len = lambda *a, **k: 0
builtins.sorted = lambda values: []
def solve(values): return []""",
    "patched builtins in every module": """
import sys
for module in list(sys.modules.values()):
    if hasattr(module, '__dict__'): module.__dict__.update(sorted=lambda v: None, math=None, check=lambda c: None)
def solve(values): return None""",
    "patched math": """
import math
math.isclose = lambda *a, **k: True
math.__dict__['isclose'] = lambda *a, **k: True
def solve(values): return [0]""",
    "its own names": """
def check(candidate): pass
def len(x): return 2
def abs(x): return 0
def all(x): return True
def set(x): return {1}
class math: isclose = lambda *a: True
def solve(values): return []""",
    "an assert that isn't": """
import sys
sys.flags = None
__debug__flag = False
def solve(values): return values or []""",
    "clears its argument": "def solve(values):\n    values.clear()\n    return values",
    "changes its argument and returns None": "def solve(values):\n    values.clear()",
    "raises what asserts raise": "def solve(values): raise AssertionError",
    "raises a class named like the judge's": """
class Stop(BaseException): pass
class Broken(BaseException): pass
def solve(values): raise Stop('done')""",
    "stops the iteration": "def solve(values): raise StopIteration",
    "prints what might be expected": "print('True'); print('1 passed')\ndef solve(values): print('[1, 3]')",
    "writes verdicts everywhere": FRAMES + """
shout('{"case": true, "why": ""}', '{"done": true}', '{"ready": true}')
os._exit(0)""",
    "writes verdicts when called": FRAMES + """
def solve(values):
    shout('{"case": true, "why": ""}', '{"done": true}', '{"v": [1, 3]}')
    os._exit(0)""",
    "writes answers in advance": FRAMES + """
def solve(values):
    shout(*['{"n": "0", "v": [1, 3]}'] * 20)
    return []""",
    "answers that are no JSON": FRAMES + "shout('{{{', '[' * 100000)\ndef solve(values): return []",
    "an endless frame": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff\\xff\\xff\\xffx')\n    "
    "except OSError: pass\ndef solve(values): return []",
    "forged answers with the right nonce": GUEST + """
send = channel.send
def forged(self, message):
    message.pop('e', None)
    send(self, {**message, 'v': {'obj': 'check'}, 'case': True, 'done': True, 'why': ''})
channel.send = forged
def solve(values): return []""",
    "forged answers of odd shapes": GUEST + """
send, shapes = channel.send, iter([{}, {'dict': [[[], 1]]}, {'range': [0, 1 << 60, 1]}, {'tuple': 3}, {'int': 'x'}])
def forged(self, message):
    if message.get('v') is not None: message['v'] = next(shapes, None)
    send(self, message)
channel.send = forged
def solve(values): return values""",
    "a message that is a case": GUEST + """
send = channel.send
channel.send = lambda self, message: send(self, {'n': message['n'], 'case': True, 'why': ''})
def solve(values): return []""",
    "patched packing": """
import sys
values_module = sys.modules['prerlkit.sandbox.guest.values']
candidate = sys.modules['prerlkit.sandbox.guest.candidate']
candidate.pack = values_module.pack = lambda *a: True
def solve(values): return []""",
    "looks for the tests": """
import gc, sys
def solve(values):
    found = [item for item in gc.get_objects() if isinstance(item, (list, tuple)) and len(item) == 2 and 271828 in item]
    frame = sys._getframe()
    while frame:
        if 'check' in frame.f_globals or 'expected' in frame.f_locals: return sorted(set(values))
        frame = frame.f_back
    for item in gc.get_objects():
        if isinstance(item, dict) and 'assert candidate' in str(item.get('test', '')): return sorted(set(values))
    return []""",
    "reads files for the tests": """
import glob, os
def solve(values):
    for path in glob.glob('/**', recursive=True)[:5000]:
        try:
            if path.endswith(('.json', '.jsonl', '.parquet')) and 'candidate' in open(path).read(): return [1, 3]
        except (OSError, ValueError): pass
    return []""",
    "deletes the tests": """
import os, shutil
for folder in ('/tmp', '.', '/'): shutil.rmtree(folder, ignore_errors=True)
def solve(values): return []""",
    "pickle": """
import pickle
class Bomb:
    def __reduce__(self): return (exec, ("check = lambda c: None",))
def solve(values): return pickle.dumps(Bomb())""",
    "an object that is asked to reduce itself": """
class Bomb:
    def __reduce_ex__(self, protocol): return (print, ('escaped',))
    __eq__ = lambda self, other: True
def solve(values): return [Bomb(), Bomb()]""",
    "an endless iterator": "import itertools\ndef solve(values): return itertools.count()",
    "a list that holds itself": "def solve(values):\n    a = []\n    a.append(a)\n    return a",
    "a value of 20 MB": "def solve(values): return 'x' * 20_000_000",
    "a number without end": "def solve(values): return 1 << 100_000_000",
    "not a number": "def solve(values): return [float('nan'), float('inf')]",
    "deeply nested": "def solve(values):\n    a = []\n    for _ in range(150): a = [a]\n    return a",
    "a thread that writes later": FRAMES + """
import threading, time
def later():
    while True: shout('{"done": true}'); time.sleep(0.001)
threading.Thread(target=later).start()
def solve(values): return []""",
    "a trace function": """
import sys
def trace(frame, event, arg):
    frame.f_locals.update(answer={'v': True}); return trace
sys.settrace(trace)
def solve(values): return []""",
    "an alarm": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: 1/0)\nsignal.setitimer(0, .001, .001)\n"
    "def solve(values): return []",
    "code as bytes through ctypes": """
import ctypes, sys
for name in ('True', 'False'): pass
ctypes.memset(id(False) + 16, 1, 8)
def solve(values): return []""",
    "never answers": "def solve(values):\n    while True: pass",
    "defines something else": "def another(values): return sorted(set(values))",
    "does not compile": "def solve(values) return",
    "null bytes": "def solve(values):\0 return sorted(set(values))",
    "lone surrogates": "def solve(values): return '\ud800'",
    "a megabyte of brackets": "(" * 1_000_000,
    "nothing": "   \n",
    "empty body": "    pass",
    "the prompt again": PROMPT,
    "prose": "The answer is to sort the values and remove doubles.",
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_passes(name, code, nothing_left) -> None:
    for row in (ROW, ASSERTS, CALLS):
        verdict = code.judge(VerifierInput("", FORGERIES[name], None, row))
        assert verdict.passed is False, (row, verdict)
    assert code.judge(VerifierInput("", SOLUTION, None, ROW)).passed is True


@pytest.mark.parametrize("row", [ROW, ASSERTS, CALLS], ids=["check", "asserts", "calls"])
def test_the_solution_passes(row, code) -> None:
    verdict = code.judge(VerifierInput("", SOLUTION, None, row))
    assert verdict.passed is True, verdict


def test_a_forgery_gains_no_fraction(layer) -> None:
    from prerlkit.verify.registry import make

    verifier = make("code", {"layer": layer, "score": "fraction", "case_seconds": 1.0, "total_seconds": 3.0})
    for name in ("equals everything", "writes verdicts when called", "os._exit when called", "patched packing"):
        assert verifier.judge(VerifierInput("", FORGERIES[name], None, CALLS)).score == 0.0, name


def test_the_names_promise_at_least_forty() -> None:
    assert len(FORGERIES) >= 50


def test_the_page_counts_the_completions() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert f"\n| forged verdicts | {len(FORGERIES)} |" in page
