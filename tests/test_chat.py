"""A chat template that computes without end, nests deep or makes gigabytes ends in one message."""

from __future__ import annotations

import re
import resource

import pytest

from prerlkit import chat
from prerlkit.data.render import Renderer
from prerlkit.errors import UsageError
from prerlkit.policy.tokens import Tokens, resolve_start_token, turn_end_note
from prerlkit.recipe.sources import Data

LOOP = "{% for i in range(99999) %}" * 4 + "{% endfor %}" * 4
HOSTILE = {
    "endless": (LOOP, "takes more than 0.3 s"),
    "endless for one row only": ("{% if 'w1' in messages[0].content %}" + LOOP + "{% endif %}x", "more than 0.3 s"),
    "5,000 brackets": ("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}", "recursion"),
    "5,000 loops": ("{% for i in [1] %}" * 5_000 + "{% endfor %}" * 5_000, "recursion"),
    "thirty loops": ("{% for i in [1] %}" * 30 + "{% endfor %}" * 30, "nested blocks"),
    "64 GiB in one operation": ("{{ 'a' * 2**36 }}", "GiB of memory"),
    "64 GiB by a filter": ("{{ 'a' | center(2**36) }}", "GiB of memory"),
    "text that doubles": (
        "{% set n = namespace(t='ab') %}{% for i in range(40) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
        "GiB of memory",
    ),
    "a long prompt": ("{{ 'a' * 2**24 }}", "16,777,216 characters"),
    "a division by zero": ("{{ 1 // 0 }}", "zero"),
    "a huge range": ("{{ range(10**30) }}", "too big|too large|maximum"),
    "a long error": ("{{ raise_exception('x' * 2**20) }}", "x{300}…$"),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(chat, "SECONDS", 0.3)
    monkeypatch.setattr(chat, "ROOM", 1 << 28)


def data(**changes) -> Data:
    rows = {"kind": "generator", "name": "arithmetic", "rows": 2}
    return Data.model_validate({"train": rows, "eval": rows, "chat": True, **changes})


@pytest.mark.parametrize("name", HOSTILE)
def test_one_message_before_the_first_step(make_tokenizer, name):
    template, message = HOSTILE[name]
    tokenizer = make_tokenizer(chat_template=template)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(UsageError, match="chat template") as error:
        Renderer(data(), tokenizer).render_texts({"train/0": "w0", "train/1": "w1"})
    assert re.search(message, error.value.message), error.value.message
    assert len(error.value.message) < 500
    assert resource.getrlimit(resource.RLIMIT_AS) == limit


@pytest.mark.parametrize("name", [name for name in HOSTILE if "row" not in name])
def test_the_same_where_the_template_gives_the_start_token(make_tokenizer, name):
    with pytest.raises(UsageError, match="chat template"):
        resolve_start_token("auto", make_tokenizer(chat_template=HOSTILE[name][0]))


def test_a_note_about_the_template_is_left_out_where_it_fails(make_tokenizer):
    assert turn_end_note(Tokens(make_tokenizer(chat_template=LOOP), (256,), None), {}) == ""


def test_long_messages_and_many_are_rendered(make_tokenizer, monkeypatch):
    """The limits are of what the template adds, and of each 2,048 conversations."""
    monkeypatch.setattr(chat, "AT_ONCE", 2)
    monkeypatch.setattr(chat, "MOST_ADDED", 10)
    tokenizer = make_tokenizer(chat_template="{% for m in messages %}{{ m.content * 2 }}{% endfor %}")
    texts = {f"train/{n}": str(n) * 100_000 for n in range(5)}
    assert Renderer(data(), tokenizer).render_texts(texts) == [text * 2 for text in texts.values()]
