"""Push against a Hub on localhost, by the real client in separate processes, and back down again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from safetensors.torch import load_file, save_file

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy import source
from prerlkit.policy.layout import Layout, TensorGroup
from prerlkit.publish.push import push

PUSH = "from prerlkit.publish.push import push\n"
LOGITS = """
import torch
from transformers import AutoModelForCausalLM
tokens = torch.tensor([list(b"What is 3 + 4? 7, I think.")])
def logits(model):
    with torch.no_grad(): return model(input_ids=tokens).logits
def apart(a, b): return (a - b).abs().max().item()
"""


def folder_files(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.fixture
def with_base(hub, base_model):
    """The Hub holds the base too, with its licence."""
    card = b"---\nlicense: apache-2.0\n---\n# Tiny\n"
    hub.put("me/tiny-llama", {**folder_files(base_model), "README.md": card})
    return "me/tiny-llama"


def test_an_adapter_goes_up_by_the_command_line_and_comes_back_as_the_policy(hub, hub_env, with_base, finished, client):
    command = [sys.executable, "-m", "prerlkit", "push", finished, "--repo", "me/sums", "--base", with_base]
    done = subprocess.run(command, env=hub_env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert f"pushed: {hub.url}/me/sums/commit/" in done.stdout
    files = hub.repos["me/sums"].files("main")
    assert {"README.md", "adapter_model.safetensors", "adapter_config.json", "recipe.yaml", "curves.png"} <= set(files)
    metadata = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert metadata["license"] == "apache-2.0"
    assert (metadata["base_model"], metadata["base_model_relation"]) == (with_base, "adapter")
    (result,) = metadata["model-index"][0]["results"]
    last = json.loads((finished / "evaluations.jsonl").read_text().splitlines()[-1])
    assert result["metrics"][0]["value"] == pytest.approx(last["accuracy"]["value"], abs=1e-4)
    assert files["curves.png"].startswith(b"\x89PNG")
    everything = b"".join(files.values())
    assert str(finished).encode() not in everything
    assert b"hf_writer" not in everything
    (said,) = client(
        LOGITS + "from peft import PeftModel\n"
        "from huggingface_hub import snapshot_download\n"
        f"base = AutoModelForCausalLM.from_pretrained('{with_base}', dtype=torch.float32)\n"
        "untrained = logits(base)\n"
        "pulled = logits(PeftModel.from_pretrained(base, 'me/sums'))\n"
        "plain = AutoModelForCausalLM.from_pretrained('" + with_base + "', dtype=torch.float32)\n"
        "plain.load_adapter('me/sums')\n"
        f"again = AutoModelForCausalLM.from_pretrained('{with_base}', dtype=torch.float32)\n"
        f"local = logits(PeftModel.from_pretrained(again, '{finished}/adapter'))\n"
        "import os\n"
        "say([apart(pulled, local), apart(logits(plain), local), apart(local, untrained),"
        " sorted(os.listdir(snapshot_download('me/sums')))])\n"
    )
    by_peft, by_transformers, moved, listed = said
    assert by_peft == 0
    assert by_transformers < 1e-4 < 0.01 < moved
    assert set(files) == set(listed)


def test_a_merged_model_goes_up_once_and_comes_back(hub, finished, client):
    said = client(
        PUSH + f"run = '{finished}'\n"
        "one = push(run, 'me/whole', merged=True, private=True, license='mit')\n"
        "two = push(run, 'me/whole', merged=True, license='mit')\n"
        "side = push(run, 'me/whole', merged=True, license='mit', revision='side')\n"
        "say([one.url, two.url, list(two.notes), side.url])\n" + LOGITS + "found = "
        "logits(AutoModelForCausalLM.from_pretrained('me/whole', dtype=torch.float32))\n"
        "say(apart(found, logits(AutoModelForCausalLM.from_pretrained(run + '/merged', dtype=torch.float32))))\n"
    )
    (one, two, notes, _), difference = said
    assert difference == 0
    repo = hub.repos["me/whole"]
    assert repo.private
    assert len(repo.branches["main"]) == 2  # the first one is the Hub's own; pushing the same again adds none
    assert two == one
    assert repo.files("side") == repo.files("main")
    assert "base_model:" not in repo.files("main")["README.md"].decode()  # a local folder has no id
    assert not any("licence" in note for note in notes)


def test_an_interrupted_upload_goes_on_where_it_was(hub, finished, client):
    """The connection is cut within the second weight file: what had arrived is not sent again."""
    from prerlkit.publish.merge import merge

    merge(finished, shard_bytes=100_000)
    weights = sorted((finished / "merged").glob("*.safetensors"))
    assert len(weights) >= 3
    total = sum(p.stat().st_size for p in weights)
    hub.faults.append(_after_first_put(hub))
    (broken,) = client(PUSH + f"say(attempt(push, '{finished}', 'me/whole', merged=True))\n")
    assert "The connection broke off while uploading model-00002" in broken["error"]
    assert "repeat the same command" in broken["hint"]
    assert "README.md" not in hub.repos["me/whole"].files("main")  # nobody sees half a repository
    before = hub.received
    assert 0 < before < total
    hub.faults.clear()
    client(PUSH + f"push('{finished}', 'me/whole', merged=True)\n")
    files = hub.repos["me/whole"].files("main")
    assert all(files[p.name] == p.read_bytes() for p in weights)
    png = len(files["curves.png"])
    assert hub.received == total + png  # each byte once


def _after_first_put(hub):
    """A fault that lets one object through."""

    class Later(hub.Fault):
        count = 0

        @property
        def pattern(self):
            return "PUT /lfs/" if len(hub.objects) >= 2 else "^never$"  # the picture, and one weight file

        @pattern.setter
        def pattern(self, value): ...

    return Later("", None)


def test_every_refusal_says_what_it_is_before_anything_is_made(hub, finished, client):
    """No token, a wrong one, a read-only one, a fine-grained one without the right, somebody else's name."""
    hub.user("hf_reader", "me", role="read")
    hub.user("hf_fine", "me", role="fineGrained", scoped=[{"entity": {}, "permissions": ["repo.content.read"]}])
    hub.user("hf_other", "you", orgs=("club",))
    said = client(
        PUSH + "import os\n"
        "for token in ('', 'hf_wrong', 'hf_reader', 'hf_fine', 'hf_other'):\n"
        "    os.environ['HF_TOKEN'] = token\n"
        f"    say(attempt(push, '{finished}', 'me/whole', merged=True))\n"
        "os.environ['HF_TOKEN'] = 'hf_writer'\n"
        f"say(attempt(push, '{finished}', 'whole', merged=True))\n"
    )
    messages = [one["error"] for one in said]
    expected = (
        "There is no token",
        "does not know this token (401",
        "may only read",
        "no right to write",
        "belongs to",
    )
    assert [e for e, m in zip(expected, messages, strict=False) if e not in m] == [], messages
    assert 'repositories of "me"' in messages[4]
    assert "has no owner" in messages[5]
    assert all(one["hint"] for one in said)
    assert hub.received == 0
    assert hub.repos == {}
    assert not (finished / "merged").exists()  # and nothing heavy was done for nothing


