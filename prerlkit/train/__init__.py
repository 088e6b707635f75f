"""Training: the run, the stage loop, the batch, the step and what they leave behind."""
