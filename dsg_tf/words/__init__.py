"""Questions in free text, read with the names that a model knows; no part of this needs TensorFlow."""
