"""A trained model as a directory to hand on: half precision, settings, words, and a card that says what it is."""
