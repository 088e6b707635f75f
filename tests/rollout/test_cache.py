"""Room of the preallocated cache."""

from __future__ import annotations

import pytest
import torch

from prerlkit.rollout.cache import ROOM, PreallocatedLayer, room_for


@pytest.mark.parametrize("new_tokens", [1, 2, 16, ROOM, ROOM + 1, ROOM + 2, 48, 200])
def test_room_is_added_as_seldom_as_with_the_most_and_little_of_it_stays_empty(new_tokens):
    layer, widths = PreallocatedLayer(room_for(new_tokens)), []
    for width in (5, *[1] * (new_tokens - 1)):  # a prompt, and each new token but the last
        keys, _ = layer.update(*torch.zeros(2, 1, 1, width, 2))
        widths.append(keys.shape[2])
    written = new_tokens - 1
    growths = -(-written // ROOM)
    assert len(set(widths)) == 1 + growths
    assert 0 <= widths[-1] - (5 + written) < max(1, growths)
