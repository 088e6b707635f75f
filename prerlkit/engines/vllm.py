"""The engine `vllm`: started by the run next to the training, or one or several running `vllm serve`.

Its settings are the recipe's `rollout.vllm`. This module decides how the trainer and a vLLM on its device share the
memory. The run and the plan use the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prerlkit.cache import cache_root
from prerlkit.engines.engine import CACHE, OTHER, WEIGHTS, Engine, EngineContext, Reservation, Shared
from prerlkit.errors import UsageError
from prerlkit.paths import user_path
from prerlkit.recipe.dtype import BYTES
from prerlkit.recipe.rollout import MAX_RANK
from prerlkit.rollout import vllm_local, vllm_server
from prerlkit.rollout.canary import Canary, CanaryEngine
from prerlkit.rollout.data_parallel import DataParallelVllm, on_each
from prerlkit.rollout.leftovers import EngineFolder
from prerlkit.rollout.memory import (
    ASLEEP,
    CONTEXT,
    FRAGMENTATION,
    OVERHEAD,
    EngineMemory,
    adapter_sides,
    engine_memory,
    quantized_weights,
)
from prerlkit.rollout.protocol import RolloutEngine
from prerlkit.rollout.restart import RestartingEngine
from prerlkit.rollout.text import completion_text
from prerlkit.rollout.toolchain import compile_problem
from prerlkit.rollout.vllm import Client, VllmEngine, rank_for

if TYPE_CHECKING:
    from prerlkit.recipe.schema import Recipe

_GIB = 1 << 30
QUANTIZATIONS = {"none": None, "fp8": "fp8_per_tensor", "fp8_per_channel": "fp8_per_channel"}
"""vLLM's name for each value of `rollout.vllm.quantization`."""


class VllmRollouts(Engine):
    """vLLM with a copy of the policy, watched by a canary."""

    name = "vllm"
    install: ClassVar[Mapping[str, str]] = {"vllm": "0.32.0"}

    def check(self, recipe: Recipe) -> None:
        if recipe.rollout.vllm.server is not None and recipe.rollout.vllm.quantization != "none":
            raise ValueError(
                "rollout.vllm.quantization is of an engine that the run starts: a server is started with its own "
                f"(--quantization {QUANTIZATIONS[recipe.rollout.vllm.quantization]})"
            )
        for stage in recipe.stages:
            if stage.adapter.dora:
                raise ValueError(
                    f'stages: "{stage.name}" is DoRA, which vLLM does not take: set dora: false, or rollout.engine: hf'
                )
        if recipe.stacked_rank > MAX_RANK:
            raise ValueError(
                f"adapter.rank: the stages together make one adapter of rank {recipe.stacked_rank}, and vLLM takes at "
                f"most {MAX_RANK}: lower adapter.rank, use reincarnation: continue, or rollout.engine: hf"
            )

    def check_installed(self, recipe: Recipe) -> None:
        if recipe.rollout.vllm.server is not None:
            return
        vllm_local.check_installed()
        from prerlkit.policy.base import pick_device

        if pick_device(recipe.model.device).type == "cuda" and (problem := compile_problem()):
            raise UsageError(f"vLLM compiles at its first start, and this machine is {problem}.")

    def check_processes(self, recipe: Recipe, processes: int) -> None:
        if processes > 1 and recipe.rollout.vllm.server is None:
            raise UsageError(
                f"rollout.engine: vllm starts one engine next to one process, and this run has {processes}.",
                "Start `vllm serve` on its own card and give rollout.vllm.server (docs/engines.md), or use "
                "rollout.engine: hf.",
            )

    def reserve(self, recipe: Recipe, shared: Shared) -> Reservation:
        """Return the share of an engine on the trainer's device while it is awake; a server is on another device."""
        settings = recipe.rollout.vllm
        if settings.server is not None:
            return Reservation()
        need = engine_need(recipe, shared.config, shared.weights)
        total, on_cuda = need.total, shared.kind == "cuda"
        if on_cuda:
            total = int(memory_share(recipe, need, shared.config, shared.memory, shared.free) * shared.memory)
        sleeps = on_cuda and settings.sleep is not False
        reserved = next_to_trainer(need, total, sleeps=sleeps, context=CONTEXT if on_cuda else 0)
        return replace(reserved, unpacked=shared.weights if serves_dense_copy(recipe) else 0)

    def make(self, context: EngineContext) -> RolloutEngine:
        recipe, policy, on_message = context.recipe, context.policy, context.on_message
        settings = recipe.rollout.vllm
        copied = serves_dense_copy(recipe)
        same = (copied or recipe.model.quantization == "none") and settings.quantization == "none"
        # once: the canary begins at the bare base
        canary = Canary(policy, context.prompts, recipe.model.dtype, same_base=same)
        held = EngineFolder(user_path(settings.shared_folder or cache_root()))
        model = held.path / "base" if copied else context.model

        def decode(ids: Sequence[int]) -> str:
            return completion_text(policy.tokenizer, ids, policy.end_ids)

        def start() -> RolloutEngine:
            if settings.server is None:
                client = _local(context, model, held.path)
            else:
                client = connect_servers(context, settings.server)
            engine = VllmEngine(client, policy, decode, policy.end_ids, held.path / "adapters", names)
            try:
                watched = CanaryEngine(engine, canary)
            except BaseException:
                engine.close()
                raise
            on_message(f"canary: without adapters engine and trainer differ by {watched.base_drift:.2g} nats a token")
            return watched

        try:
            if copied:
                on_message(f"writing the quantized weights in {recipe.model.dtype} for vLLM, which has no NF4")
                _write_dense(context, model)
            own_code = recipe.model.trust_remote_code
            from prerlkit.policy.layout import stored_modules  # imports torch, and recipes are checked without

            names = stored_modules(model, policy.adapters.found.linear, trust_remote_code=own_code)
            return _WithFolder(RestartingEngine(start, on_message), held)
        except BaseException:
            held.remove()
            raise


