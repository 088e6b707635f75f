"""What a message may quote: no token, no password, no login of an address."""

from __future__ import annotations

import pytest

from prerlkit.secrets import HIDDEN, redact


@pytest.mark.parametrize(
    "name",
    ["GH_PAT", "WANDB_KEY", "DB_PASS", "DB_PWD", "HF_TOKEN", "MY_SECRET", "SSH_PASSPHRASE", "NPM_AUTH", "SENTRY_DSN",
     "OPENAI_API_KEY", "KEY", "db_pass", "MYSQL_PW"],
)  # fmt: skip
def test_values_of_variables_that_are_named_like_secrets(name, monkeypatch):
    monkeypatch.setenv(name, "correct-horse-battery")
    assert redact("it said correct-horse-battery twice") == f"it said {HIDDEN} twice"


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "KEYBOARD", "PATH", "COMPASS", "MONKEYS", "SSH_AUTH_SOCK"])
def test_other_variables_stay(name, monkeypatch):
    monkeypatch.setenv(name, "correct-horse-battery")
    assert redact("it said correct-horse-battery") == "it said correct-horse-battery"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://s3cr3t@host/x", "s3cr3t"),
        ("https://user:s3cr3t@host/x", "s3cr3t"),
        ("postgres://user:s3c@r3t@host:5432/db", "r3t"),
        ("https://host/x?a=1&token=s3cr3t&b=2", "s3cr3t"),
        ("https://host/x?access_token=s3cr3t", "s3cr3t"),
        ("https://bucket.s3/x?X-Amz-Signature=s3cr3t&X-Amz-Date=1", "s3cr3t"),
        ("https://blob/x?sv=1&sig=s3cr3t%3D", "s3cr3t"),
        ("https://host/x?api_key=s3cr3t#top", "s3cr3t"),
        ("ghp_0123456789abcdef0123456789abcdef0123", "0123456789abcdef"),
        ("hf_0123456789abcdef0123", "0123456789abcdef"),
        ("sk-proj-0123456789abcdef0123456789", "0123456789abcdef"),
    ],
)
def test_shapes(text, secret):
    shown = redact(f"Can't reach {text} today")
    assert secret not in shown
    assert HIDDEN in shown
    assert shown.startswith("Can't reach ")
    assert shown.endswith(" today")


@pytest.mark.parametrize(
    "text",
    ["https://host/@user/x", "https://host/x?page=2&sort=key", "see https://a.b/c, or mail me@d.e", "key=value",
     "a://b c@d"],
)  # fmt: skip
def test_what_is_no_secret_stays(text):
    assert redact(text) == text
