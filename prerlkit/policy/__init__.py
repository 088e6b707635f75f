"""The policy: base model, stack of adapters, and log-probs of tokens."""