class _WithFolder:
    """An engine that deletes its folder when it closes."""

    def __init__(self, engine: RolloutEngine, folder: EngineFolder) -> None:
        self._engine = engine
        self._folder = folder
        self.sync_weights = engine.sync_weights
        self.generate = engine.generate

    def close(self) -> None:
        try:
            self._engine.close()
        finally:
            self._folder.remove()


def connect_servers(context: EngineContext, addresses: Sequence[str]) -> Client:
    """Connect to all of the recipe's servers. Raise one error that lists all wrong ones."""
    recipe, prompts = context.recipe, context.prompts
    at_once = recipe.rollout.max_sequences
    serve = serve_command(recipe, context.policy.adapters.linear_names)
    plain = all(s.rollout.temperature == 1.0 and s.rollout.top_p == 1.0 and not s.rollout.top_k for s in recipe.stages)

    def connect(address: str) -> Client:
        client = vllm_server.ServerVllm(address, connections=at_once, serve=serve)
        client.check_tokenizer([(p.text, p.token_ids) for p in prompts[:4]])
        client.check_logprobs(prompts[0].token_ids, plain=plain)
        client.check_adapters()
        return client

    first = context.rank % len(addresses)  # or the first prompts of all processes would go to the same server
    clients = on_each(connect, (*addresses[first:], *addresses[:first]))
    context.on_message(f"rollouts from the vLLM server{'s' * (len(clients) > 1)} at {', '.join(addresses)}")
    return DataParallelVllm(clients, at_once=at_once, report=context.on_message)


def serve_command(recipe: Recipe, targets: Sequence[str]) -> str:
    """Return the command that starts a server for this recipe."""
    return (
        f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve {recipe.model.id} --dtype {recipe.model.dtype} --enable-lora "
        f"--max-loras 1 --max-lora-rank {rank_for(recipe.stacked_rank)} --lora-target-modules {' '.join(targets)} "
        f"--max-model-len {recipe.longest + 1} --logprobs-mode processed_logprobs --generation-config vllm"
    )


