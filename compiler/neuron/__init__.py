"""AWS Neuron's compiler, which is a command line: whether it is here, what it is told, and what it says."""
