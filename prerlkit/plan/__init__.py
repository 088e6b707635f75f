"""Memory and time of a run before it starts: the step traced on shapes, device data, advice."""
