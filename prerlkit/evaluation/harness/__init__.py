"""The evaluation harness: any policy, on any data with a verifier, resumable, several policies compared on the same."""
