"""Which rollout engine a run has, with everything that it needs: chosen once, when the run is built."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from prerlkit.errors import UsageError
from prerlkit.policy.dense import write_dense
from prerlkit.policy.gguf import cache_root
from prerlkit.policy.policy import Policy
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout import vllm_local, vllm_server
from prerlkit.rollout.canary import Canary, CanaryEngine
from prerlkit.rollout.data_parallel import DataParallelVllm, on_each
from prerlkit.rollout.protocol import RolloutEngine
from prerlkit.rollout.restart import RestartingEngine
from prerlkit.rollout.vllm import Client, VllmEngine, rank_for
from prerlkit.rollout.vllm_memory import engine_need, memory_share
from prerlkit.train.prepare import Prepared

OnMessage = Callable[[str], None]


def make_engine(
    recipe: Recipe, policy: Policy, prepared: Prepared, on_message: OnMessage, rank: int = 0
) -> RolloutEngine:
    """Start the recipe's engine. To be called before there is an adapter: the canary begins at the bare base.

    Args:
        rank: of this process. Each begins its work at another one of several servers.

    Raises:
        UsageError: it can't be had here, or a server is not the recipe's.
        EngineError: it didn't start, or a server is out of reach.
        CanaryError: its base is not the policy's.
    """
    return _MAKERS[recipe.rollout.engine](recipe, policy, prepared, on_message, rank)


def _hf(recipe: Recipe, policy: Policy, prepared: Prepared, on_message: OnMessage, rank: int) -> RolloutEngine:
    def make() -> RolloutEngine:
        engine, slow = policy.engine(recipe.rollout.max_sequences)
        if slow:
            on_message(slow)
        return engine

    return RestartingEngine(make, on_message)


def _vllm(recipe: Recipe, policy: Policy, prepared: Prepared, on_message: OnMessage, rank: int) -> RolloutEngine:
    settings = recipe.rollout.vllm
    copied = recipe.model.quantization == "nf4" and settings.base == "same" and settings.server is None
    same = copied or recipe.model.quantization == "none"
    canary = Canary(
        policy, prepared.prompts.train, recipe.model.dtype, same_base=same
    )  # once: it begins at the bare base
    folder = Path(settings.shared_folder or cache_root()) / f"engine-{os.getpid()}"
    model = Path(prepared.model.path)
    if copied:
        model = folder.with_name(f"{folder.name}-base")
        on_message(f"writing the quantized weights in {recipe.model.dtype} for vLLM, which has no NF4")
        write_dense(policy.base, model)

    def decode(ids: Sequence[int]) -> str:
        return str(policy.tokenizer.decode(list(ids), skip_special_tokens=True))

    def make() -> RolloutEngine:
        if settings.server is None:
            client = _local(recipe, policy, model, on_message)
        else:
            client = connect_servers(recipe, policy, prepared, on_message, settings.server, rank)
        engine = VllmEngine(client, policy, decode, policy.end_ids, folder)
        try:
            watched = CanaryEngine(engine, canary)
        except BaseException:
            engine.close()
            raise
        on_message(f"canary: without adapters engine and trainer differ by {watched.base_drift:.2g} nats a token")
        return watched

    return _Tidy(RestartingEngine(make, on_message), model if copied else None)


class _Tidy:
    """An engine that takes its copy of the base away with it."""

    def __init__(self, engine: RolloutEngine, copied: Path | None) -> None:
        self._engine = engine
        self._copied = copied
        self.sync_weights = engine.sync_weights
        self.generate = engine.generate

    def close(self) -> None:
        self._engine.close()
        if self._copied:
            shutil.rmtree(self._copied, ignore_errors=True)


def connect_servers(
    recipe: Recipe, policy: Policy, prepared: Prepared, on_message: OnMessage, addresses: Sequence[str], rank: int
) -> Client:
    """All of the recipe's servers. Raises one error on all that are not as they must be."""
    at_once, prompts = recipe.rollout.max_sequences, prepared.prompts.train
    serve = serve_command(recipe, policy.adapters.linear_names)
    plain = all(s.rollout.temperature == 1.0 and s.rollout.top_p == 1.0 and not s.rollout.top_k for s in recipe.stages)

    def connect(address: str) -> Client:
        client = vllm_server.ServerVllm(address, connections=at_once, serve=serve)
        client.check_tokenizer([(p.text, p.token_ids) for p in prompts[:4]])
        client.check_logprobs(prompts[0].token_ids, plain=plain)
        client.check_adapters()
        return client

    first = rank % len(addresses)  # or the first prompts of all processes would go to the same server
    clients = on_each(connect, (*addresses[first:], *addresses[:first]))
    on_message(f"rollouts from the vLLM server{'s' * (len(clients) > 1)} at {', '.join(addresses)}")
    return DataParallelVllm(clients, at_once=at_once, report=on_message)


def serve_command(recipe: Recipe, targets: Sequence[str]) -> str:
    """The command that starts a server as this recipe needs it."""
    return (
        f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve {recipe.model.id} --dtype {recipe.model.dtype} --enable-lora "
        f"--max-loras 1 --max-lora-rank {rank_for(recipe.stacked_rank)} --lora-target-modules {' '.join(targets)} "
        f"--max-model-len {recipe.longest + 1} --logprobs-mode processed_logprobs --generation-config vllm"
    )


def _local(recipe: Recipe, policy: Policy, model: Path, on_message: OnMessage) -> Client:
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
    on_message(f"starting vLLM with {where}")
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
        )
    )


def _checked_sleep(wanted: bool) -> bool:
    if wanted and not vllm_local.has_sleep():
        raise UsageError("rollout.vllm.sleep is true, but this build of vLLM has no sleep mode.", "Use sleep: auto.")
    return wanted


_MAKERS: dict[str, Callable[[Recipe, Policy, Prepared, OnMessage, int], RolloutEngine]] = {"hf": _hf, "vllm": _vllm}
