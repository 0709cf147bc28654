"""Scores of a trained system, and why they are what they are."""
