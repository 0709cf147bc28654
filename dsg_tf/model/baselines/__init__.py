"""The paper's other systems: two-step matching, and the attention models of Krishna et al. 2018."""
