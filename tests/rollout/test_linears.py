"""The linear layers' fast forwards while sampling: the layers' own function, whatever the number of rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prerlkit.rollout.linears import LEAST_ROWS, MOST_ROWS, FusedLora


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, LEAST_ROWS - 1, LEAST_ROWS, 64, MOST_ROWS, MOST_ROWS + 1])
def test_a_layer_computes_its_function_for_any_number_of_rows(rows, bias):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(32, 24, bias=bias))
    x = torch.randn(32, rows).t()[:, None]  # not contiguous
    with torch.no_grad():
        expected = base(x)
        with FusedLora(base).sampling():
            assert "forward" in vars(base[0])
            out = base(x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert out.is_contiguous()  # models make views of it


def test_layers_that_would_not_gain_are_left_alone():
    base = nn.Sequential(nn.Linear(24, 32), nn.Linear(32, 32, device="meta"), nn.Linear(32, 32))
    with FusedLora(base).sampling():
        assert ["forward" in vars(layer) for layer in base] == [False, False, True]
    assert not any("forward" in vars(layer) for layer in base)
