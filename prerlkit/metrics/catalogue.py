"""Every metric of a step and of an evaluation: docs/metrics.md is generated from it. A probe's own are in its file.

To add one: an entry here, in the order of the page, and its value in `train/metrics.py`.
"""

from __future__ import annotations

from prerlkit.metrics.metric import Metric, MetricChart

STEP = Metric("step", "number of the step in the run, from 1")
STAGE = Metric("stage", "name of the stage")
REWARD = Metric(
    "reward/mean",
    "mean score of the judged completions",
    unit="0 to 1",
    better="higher",
    chart=MetricChart(1, "reward", "Reward", note="Mean score of the judged completions of a step."),
)
PASS_RATE = Metric(
    "reward/pass_rate",
    "judged completions that passed",
    unit="share",
    better="higher",
    chart=MetricChart(
        2,
        "accuracy",
        "Accuracy",
        note="Line: training completions that passed. Points: held-out prompts, with 95 % intervals.",
    ),
)
REWARD_OF = Metric(
    "reward/<verifier>",
    "with several verifiers, one metric each: mean of the verifier's own scores, before weights, product and gates, "
    "over the completions that it judged. Named as in the recipe (of `file.py:function` the function), `#2` appended "
    "where a name is used again",
    unit="0 to 1",
    better="higher",
    optional=True,
)
ZERO_SIGNAL = Metric(
    "group/zero_signal",
    "groups whose judged scores are all equal: under a group baseline they teach nothing",
    unit="share",
    better="lower",
    chart=MetricChart(
        6,
        "zero_signal",
        "Groups without signal",
        note="All scores equal: under a group baseline such a group teaches nothing.",
    ),
)
REFILL_ATTEMPTS = Metric(
    "refill/attempts",
    "further draws of prompts in the step; this and the next two only with `rollout.refill`",
    unit="draws",
    better="lower",
    optional=True,
)
REFILL_GROUPS = Metric(
    "refill/groups",
    "groups that were sampled and are not in the step; their tokens are in `tokens/generated`",
    unit="groups",
    better="lower",
    optional=True,
)
REFILL_FILLED = Metric(
    "refill/filled",
    "groups of the step that have signal, after refilling",
    unit="share",
    better="higher",
    optional=True,
    chart=MetricChart(11, "refill", "Groups with signal", note="Of the step's groups, after refilling."),
)
DIFFICULTY_PASSED_OVER = Metric(
    "difficulty/passed_over",
    "prompts that the step passed over for their recent pass rate; this and the next only with `rollout.difficulty`",
    unit="prompts",
    optional=True,
)
DIFFICULTY_KNOWN = Metric(
    "difficulty/known", "train prompts that have a pass rate in this stage", unit="share", optional=True
)
REPLAY_SHARE = Metric(
    "replay/share",
    "groups of the step that an earlier one sampled; this and the next two only with `rollout.replay`",
    unit="share",
    optional=True,
    chart=MetricChart(12, "replay", "Replayed groups", note="Of the step's groups: an earlier step sampled them."),
)
REPLAY_AGE = Metric(
    "replay/age",
    "mean age of the replayed groups; 0 without any",
    unit="steps",
    optional=True,
)
REPLAY_WEIGHT = Metric(
    "replay/weight",
    "mean truncated importance weight of the replayed tokens; 1 without any",
    optional=True,
)
UNJUDGED = Metric(
    "sample/unjudged",
    "completions without a verdict (the verifier crashed, ran out of time, or the gold answer can't be read)",
    unit="share",
    better="lower",
)
TRUNCATED = Metric(
    "sample/truncated",
    "completions that the token limit cut",
    unit="share",
    better="lower",
    chart=MetricChart(5, "truncated", "Truncated", note="Cut by the token limit."),
)
TOKENS_GENERATED = Metric("tokens/generated", "sampled in the step, end tokens included", unit="tokens")
COMPLETION_LENGTH = Metric(
    "tokens/completion_mean",
    "mean length of a completion",
    unit="tokens",
    chart=MetricChart(4, "length", "Completion length", unit="tokens", note="Mean of the step."),
)
TOKENS_TRAINED = Metric(
    "tokens/trained",
    "tokens that went through the model with gradient: contexts (prompt or start token; once for all completions "
    "that share one) and completions, without padding. A context whose completions several processes train on counts "
    "once for each of them",
    unit="tokens",
)
LOSS = Metric(
    "loss/total",
    "Σ of the objectives' losses, summed over the step's updates. For on-policy clip losses its *value* says little: "
    "it is −mean(weight · advantage)",
)
ENTROPY = Metric(
    "policy/entropy",
    "−mean log-prob of the sampled tokens at the rollout's temperature: an unbiased estimate of the sampler's "
    "entropy while top-p and top-k are off",
    unit="nats a token",
    chart=MetricChart(3, "entropy", "Entropy", unit="nats a token", note="Of the sampler. Near 0: all samples alike."),
)
KL = Metric(
    "policy/kl",
    "the KL penalty's estimate against the reference, aggregated as the loss is; 0 when the objective has no KL",
    unit="nats a token",
)
CLIP_FRACTION = Metric(
    "policy/clip_fraction",
    "tokens on which a clip bound acted; 0 while each rollout batch gives one update, because the ratio is then "
    "exactly 1",
    unit="share of weight",
)
TRAINED_LOGPROB = Metric(
    "policy/trained_logprob",
    "mean log-prob of the trained tokens in the objective's own space: log P(y) per token in pre-train space, log "
    "P(y\\|x) in the conditional one",
    unit="nats a token",
)
IMPORTANCE_MEAN = Metric(
    "importance/mean",
    "mean of π/μ over the trained tokens, before the cap: π of the policy, μ of the engine that sampled, both behind "
    "the prompt. Near 1 when the two are one model; 1 where no importance weights are used (`engine: hf` "
    "without `rollout.replay`)",
    unit="ratio",
)
IMPORTANCE_CAPPED = Metric(
    "importance/capped", "trained tokens whose ratio was cut at `importance_cap`", unit="share", better="lower"
)
IMPORTANCE_MISMATCH = Metric(
    "importance/mismatch", "mean \\|log π − log μ\\| over the trained tokens", unit="nats a token", better="lower"
)
CANARY_DRIFT = Metric(
    "canary/drift",
    "mean \\|engine − trainer\\| over the canary's fixed tokens after the step's weight sync; of several servers the "
    "largest; 0 where the engine is the policy itself",
    unit="nats a token",
    better="lower",
)
CANARY_GAIN = Metric(
    "canary/gain",
    "slope of what the adapters change in the engine on what they change in the trainer: 1 right, 0 missing, 2 "
    "counted twice; of several servers the one farthest from 1; 1 where the engine is the policy itself. Where "
    "rounding in the trainer leaves a range of slopes, the one in it nearest to 1",
    unit="ratio",
)
LEARNING_RATE = Metric("optim/lr", "learning rate of the step")
GRAD_NORM = Metric(
    "optim/grad_norm",
    "norm of the gradient before clipping, summed over the step's updates",
    chart=MetricChart(7, "grad_norm", "Gradient norm", note="Before clipping."),
)
SKIPPED_UPDATES = Metric(
    "optim/skipped",
    "updates in which nothing carried gradient, or whose gradient was not finite: the adapter and the optimizer's "
    "moments stay as they are",
    unit="updates",
    better="lower",
)
NONFINITE_UPDATES = Metric(
    "optim/nonfinite", "skipped updates whose gradient was not finite", unit="updates", better="lower"
)
HEALTH = Metric(
    "health/<name>",
    "1 while a condition of [reliability.md](reliability.md) holds, absent otherwise",
    optional=True,
)
PROBE = Metric(
    "probe/<name>",
    "what a probe measured, under the names of [probes.md](probes.md); only in steps in which it was due, and only "
    "what could be measured",
    optional=True,
)
STAGE_KL = Metric(
    "stage/kl",
    "in the last step of a stage: KL of the policy after it to the policy before the stage. The k3 estimate over the "
    "step's completions, 65,536 tokens at most; they were sampled one update before the stage's end",
    unit="nats a token",
    optional=True,
)
ROLLOUT_SECONDS = Metric(
    "time/rollout", "from the first prompt to the last token; verification runs at the same time", "s", "lower"
)
WEIGHT_SYNC_SECONDS = Metric(
    "time/weight_sync",
    "waking the engine, giving it the adapters, the canary; a part of `time/rollout`. 0 with `engine: hf`. Earlier "
    "versions wrote it as `time/hand_over`",
    "s",
    "lower",
    label="weight sync",
)
VERIFY_SECONDS = Metric(
    "time/verify",
    "waiting for verdicts after the last token (verification that overlaps generation is not counted)",
    "s",
    "lower",
    label="verification",
)
TRAIN_SECONDS = Metric("time/train", "advantages, log-probs, backward, optimizer", "s", "lower", label="training")
STEP_SECONDS = Metric("time/step", "rollout, verify and train together; probes are not in it", "s", "lower")
PROBES_SECONDS = Metric("time/probes", "all probes of the step; absent where none was due", "s", "lower", optional=True)
PROBE_SECONDS = Metric("time/probe/<name>", "one probe", "s", "lower", optional=True)
PEAK_MEMORY = Metric(
    "memory/peak",
    "largest amount held since the run began: allocated by torch on CUDA, resident memory of the process elsewhere",
    unit="bytes",
    better="lower",
    chart=MetricChart(
        10, "memory", "Peak memory", unit="GiB", scale=2**-30, note="The most that was held since the start."
    ),
)