BREAKS = {
    "create 403": ("POST /api/repos/create", 403, "may not do this with me/whole (403"),
    "create 429": ("POST /api/repos/create", 429, "asks for fewer requests (429"),
    "preupload 500": ("POST .*/preupload/", 500, "internal error (500"),
    "upload 401": ("PUT /lfs/", 401, "does not know this token (401"),
    "upload cut": ("PUT /lfs/", None, "The connection broke off while uploading"),
    "commit 409": ("POST .*/commit/", 409, "changed while it was being written to (409"),
    "commit 412": ("POST .*/commit/", 412, "changed while it was being written to (412"),
    "commit 503": ("POST .*/commit/", 503, "internal error (503"),
}


def test_each_failure_on_the_way_has_a_clear_message(hub, finished, client):
    """One process for all: the order of faults is told to the server by a path that it has no route for."""
    from prerlkit.publish.merge import merge

    merge(finished)
    import threading

    answers: list[list] = []

    def one(name: str) -> None:
        hub.repos.clear()
        hub.objects.clear()
        pattern, status, _ = BREAKS[name]
        hub.faults[:] = [hub.Fault(pattern, status)]

    names = iter(BREAKS)
    lock = threading.Lock()

    class Next(hub.Fault):
        """Matches GET /next, and sets the next fault on its way."""

        @property
        def pattern(self):
            if hub.log and hub.log[-1].startswith("GET /next"):
                with lock:
                    hub.log.append("")
                    one(next(names))
                    hub.faults.append(Next("", 204))
                return "GET /next"
            return "^never$"

        @pattern.setter
        def pattern(self, value): ...

    hub.faults.append(Next("", 204))
    answers = client(
        PUSH + "import os, urllib.request, urllib.error\n"
        f"for _ in range({len(BREAKS)}):\n"
        "    try: urllib.request.urlopen(os.environ['HF_ENDPOINT'] + '/next')\n"
        "    except urllib.error.HTTPError: pass\n"
        f"    say(attempt(push, '{finished}', 'me/whole', merged=True))\n"
    )
    for name, answer in zip(BREAKS, answers, strict=True):
        assert BREAKS[name][2] in answer["error"], (name, answer)
        assert answer["code"] == 1
        assert answer["hint"]
        assert "Traceback" not in answer["error"]


