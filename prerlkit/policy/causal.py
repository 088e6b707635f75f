"""The class of transformers that loads a model as a causal LM over text."""

from __future__ import annotations

from typing import Any


def causal_class(config: Any) -> Any:
    """Return the auto class that loads a model of this config: of causal LMs where it has one, else of text and images.

    Of a model of text and images the first gives the language model alone where transformers has a class for that.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    known = type(config) in AutoModelForCausalLM._model_mapping or type(config) not in (
        AutoModelForImageTextToText._model_mapping
    )
    return AutoModelForCausalLM if known else AutoModelForImageTextToText