OF_STEPS = (
    *(STEP, STAGE, REWARD, PASS_RATE, REWARD_OF, ZERO_SIGNAL),
    *(REFILL_ATTEMPTS, REFILL_GROUPS, REFILL_FILLED, DIFFICULTY_PASSED_OVER, DIFFICULTY_KNOWN),
    *(REPLAY_SHARE, REPLAY_AGE, REPLAY_WEIGHT, UNJUDGED, TRUNCATED),
    *(TOKENS_GENERATED, COMPLETION_LENGTH, TOKENS_TRAINED, LOSS, ENTROPY, KL, CLIP_FRACTION, TRAINED_LOGPROB),
    *(IMPORTANCE_MEAN, IMPORTANCE_CAPPED, IMPORTANCE_MISMATCH, CANARY_DRIFT, CANARY_GAIN),
    *(LEARNING_RATE, GRAD_NORM, SKIPPED_UPDATES, NONFINITE_UPDATES, STAGE_KL, HEALTH, PROBE),
    *(ROLLOUT_SECONDS, WEIGHT_SYNC_SECONDS, VERIFY_SECONDS, TRAIN_SECONDS, STEP_SECONDS),
    *(PROBES_SECONDS, PROBE_SECONDS, PEAK_MEMORY),
)
"""All of metrics.jsonl, in the order of the page; what a probe measures is in the probe's own file."""

