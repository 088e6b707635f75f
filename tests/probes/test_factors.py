"""Norm, effective rank and overlap from factors against the matrices themselves, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from prerlkit.probes.factors import decompose, overlap


def pair(rank: int, seed: int, rows: int = 20, columns: int = 12):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rank, columns, generator=draw), torch.randn(rows, rank, generator=draw)


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_norm_and_effective_rank_are_those_of_the_matrix(rank):
    a, b = pair(rank, 0)
    values = torch.linalg.svdvals(b.double() @ a.double())
    shares = values[values > 1e-9] / values.sum()
    spectrum = decompose(a, b)
    assert spectrum.norm == pytest.approx(float((b @ a).norm()), rel=1e-5)
    assert spectrum.effective_rank == pytest.approx(math.exp(float(-(shares * shares.log()).sum())), rel=1e-4)


def test_effective_rank_of_known_spectra():
    a = torch.eye(4)
    assert decompose(a, torch.diag(torch.tensor([2.0, 2.0, 2.0, 0.0]))).effective_rank == pytest.approx(3.0, rel=1e-5)
    assert decompose(a, torch.diag(torch.tensor([5.0, 0.0, 0.0, 0.0]))).effective_rank == pytest.approx(1.0, rel=1e-5)
    nothing = decompose(a, torch.zeros(6, 4))
    assert (nothing.norm, nothing.effective_rank) == (0.0, 0.0)
    assert overlap(nothing, decompose(a, a)) is None


def test_overlap_is_that_of_the_principal_angles():
    (a1, b1), (a2, b2) = pair(3, 1), pair(2, 2)
    found = overlap(decompose(a1, b1), decompose(a2, b2))
    inputs = torch.linalg.svdvals(torch.linalg.qr(a1.double().T)[0].T @ torch.linalg.qr(a2.double().T)[0])
    outputs = torch.linalg.svdvals(torch.linalg.qr(b1.double())[0].T @ torch.linalg.qr(b2.double())[0])
    assert found.inputs == pytest.approx(float(inputs.square().mean()), abs=1e-5)
    assert found.outputs == pytest.approx(float(outputs.square().mean()), abs=1e-5)
    assert found.angle_inputs == pytest.approx(float(inputs[0]), abs=1e-5)
    assert found.angle_outputs == pytest.approx(float(outputs[0]), abs=1e-5)
    one, two = b1 @ a1, b2 @ a2
    assert found.cosine == pytest.approx(float((one * two).sum() / (one.norm() * two.norm())), abs=1e-5)


def test_chance_is_what_random_subspaces_have():
    draws = [overlap(decompose(*pair(3, seed)), decompose(*pair(2, seed + 1000))) for seed in range(400)]
    assert sum(d.inputs for d in draws) / 400 == pytest.approx(draws[0].chance_inputs, abs=0.02)
    assert sum(d.outputs for d in draws) / 400 == pytest.approx(draws[0].chance_outputs, abs=0.02)


def test_the_same_update_overlaps_wholly_and_its_opposite_pushes_back():
    a, b = pair(3, 4)
    assert overlap(decompose(a, b), decompose(a, 2 * b)).cosine == pytest.approx(1.0, abs=1e-5)
    back = overlap(decompose(a, b), decompose(a, -b))
    assert (back.cosine, back.inputs, back.outputs) == pytest.approx((-1.0, 1.0, 1.0), abs=1e-5)
