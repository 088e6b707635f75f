"""Which part of a completion is its code: of several blocks, unclosed ones, indented ones and lists."""

from __future__ import annotations

import time

import pytest

from prerlkit.verify.code_tests.fences import code_of

ADD = "def add(a, b):\n    return a + b\n"
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)\n"
PYTHON, USAGE = f"```python\n{ADD}```\n", "```python\nprint(add(1, 2))\n```\n"

DOCTEST = "def f():\n    '''\n    ```\n    f()\n    ```\n    '''\n"

FUNCTIONS = {
    "example usage": PYTHON + "Example usage:\n" + USAGE,
    "example usage, untagged": PYTHON + "Example usage:\n```\nprint(add(1, 2))\n```\n",
    "example usage with an assignment": PYTHON + "```py\nx = add(1, 2)\nassert x == 3\n```",
    "example usage that binds the name": "```python\nclass Solution:\n    def add(self, a, b): return a + b\n```\n"
    "```python\nadd = Solution().add\n```",
    "a test of it": PYTHON + "```python\nimport unittest\nclass T(unittest.TestCase): pass\n```",
    "an output block": PYTHON + "Output:\n```\n3\n```",
    "an output block with a language": PYTHON + "```text\n3\n```",
    "a shell block": PYTHON + "```bash\npython add.py\n```",
    "a doctest": PYTHON + "```python\n>>> add(1, 2)\n3\n```",
    "a first try": "```python\ndef add(a, b):\n    return a - b\n```\nNo:\n" + PYTHON,
    "solution untagged, output untagged": f"```\n{ADD}```\n```\n3\n```",
    "in a numbered list": "1. Write it:\n\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n\n2. Done.",
    "behind a bullet": "- ```python\n  def add(a, b):\n      return a + b\n  ```\n",
    "in a list by four": "1.  It:\n    ```python\n    def add(a, b):\n        return a + b\n    ```",
    "in a list by a tab": "*\tIt:\n\t```python\n\tdef add(a, b):\n\t    return a + b\n\t```",
    "with Windows ends of lines": PYTHON.replace("\n", "\r\n"),
    "never closed": f"```python\n{ADD}",
    "never closed, prose behind": f"```python\n{ADD}\nThis function adds the two numbers.",
    "never closed, prose at once": f"```python\n{ADD}Hope this helps",
    "never closed, prose without a stop": f"```python\n{ADD}\nThis function adds two numbers and returns the sum",
    "never closed, a label": f"```python\n{ADD}\n**Explanation:**\nIt adds.",
    "never closed, the next begins": f"```python\n{ADD}```python\nprint(add(1, 2))\n```",
    "never closed, words and the next": f"```python\n{ADD}\nExample usage:\n```python\nprint(add(1, 2))\n```",
    "closed behind the code": "```python\ndef add(a, b):\n    return a + b```\nDone.",
    "only a closing fence": f"{ADD}```\nThis adds.",
    "begun in the prompt, usage behind": f"{ADD}```\nUsage:\n{USAGE}",
    "a longer fence": f"````python\n{ADD}````\n",
    "tildes": f"~~~python\n{ADD}~~~",
    "upper case": f"```Python\n{ADD}```",
    "with a version": f"```python3.11\n{ADD}```",
    "pandoc's braces": f"```{{.python}}\n{ADD}```",
    "with attributes": f"```python title=add.py\n{ADD}```",
    "code in prose first": "Call ```add``` then.\n" + PYTHON,
    "a defined name": "```python\nadd = lambda a, b: a + b\n```\n" + USAGE,
    "MBPP's markers": f"[BEGIN]\n{ADD}[DONE]",
    "MBPP's markers, Windows ends of lines": f"[BEGIN]\n{ADD}[DONE]\n".replace("\n", "\r\n"),
    "MBPP's markers in prose": f"Here it is:\n[BEGIN]\n{ADD}[DONE]\nIt adds.",
    "MBPP's markers, on the code's lines": f"[BEGIN]{ADD.rstrip()} [DONE]",
    "MBPP's markers, begun in the prompt": f"{ADD}[DONE]\nIt adds.",
    "MBPP's markers, another task behind": f"{ADD}[DONE]\nNext:\n[BEGIN]\ndef other():\n    pass\n[DONE]",
    "MBPP's markers, never closed": f"[BEGIN]\n{ADD}\nThis function adds the two numbers.",
    "MBPP's markers, a first try": f"[BEGIN]\ndef add(a, b):\n    return a - b\n[DONE]\nNo:\n[BEGIN]\n{ADD}[DONE]",
    "MBPP's markers around a block": f"[BEGIN]\n{PYTHON}[DONE]",
    "MBPP's markers in a block": f"```python\n[BEGIN]\n{ADD}[DONE]\n```",
    "a class of it": "```python\nclass Solution:\n    def add(self, a, b): return a + b\n```\n"
    "```python\nprint(Solution().add(1, 2))\n```",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_block_that_defines_the_function_is_the_code(name) -> None:
    code = code_of(FUNCTIONS[name], {"add"})
    names: dict = {}
    exec(code, names)
    add = names["Solution"]().add if "Solution" in names else names["add"]
    assert add(1, 2) == 3
    assert "print(" not in code


PROGRAMS = {
    "sample output": f"```python\n{PROGRAM}```\nSample output:\n```\n3\n```\n",
    "sample input and output": f"```python\n{PROGRAM}```\nInput:\n```\n1 2\n```\nOutput:\n```\n3\n```\n",
    "untagged, then output": f"```\n{PROGRAM}```\nOutput:\n```\nx = 3\n```\n",
    "a helper shown again": f"```python\n{PROGRAM}```\nThe sum:\n```python\nprint(1 + 2)\n```\n",
    "an input in a comment": f"```python\n{PROGRAM}```\n```python\n# input: 1 2, output: 3\nx = 3\n```\n",
    "in a list": "1. So:\n   ```python\n   a, b = map(int, input().split())\n   print(a + b)\n   ```\n"
    "   ```\n   3\n   ```",
    "standard input by sys": "```python\nimport sys\nprint(sum(map(int, sys.stdin.read().split())))\n```\n```\n3\n```",
    "unclosed": f"It is:\n```python\n{PROGRAM}",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_block_that_reads_its_input_is_the_program(name, monkeypatch, capsys) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("1 2\n"))
    exec(code_of(PROGRAMS[name], stdin=True), {})
    assert capsys.readouterr().out == "3\n"


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("    return a + b\n```\nDone.", "    return a + b\n"),
        ("```python\n    return a + b\n```\n", "    return a + b\n"),
        (f"```python\n{DOCTEST}```", DOCTEST),
        ("Is it this?\n```\n```", ""),
        ("There is no code", "There is no code"),
        ("x = ['[BEGIN]']\nDONE = [BEGIN][0]\n", "x = ['[BEGIN]']\nDONE = [BEGIN][0]\n"),
        ("[BEGIN]\n[DONE]", "\n"),
        ("    return a + b\n[DONE]\n", "    return a + b\n\n"),
    ],
)  # fmt: skip
def test_text_is_kept_as_it_is(completion: str, code: str) -> None:
    assert code_of(completion, {"add"}) == code


@pytest.mark.parametrize(
    "text",
    [
        "```\n" * 100_000, "- " * 200_000 + "\n", "`" * 1_000_000, " " * 1_000_000 + "x", "(" * 1_000_000,
        "```\n\nA" + " a" * 250_000, "```python\n" + "a," * 300_000 + "\n```", "1. " * 100_000,
        "```python\nif " * 50_000, "```\nif" + " " * 200_000 + ":x\n", "```\n" + "\n" * 300_000 + "x",
        "```python\n" + "def " * 200_000, "[BEGIN]\n" * 100_000, "[DONE]\n" * 100_000, " " * 100_000 + "[DONE",
        "[BEGIN] [DONE]\n" * 50_000,
    ],
)  # fmt: skip
def test_long_texts_are_read_at_once(text: str) -> None:
    start = time.process_time()
    code_of(text, {"add"}, stdin=True)
    assert time.process_time() - start < 3.0