def _local(context: EngineContext, model: Path, folder: Path) -> Client:
    import torch

    recipe, policy = context.recipe, context.policy
    vllm_local.check_installed()
    settings = recipe.rollout.vllm
    config = policy.base.config
    need = engine_need(recipe, config, sum(file.stat().st_size for file in model.glob("*.safetensors")))
    on_cpu = policy.device.type == "cpu"
    share = 0.5  # no bound on a CPU: the cache's size is given in bytes
    if not on_cpu:
        torch.cuda.empty_cache()
        free, device = torch.cuda.mem_get_info()
        share = memory_share(recipe, need, config, device, free)
    where = f"{need.cache / 2**30:.2g} GiB of cache" if on_cpu else f"{100 * share:.0f} % of the device's memory"
    context.on_message(f"starting vLLM with {where}")
    return vllm_local.LocalVllm(
        vllm_local.LocalSettings(
            model=model,
            dtype=recipe.model.dtype,
            targets=policy.adapters.linear_names,
            max_rank=rank_for(recipe.stacked_rank),
            max_length=recipe.longest + 1,
            max_sequences=recipe.rollout.max_sequences,
            sleep=not on_cpu if settings.sleep == "auto" else _checked_sleep(settings.sleep),
            eager=on_cpu if settings.eager == "auto" else settings.eager,
            memory_share=share,
            cache_bytes=need.cache if on_cpu else None,
            trust_remote_code=recipe.model.trust_remote_code,
            quantization=QUANTIZATIONS[settings.quantization],
        ),
        folder,
    )


def _checked_sleep(wanted: bool) -> bool:
    if wanted and not vllm_local.has_sleep():
        raise UsageError("rollout.vllm.sleep is true, but this build of vLLM has no sleep mode.", "Use sleep: auto.")
    return wanted


def _write_dense(context: EngineContext, folder: Path) -> None:
    from prerlkit.policy.dense import write_dense

    write_dense(context.policy.base, folder)


def serves_dense_copy(recipe: Recipe) -> bool:
    """Return whether the engine serves a 16-bit copy of the trainer's 4-bit base instead of the model's own files."""
    settings = recipe.rollout.vllm
    return recipe.model.quantization == "nf4" and settings.base == "same" and settings.server is None


def engine_need(recipe: Recipe, config: Any, weights: int) -> EngineMemory:
    """Return vLLM's need for `recipe`, with all sequences at full length. `weights`: bytes of those it serves."""
    if recipe.rollout.vllm.quantization != "none":
        weights = quantized_weights(config, weights)
    return engine_memory(
        config,
        weights=weights,
        rank=rank_for(recipe.stacked_rank),
        sequences=recipe.rollout.max_sequences,
        length=recipe.longest,
        item=BYTES[recipe.model.dtype],
    )


def trainer_growth(recipe: Recipe, config: Any) -> int:
    """Return the bytes that the trainer adds to the base at the worst stage: adapters, top gradient and moments."""
    sides, below, most = adapter_sides(config), 0, 0
    for index, stage in enumerate(recipe.stages):
        number, size = BYTES[stage.adapter.dtype], stage.adapter.rank * sides
        moments = 2 * number if stage.optimizer.name == "adamw" else 2  # two of a byte each in 8 bit
        if index and stage.reincarnation != "stack":
            below -= recipe.stages[index - 1].adapter.rank * sides * number
        trained = number + moments if stage.source is None else 0  # a gradient and its moments
        most = max(most, below + size * (number + trained))
        below += size * number
    return int(most * (1 + FRAGMENTATION))


def memory_share(recipe: Recipe, need: EngineMemory, config: Any, device: int, free: int) -> float:
    """Return vLLM's gpu_memory_utilization of a device of `device` bytes, `free` of them after the base is loaded.

    With `memory_share: auto` it is vLLM's whole need, or the memory that the trainer leaves. Sequences may then wait.
    """
    wanted = recipe.rollout.vllm.memory_share
    if not isinstance(wanted, str):
        return wanted
    return need.share(device, free - trainer_growth(recipe, config))


def next_to_trainer(need: EngineMemory, total: int, *, sleeps: bool, context: int = 0) -> Reservation:
    """Return an engine of `total` bytes on the trainer's device; its cache gets what other parts leave.

    While it sleeps, its weights wait in the host's memory and the cache is dropped; context and graphs stay.

    Args:
        context: bytes of its CUDA context, which `total` doesn't hold.
    """
    cache = total - (need.total - need.cache)
    held = {
        WEIGHTS: need.weights + need.adapter,
        CACHE: min(need.cache, max(need.sequence, cache)),
        OTHER: OVERHEAD + context,
    }
    problem = ""
    if cache < need.sequence:
        problem = (
            f"vLLM's share, {total / _GIB:.1f} GiB, leaves {max(0, cache) / _GIB:.1f} GiB for keys and values, and one "
            f"sequence of full length takes {need.sequence / _GIB:.1f} GiB: it would not start"
        )
    asleep = {OTHER: ASLEEP} if sleeps else held
    return Reservation(held, asleep, held[CACHE] / need.sequence, total, problem, need.pinned if sleeps else 0)
