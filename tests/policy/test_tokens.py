"""The start token of P(y) and the end tokens: resolved by name, on tokenizers with and without BOS."""

from __future__ import annotations

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.tokens import (
    Tokens,
    end_token_ids,
    load_tokenizer,
    read_tokens,
    resolve_start_token,
    turn_end_note,
)
from prerlkit.recipe.model import Model


def test_auto_takes_bos_where_there_is_one(make_tokenizer):
    start = resolve_start_token("auto", make_tokenizer(bos="<begin>"))
    assert (start.text, start.source) == ("<begin>", "bos")


def test_without_bos_auto_takes_the_token_that_opens_a_turn(make_tokenizer):
    tokenizer = make_tokenizer()
    start = resolve_start_token("auto", tokenizer)
    assert (start.text, start.source) == ("<turn>", "chat template")
    assert start.id == tokenizer.convert_tokens_to_ids("<turn>")


def test_a_template_that_opens_with_text_gives_its_first_token(make_tokenizer):
    template = "{% for m in messages %}Q: {{ m.content }}{% endfor %}"
    assert resolve_start_token("auto", make_tokenizer(chat_template=template)).text == "Q"


def test_any_one_token_may_be_named(make_tokenizer):
    tokenizer = make_tokenizer(bos="<begin>")
    for word in ("<turn>", "<end>", "x"):
        start = resolve_start_token(word, tokenizer)
        assert (start.text, start.source) == (word, "recipe")
        assert tokenizer.decode([start.id]) == word


def test_the_token_for_unknown_words_is_one_that_may_be_named(make_tokenizer):
    """SmolLM2's is <|endoftext|>, a separator of documents."""
    tokenizer = make_tokenizer(bos="<begin>")
    tokenizer.unk_token = "<turn>"
    assert resolve_start_token("<turn>", tokenizer).text == "<turn>"


@pytest.mark.parametrize("word", ["two", "<|im_start|>", " "])
def test_what_is_not_exactly_one_token_is_refused(make_tokenizer, word):
    tokenizer = make_tokenizer()
    if len(tokenizer.encode(word, add_special_tokens=False)) == 1:
        pytest.skip("one token here")
    with pytest.raises(UsageError, match="is not one token: it is") as error:
        resolve_start_token(word, tokenizer)
    assert "<turn>" in error.value.hint


def test_neither_bos_nor_template_asks_for_a_name(make_tokenizer):
    with pytest.raises(UsageError, match="neither a BOS token nor a chat template"):
        resolve_start_token("auto", make_tokenizer(chat_template=None))


def test_end_tokens_are_the_tokenizers_and_generation_configs(tiny_model, tmp_path):
    tokenizer = load_tokenizer(str(tiny_model))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 256]}')
    assert end_token_ids(str(tmp_path), tokenizer) == (3, 256)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 7}')
    assert end_token_ids(str(tmp_path), tokenizer) == (7, 256)
    tokenizer.eos_token = None
    (tmp_path / "generation_config.json").unlink()
    with pytest.raises(UsageError, match="would never end"):
        end_token_ids(str(tmp_path), tokenizer)


def test_a_folder_without_a_tokenizer_is_said_so(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(PrerlkitError, match="No usable tokenizer"):
        load_tokenizer(str(tmp_path))


def test_an_empty_generation_config_names_nothing(tiny_model, tmp_path):
    (tmp_path / "generation_config.json").write_text("")
    assert end_token_ids(str(tmp_path), load_tokenizer(str(tiny_model))) == (256,)
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        end_token_ids(str(tmp_path), load_tokenizer(str(tiny_model)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"eos_token_id": 3}'.encode("utf-16"), "is not UTF-8"),
        (b"[3]", "no JSON object"),
        (b'{"eos_token_id": "</s>"}', "neither a token's id nor a list"),
        (b'{"eos_token_id": [3, null]}', "neither a token's id nor a list"),
    ],
)
def test_a_generation_config_that_is_no_such_file_is_refused(tiny_model, tmp_path, content, said):
    (tmp_path / "generation_config.json").write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        end_token_ids(str(tmp_path), load_tokenizer(str(tiny_model)))
    assert "generation_config.json" in str(caught.value)
    assert "delete it" in caught.value.hint


def test_a_template_that_ends_a_turn_with_another_token_is_reported_with_the_setting(make_tokenizer, tmp_path):
    tokenizer = make_tokenizer()
    assert turn_end_note(Tokens(tokenizer, (256,), None), {}) == ""
    note = turn_end_note(Tokens(tokenizer, (65,), None), {})
    assert "ends a turn with '<end>', which is no end token here (those are 'b')" in note
    assert 'model.end_tokens=["<end>"]' in note
    tokenizer.eos_token = "A"
    tokenizer.save_pretrained(tmp_path)
    settled = read_tokens(str(tmp_path), Model(id="x", end_tokens=("<end>",)))
    assert turn_end_note(settled, {}) == ""
    assert 256 in settled.end_ids
    with pytest.raises(UsageError, match=r"model\.end_tokens 'two' is not one token"):
        read_tokens(str(tmp_path), Model(id="x", end_tokens=("two",)))


def test_a_template_without_a_token_at_the_end_of_a_turn_says_nothing(make_tokenizer):
    template = "{% for m in messages %}Q: {{ m.content }}{% endfor %}"
    assert turn_end_note(Tokens(make_tokenizer(chat_template=template), (256,), None), {}) == ""
