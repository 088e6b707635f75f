"""Training: the run, the loop over stages, the train batch, the step, and what they record."""
