"""What judged completions say about a policy: estimates with intervals, paired differences, thought counts."""
