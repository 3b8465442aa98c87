"""Functions as HLO, what XLA's compilers take: lowered with JAX, static in shape, with weights as parameters."""
