"""Keep libraries' own chatter out of a run's output; `-v` lets it in."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Silence progress bars, advice and deprecation notices of the libraries underneath. Errors still show."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("HF_HUB_VERBOSITY", "DATASETS_VERBOSITY"):  # read at import, which also resets a logger's level
        os.environ.setdefault(name, "error")
    warnings.filterwarnings("ignore")
    for name in ("bitsandbytes", "transformers", "datasets", "huggingface_hub", "peft", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
