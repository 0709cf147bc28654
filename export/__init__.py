"""From a checkpoint to answers over gRPC."""