def test_a_repository_with_other_contents_is_not_written_over(hub, finished, client):
    hub.put("me/whole", {"README.md": b"# Somebody's work\n", "model.safetensors": b"x" * 100})
    first, second = client(
        PUSH + f"say(attempt(push, '{finished}', 'me/whole', merged=True))\n"
        f"push('{finished}', 'me/whole', merged=True, overwrite=True)\n"
        "say(attempt(push, '" + str(finished) + "', 'me/whole', base='me/x'))\n"
    )
    assert "exists and holds 2 other files" in first["error"]
    assert "--overwrite" in first["hint"]
    assert "holds the merged of run tiny" in second["error"]
    files = hub.repos["me/whole"].files("main")
    assert files["README.md"].startswith(b"---\n")
    assert len(hub.repos["me/whole"].branches["main"]) == 2  # what was there is in its history


def test_a_dry_run_lists_files_and_shows_the_card_without_a_network(finished, monkeypatch):
    import socket

    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("a dry run used the network"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    pushed = push(finished, "me/sums", base="me/tiny-llama", dry_run=True)
    assert pushed.url is None
    assert {"README.md", "recipe.yaml", "curves.png", "prerlkit.json"} <= set(pushed.files)
    assert any("would be made first" in note for note in pushed.notes)
    for part in ("PeftModel.from_pretrained", "load_adapter", "vllm serve", "What was not run", "recipe.yaml"):
        assert part in pushed.card
    assert str(finished) not in pushed.card


@pytest.mark.parametrize("merged", [False, True])
def test_a_dry_run_refuses_a_base_whose_layout_is_not_known(finished, base_model, tmp_path, monkeypatch, merged):
    other = shutil.copytree(base_model, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["model.renamed.weight"] = weights.pop("model.norm.weight")
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(source, "cached_model", lambda model: other)
    with pytest.raises(UsageError, match=r"could not be published.*model\.norm\.weight"):
        push(finished, "me/sums", base="me/tiny-llama", merged=merged, dry_run=True)


def test_a_dry_run_of_a_merge_tries_every_conversion_that_the_adapters_need(finished, monkeypatch):
    tried = []
    monkeypatch.setattr(Layout, "group", lambda self, name: tried.append(name) or TensorGroup(name, (), "converter"))

    def refuse(self, group):
        raise PrerlkitError("transformers' conversion, reverted, gives another tensor.")

    monkeypatch.setattr(Layout, "check_reversible", refuse)
    with pytest.raises(UsageError, match="reverted, gives another tensor"):
        push(finished, "me/whole", merged=True, dry_run=True)
    assert tried
    assert push(finished, "me/whole", base="me/tiny-llama", dry_run=True).url is None  # an adapter reverts nothing


def test_a_dry_run_without_the_base_names_what_it_did_not_check(finished, monkeypatch):
    monkeypatch.setattr(source, "cached_model", lambda model: None)
    pushed = push(finished, "me/whole", merged=True, dry_run=True)
    assert any("not checked: whether the merged weights can be made" in note for note in pushed.notes)


def test_half_a_merge_is_published_as_half_a_merge(finished):
    from prerlkit.publish.merge import merge

    merge(finished, lora_scale=0.5, dtype="float16")
    pushed = push(finished, "me/whole", merged=True, dry_run=True)
    assert "model.safetensors" in pushed.files
    assert "Merged with 0.5 times the trained change" in pushed.card


def test_an_adapter_whose_base_nobody_could_load_is_refused(finished, monkeypatch):
    with pytest.raises(UsageError, match="no user who downloads it could load it") as error:
        push(finished, "me/sums", dry_run=True)
    assert "--base" in error.value.hint
    assert "--merged" in error.value.hint


def test_an_unfinished_run_is_published_only_as_what_it_is(make_run):
    run = make_run(stop_after=3)
    with pytest.raises(UsageError, match="last checkpoint is of step 3"):
        push(run, "me/sums", merged=True, dry_run=True)
    pushed = push(run, "me/sums", merged=True, dry_run=True, checkpoint=True)
    assert "a checkpoint of step 3 of an unfinished run" in pushed.card
