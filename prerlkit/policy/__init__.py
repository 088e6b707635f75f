"""The policy: base model, its stack of adapters, and the log-probs it gives to tokens."""
