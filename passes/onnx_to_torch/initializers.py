"""Weights that lie inside a model file, held in memory once.

A tensor of a protobuf message is copied at every look at it, and a message stays in memory, whole, as long as one of
its tensors does. So what is large is taken out, and the message that the rest is read from is small.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from passes.onnx_to_torch.tensor_problems import tensor_nbytes

LARGE_BYTES = 4096
"""Initializers from this size on are taken out."""

_DATA_FIELDS = ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data")


def model_without_proto(proto: onnx.ModelProto) -> ir.Model:
    """The model of a message whose tensors were checked, its large initializers as arrays of their own.

    They are removed from the message as they are read, so that there are never two copies of more than one.
    Raises what `onnx_ir.from_proto` raises.
    """
    held: dict[str, ir.TensorProtocol] = {}
    for tensor in proto.graph.initializer:
        if _is_large(tensor):
            read = ir.serde.TensorProtoTensor(tensor)
            held[tensor.name] = ir.Tensor(read.numpy(), read.dtype, shape=read.shape, name=tensor.name)
            for name in _DATA_FIELDS:
                tensor.ClearField(name)
    rest = onnx.ModelProto()
    rest.CopyFrom(proto)  # clearing a field frees nothing, dropping the message does
    model = ir.from_proto(rest)
    for name, value in held.items():
        model.graph.initializers[name].const_value = value
    return model


def _is_large(tensor: onnx.TensorProto) -> bool:
    inline = tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.data_type != onnx.TensorProto.STRING
    return inline and tensor_nbytes(tensor) >= LARGE_BYTES
