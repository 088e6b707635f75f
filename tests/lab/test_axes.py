"""The axes: what a changed base is, and the table that compares it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.lab import axes, study, tables
from benchmarks.lab.base import PACKAGED, Pretraining, split_by_length, started, train
from benchmarks.lab.domains import DOMAINS
from benchmarks.lab.traces import Mixture, text
from prerlkit.data.reach import problems
from tests.lab.test_tables import evaluation, write


def test_every_base_runs_every_arm_with_the_same_seeds() -> None:
    jobs = axes.jobs_of(Path("bases"))
    assert len({(job.arm, job.seed) for job in jobs}) == len(jobs)
    for name in axes.BASES:
        for arm in ("nsr-rl", "nsr-prerl", "dsrl", "grpo"):
            own = [job for job in jobs if job.arm == f"{name}-{arm}"]
            assert [job.seed for job in own] == list(axes.SEEDS)
            assert own[0].overrides["model"]["id"] == str(Path("bases") / name)


def test_an_axis_changes_the_base_and_nothing_else() -> None:
    """Against the same arm of the main study: the model and the evaluations' grid."""
    [one] = [job for job in axes.jobs_of(Path("bases")) if (job.arm, job.seed) == ("qwen3-dsrl", 0)]
    main = study.job("main", study.ARMS["nsr-prerl"], 0)
    different = {key for key in one.overrides if one.overrides[key] != main.overrides.get(key)}
    assert different == {"name", "model", "evaluation"}


def test_the_switch_of_the_papers_code() -> None:
    one = next(job for job in axes.jobs_of(Path("bases")) if job.arm == "continue")
    warmup, second = one.overrides["stages"]
    assert warmup["objective"]["coefficient"] == 0.01
    assert (second["reincarnation"], second["keep_optimizer"]) == ("continue", True)


def test_a_retry_without_right_attempts_is_right_by_chance() -> None:
    """Attempts after a `wait` hit the target in at most 12 % of the texts about rare problems, else in about half."""

    def share(mixture: Mixture) -> float:
        rng = random.Random(0)
        made = [text(DOMAINS["reach"], problems("train"), mixture, "slow", rng)[1].split(" wait ") for _ in range(2000)]
        retries = [parts[1] for parts in made if len(parts) > 1]
        return sum("check" in retry for retry in retries) / len(retries)

    assert share(replace(Mixture(), retry=0.0)) < 0.15
    assert share(Mixture()) > 0.4


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_base_is_started_from_the_packaged_one(architecture: str) -> None:
    """Qwen3's model has every weight of the Llama-shaped one, and attention logits of about its size."""
    model = started(Pretraining(architecture=architecture), PACKAGED)
    source = started(Pretraining(), PACKAGED)
    weights = model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in source.state_dict().items())
    assert model.config.model_type == architecture
    if architecture == "qwen3":
        scales = [float(tensor.mean()) for name, tensor in weights.items() if "_norm" in name and "attn" in name]
        assert len(scales) == 8
        assert all(scale != 1.0 for scale in scales)


def test_the_table_pairs_by_seed_and_takes_ratios_within_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RECORDS", tmp_path)

    def run(last: float, reflection: float) -> list[dict[str, object]]:
        warmed = evaluation(9, 100, 0.2, 0.5, reflection) | {"name": tables.WARMED}
        return [evaluation(0, 0, 0.2, 0.5, reflection=0.1), warmed, evaluation(49, 400, last, 0.9)]

    for part, prefix, whole in (("main", "", "nsr-prerl"), ("axes", "small-", "dsrl")):
        write(tmp_path, part, f"{prefix}nsr-rl", {0: run(0.2, 0.2)[:2]})
        write(tmp_path, part, f"{prefix}nsr-prerl", {0: run(0.4, 0.3), 1: run(0.6, 0.5)})
        write(tmp_path, part, f"{prefix}{whole}", {0: run(0.4, 0.3), 1: run(0.6, 0.5)})
        write(tmp_path, part, f"{prefix}grpo", {1: run(0.8, 0.1), 0: run(0.5, 0.1)})
    row = [cell.strip() for cell in tables.axes_table().splitlines()[3].split("|")[1:-1]]
    assert row[:2] == ["small", "2"]
    assert row[4] == "×3.0 · 5.0, 0.100, 20.0"
    assert row[5] == "×25.7"  # half the logarithms' interval: exp(12.706 · 0.3612 / √2)
    assert row[6:8] == ["×2.0, 0.100, 20.0", "+0.0"]
    assert row[10] == "-15.0 [-78.5, +48.5]"  # −10 and −20: 12.706 · 7.071 / √2 = 63.5


def test_batches_by_length_change_the_padding_and_nothing_else() -> None:
    """The first step's loss and gradients are those of one batch; the padding is less."""
    found = []
    for parts in (1, 4):
        settings = Pretraining(texts=32, slow_batches=parts)
        _, loss, model = next(train(settings))
        grads = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
        found.append((loss, grads))
    (one, whole), (four, split) = found
    assert four == pytest.approx(one, rel=1e-5)
    torch.testing.assert_close(split, whole, rtol=1e-3, atol=1e-5)
    rows = [([1], list(range(length))) for length in (7, 3, 9, 1, 5, 8)]
    parts = split_by_length(rows, 3)
    assert [[len(rest) for _, rest in part] for part in parts] == [[1, 3], [5, 7], [8, 9]]
    assert split_by_length(rows, 1) == [rows]


def test_a_warmup_that_runs_further_differs_in_its_kl_alone() -> None:
    jobs = {(job.arm, job.seed): job for job in axes.jobs_of(Path("bases"))}
    [short] = jobs["3m-nsr-rl", 1].overrides["stages"]
    [further] = jobs["3m-nsr-rl-further", 1].overrides["stages"]
    assert further.pop("until") == {**short.pop("until"), "above": 0.05}
    assert further == short
