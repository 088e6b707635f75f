"""`prerlkit doctor` on this host, and as it would be on others."""

from __future__ import annotations

import pytest

from prerlkit.sandbox.host import tried


def test_it_says_which_layer_is_used(prerlkit) -> None:
    done = prerlkit("doctor")
    used = next((name for name in ("bubblewrap", "landlock") if not tried(name)), None)
    assert done.returncode == (0 if used else 1), done.stderr
    assert f"used              {used or 'none'}" in done.stdout
    assert "gap  " in done.stdout or used is None


@pytest.mark.parametrize(
    ("works", "code", "said"),
    [
        ({"bubblewrap": "", "landlock": ""}, 0, "used              bubblewrap"),
        ({"bubblewrap": "bwrap is not installed", "landlock": ""}, 0, "used              landlock"),
        ({"bubblewrap": "no namespaces", "landlock": "no Landlock"}, 1, "the verifier `code` refuses to run"),
    ],
)
def test_on_other_hosts(invoke, monkeypatch, works, code, said) -> None:
    installed = "not installed" not in works["bubblewrap"]
    monkeypatch.setattr("prerlkit.sandbox.host.tried", works.__getitem__)
    monkeypatch.setattr("prerlkit.sandbox.host.bwrap", lambda: "/bin/true" if installed else None)
    done = invoke("doctor")
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout
    assert ("apt-get install -y bubblewrap" in done.stdout) is not installed
    assert ("sandbox: NOT USABLE" in done.stdout) is (code == 1)
