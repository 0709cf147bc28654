"""From a prepared data set to the batches that the network sees."""
