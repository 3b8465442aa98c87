"""What the targets of AWS Neuron share: what is known before its compiler is called, and the call."""
