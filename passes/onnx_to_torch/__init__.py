"""ONNX to PyTorch: a functional importer that torch.export can trace."""
