"""An exported model over a whole data set, to JSON lines."""
