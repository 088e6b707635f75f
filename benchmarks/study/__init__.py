"""The study of docs/results.md: PreRL, NSR and GRPO over tasks, seeds and ablations on SmolLM2-135M, on a CPU.

    python -m benchmarks.study run [PART …]      hours; stop it anywhere, the same command goes on
    python -m benchmarks.study tables [PART …]   Markdown of what is finished
    python -m benchmarks.study unpack            the runs behind those tables, as they recorded themselves

A part is a question. Each of its runs is a point of a sweep in `runs/study/<part>-<task>`, so `prerlkit compare` and
`prerlkit report` read it too.
"""
