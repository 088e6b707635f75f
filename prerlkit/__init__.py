"""prerlkit: reinforcement learning with verifiable rewards, in pre-train space and out of it, on one consumer GPU."""

__version__ = "0.1.0"
