"""Train a base model of the laboratory from scratch on made-up texts, in float32 on one thread.

The same torch build on the same kind of processor gives the same bytes; elsewhere sums are rounded in another order,
and the model is another one of the same quality. `prerlkit/models/reach/README.md` names the machine.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from benchmarks.lab.domains import DOMAINS
from benchmarks.lab.traces import Mixture, text

PAD, BOS, EOS, UNKNOWN = range(4)
_SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
_Ids = tuple[list[int], list[int]]
"""A prompt with its `<bos>`, and a completion with its `<eos>`."""
PACKAGED = Path(__file__).resolve().parents[2] / "prerlkit" / "models" / "reach"
SIZES = {"0.8m": (128, 352, 4), "3m": (256, 704, 4), "10m": (384, 1056, 6)}
"""Width, width of the feed-forward layer, and number of layers."""


@dataclass(frozen=True, slots=True)
class Pretraining:
    """How a base is made; the defaults make the packaged one.

    Attributes:
        domain: one of `DOMAINS`.
        start: folder of a Llama-shaped base of this size to train further; None: train from scratch.
        slow_batches: the slow texts of a step are split into so many batches by length, so that less is padding.
        autocast: multiply matrices in bfloat16; the weights and the optimizer stay in float32.
    """

    domain: str = "reach"
    size: str = "0.8m"
    architecture: str = "llama"
    seed: int = 0
    steps: int = 6000
    texts: int = 128
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    mixture: Mixture = field(default_factory=Mixture)
    start: Path | None = None
    slow_batches: int = 1
    autocast: bool = False


DEFAULTS: Mapping[str, Pretraining] = {
    "reach": Pretraining(),
    "paths": Pretraining(domain="paths", steps=2000, mixture=Mixture(right=0.0, slow=0.4, leak=0.05)),
}
"""How the base of each domain is made. That of `paths` does not look ahead: its texts are random walks."""


def tokenizer(domain: str) -> PreTrainedTokenizerFast:
    """Return the word-level tokenizer; it puts `<bos>` in front of every text."""
    words = Tokenizer(models.WordLevel(_ids(domain), unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), _SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=words, clean_up_tokenization_spaces=False, **names)


def blank(settings: Pretraining) -> LlamaForCausalLM | Qwen3ForCausalLM:
    """Return the untrained model that the seed decides."""
    width, inner, layers = SIZES[settings.size]
    torch.manual_seed(settings.seed)
    shape = {
        "vocab_size": len(_ids(settings.domain)), "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": width // 4,
        "max_position_embeddings": 256,
        "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
    }  # fmt: skip
    if settings.architecture == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape))
    return LlamaForCausalLM(LlamaConfig(**shape))


def started(settings: Pretraining, start: Path) -> LlamaForCausalLM | Qwen3ForCausalLM:
    """Return the model in the folder `start` with the architecture of the settings, in float32.

    Qwen3 is Llama with a norm of each head's queries and keys. The weights of these norms are set to the size that the
    queries and keys had without them, on average over the vocabulary; everything else is inherited.
    """
    source = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
    if settings.architecture == "llama":
        return source
    model = blank(settings)
    model.load_state_dict(source.state_dict(), strict=False)
    seen: dict[str, torch.Tensor] = {}
    for name, layer in source.named_modules():
        if name.endswith((".q_proj", ".k_proj")):
            layer.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    with torch.no_grad():
        source(input_ids=torch.arange(source.config.vocab_size)[:, None])
        for name, norm in model.named_modules():
            if name.endswith((".q_norm", ".k_norm")):
                norm.weight.fill_(seen[name.replace("_norm", "_proj")].square().mean().sqrt())
    return model


def train(settings: Pretraining) -> Iterator[tuple[int, float, LlamaForCausalLM | Qwen3ForCausalLM]]:
    """Yield (step, loss in nats per token, the model) after every step; the model is the same object, trained on."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = blank(settings) if settings.start is None else started(settings, settings.start)
    rng = random.Random(settings.seed)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
    slow = round(settings.texts * settings.mixture.slow)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings)
        optimizer.zero_grad(set_to_none=True)
        # Short and long texts apart, so that little is padding.
        batches = [_batch(_rows("fast", settings.texts - slow, settings, rng))]
        batches += map(_batch, split_by_length(_rows("slow", slow, settings, rng), settings.slow_batches))
        tokens = sum(int((labels != -100).sum()) for _, labels in batches)
        total = 0.0
        for ids, labels in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.autocast):
                logits = model(input_ids=ids).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
            (loss / tokens).backward()
            total += float(loss) / tokens
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield step + 1, total, model


def make(folder: Path, settings: Pretraining) -> str:
    """Train, write the model in bfloat16, its tokenizer and the domain's rows, and return the weights' SHA-256."""
    begun = time.process_time()
    model = blank(settings)
    for step, loss, trained in train(settings):
        model = trained
        if step in (1, 10, 100) or step % 250 == 0:
            print(f"step {step:,}: loss {loss:.3f}, {time.process_time() - begun:,.0f} s of processor time", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer(settings.domain).save_pretrained(folder)
    DOMAINS[settings.domain].write_rows(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _ids(domain: str) -> dict[str, int]:
    return {word: place for place, word in enumerate([*_SPECIAL, *DOMAINS[domain].words])}


def _schedule(step: int, settings: Pretraining) -> float:
    """Return the share of the learning rate: linear warm-up, then a cosine down to 3 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return min(1.0, (step + 1) / settings.warmup) * (0.03 + 0.97 * cosine)


def _rows(kind: str, count: int, settings: Pretraining, rng: random.Random) -> list[_Ids]:
    """Return the ids of `count` texts of that kind."""
    domain, ids_of, rows = DOMAINS[settings.domain], _ids(settings.domain), []
    for _ in range(count):
        prompt, completion = text(domain, domain.problems("pretraining"), settings.mixture, kind, rng)
        front = [BOS, *(ids_of[word] for word in prompt.split())]
        rows.append((front, [*(ids_of[word] for word in completion.split()), EOS]))
    return rows


def split_by_length(rows: list[_Ids], parts: int) -> list[list[_Ids]]:
    """Return the rows in `parts` lists, the short ones first; a single part keeps their order."""
    if parts == 1:
        return [rows]
    ordered = sorted(rows, key=_length)
    ends = [len(rows) * part // parts for part in range(parts + 1)]
    return [ordered[start:end] for start, end in itertools.pairwise(ends)]


def _batch(rows: list[_Ids]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return padded ids and labels [len(rows), T]; prompts are no labels."""
    width = max(map(_length, rows))
    ids = torch.full((len(rows), width), PAD)
    labels = torch.full((len(rows), width), -100)
    for place, (front, rest) in enumerate(rows):
        ids[place, : len(front) + len(rest)] = torch.tensor(front + rest)
        labels[place, len(front) : len(front) + len(rest)] = torch.tensor(rest)
    return ids, labels


def _length(row: _Ids) -> int:
    return len(row[0]) + len(row[1])
