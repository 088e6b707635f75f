"""A base that doesn't fit one device: its layers sharded over the processes (FSDP2), its adapters whole in each.

FSDP gathers a layer's weights while the layer computes and frees them afterwards. All processes take part in that, so
they must make the same passes in the same order, also a process whose prompts are answered already.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from prerlkit.errors import UsageError


def shard_base(base: Any, device: torch.device) -> None:
    """Shard the weights of `base`'s layers over all processes, in place, each shard on `device`.

    Embeddings, final norm and head stay whole everywhere: they are a small part, often one tensor, and the head is
    called outside of the model's own forward pass. Adapters that are put on later are not shared out.

    Raises:
        UsageError: the model has no list of layers.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    decoder = base.get_decoder()
    lists = [module for module in decoder.children() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise UsageError(
            "memory.shard_base: this model's decoder has no list of layers to share out.",
            "Leave shard_base out; quantization: nf4 takes a quarter of the memory.",
        )
    for layer in max(lists, key=len):
        fully_shard(layer, mesh=mesh)
    whole = {p for name, child in decoder.named_children() if child not in lists for p in child.parameters()}
    whole |= set(decoder.parameters(recurse=False))
    fully_shard(decoder, mesh=mesh, ignored_params=whole)
    base.to(device)
    with torch.no_grad():  # torch makes the gathered weights' tensors in the first pass: not in inference mode
        decoder(input_ids=torch.zeros(1, 2, dtype=torch.long, device=device), use_cache=False)


class Lockstep:
    """Make every process do the same number of passes through a sharded model.

    Before each pass of the decoder all processes announce it to each other. A process without further passes calls
    `rejoin`: it makes passes of the same kind, whose results are not used, until no process has any left.

    Args:
        base: the model, after `shard_base`.
    """

    def __init__(self, base: Any) -> None:
        self._decoder = base.get_decoder()
        self._device = base.device
        self._waiting = False
        self._decoder.register_forward_pre_hook(self._about_to_pass)

    def rejoin(self) -> None:
        """Go along with the other processes until each of them is here."""
        while True:
            working, with_gradient = self._tell(working=False)
            if not working:
                return
            self._pass(with_gradient)

    def _about_to_pass(self, module: nn.Module, inputs: Any) -> None:
        if not self._waiting:
            self._tell(working=True)

    def _tell(self, *, working: bool) -> tuple[bool, bool]:
        """Return whether any process is about to make a pass, and whether such a pass has a backward pass."""
        flags = torch.tensor([working, working and torch.is_grad_enabled()], dtype=torch.int32)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags[0]), bool(flags[1])

    def _pass(self, with_gradient: bool) -> None:
        self._waiting = True
        try:
            with torch.set_grad_enabled(with_gradient):
                tokens_12 = torch.zeros(1, 2, dtype=torch.long, device=self._device)
                states = self._decoder(input_ids=tokens_12, use_cache=False)[0]
                if with_gradient:
                    (0.0 * states.sum()).backward()
        finally:
            self._waiting = False
