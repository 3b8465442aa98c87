"""The flags of neuronx-cc explored: sets of them, trials of each on a bundle's sources, and what came of those."""
