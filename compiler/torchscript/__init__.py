"""One TorchScript model of a decode: parts that were traced apart, and a loop around them that stops early."""
