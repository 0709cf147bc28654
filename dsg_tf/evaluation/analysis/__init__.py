"""What a trained system gets wrong, why, and what it costs: `eval.py --analyses`."""
