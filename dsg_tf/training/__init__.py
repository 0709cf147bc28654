"""Training: the step, the loop around it, and the whole run."""
