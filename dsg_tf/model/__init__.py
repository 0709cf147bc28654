"""The network, a file for each box of the Figure 2 of the paper."""