OF_SAMPLES = (
    *(REWARD, PASS_RATE, ZERO_SIGNAL, UNJUDGED, TRUNCATED, TOKENS_GENERATED, COMPLETION_LENGTH, ENTROPY),
    *(CANARY_DRIFT, CANARY_GAIN, ROLLOUT_SECONDS, WEIGHT_SYNC_SECONDS, VERIFY_SECONDS),
)
"""Those of every step that samples; the steps of a supervised stage don't have them."""

EVAL_ACCURACY = Metric("eval/accuracy", "greedy answers that passed", "share", "higher")
EVAL_AVERAGE = Metric("eval/average", "avg@k: samples that passed, mean over prompts", "share", "higher")
EVAL_PASS_AT = Metric("eval/pass@<k>", "pass@k (unbiased estimator)", "share", "higher")
EVAL_LENGTH = Metric("eval/tokens_mean", "mean length of a completion", "tokens")
EVAL_SAMPLE_LENGTH = Metric("eval/sample_tokens_mean", "mean length of a sample, greedy answers left out", "tokens")
EVAL_THOUGHTS = Metric(
    "eval/thoughts/<kind>",
    "transition, reflection, verification and decomposition phrases ([evaluation.md](evaluation.md)) for each sample; "
    "for each greedy answer where no samples are drawn",
    unit="per answer",
)
EVAL_KL = Metric(
    "eval/kl",
    "KL of the policy to the policy before the current stage (`after <stage>`: before that stage): the k3 estimate "
    "over the samples, 65,536 tokens at most; absent before the first step and without samples",
    "nats a token",
)
EVAL_TRUNCATED = Metric("eval/truncated", "completions that the token limit cut", "share", "lower")
EVAL_UNJUDGED = Metric("eval/unjudged", "completions without a verdict", "share", "lower")
EVAL_BOUND = Metric(
    "eval/<estimate>_<bound>",
    "`low` and `high` end of the 95 % interval of accuracy or average; trackers only",
    "share",
)

OF_EVALUATIONS = (
    *(EVAL_ACCURACY, EVAL_AVERAGE, EVAL_PASS_AT, EVAL_LENGTH, EVAL_SAMPLE_LENGTH, EVAL_THOUGHTS, EVAL_KL),
    *(EVAL_TRUNCATED, EVAL_UNJUDGED, EVAL_BOUND),
)
"""What `prerlkit compare` and trackers call the numbers of evaluations.jsonl."""


def of_evaluation(key: str) -> str:
    """Return the metric's name for a key of evaluations.jsonl, such as `accuracy`."""
    return f"eval/{key}"


CATALOGUE = (*OF_STEPS, *OF_EVALUATIONS)
