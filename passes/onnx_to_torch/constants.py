"""Numbers in a node's attributes as tensors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from artifacts.dtype import DType
from passes.onnx_to_torch.call import Call
from passes.torch_dtypes import from_numpy


def as_tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """A constant that the program keeps."""
    return from_numpy(array, DType.of(array.dtype))


def float_attribute(call: Call, name: str) -> torch.Tensor:
    """A FLOATS attribute, float32 [n]; empty if the node does not have it."""
    return as_tensor(np.array(call.attr_floats(name, []), np.float32))
