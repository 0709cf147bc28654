"""Differentiable Scene Graphs for referring relationships, in TensorFlow."""
