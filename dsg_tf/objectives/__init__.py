"""What the network should have answered, and how far it is from that: targets, losses, the metric."""
