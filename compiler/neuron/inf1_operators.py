"""What AWS wrote down of the operators that the compiler of Inf1, neuron-cc, takes; both lists have gaps.

`XLA` is its list of XLA's operators, in the spelling of HLO's opcodes. `ATEN` says which operators that are not in that
list are named in the release notes of torch-neuron, by what torch calls them: convolutions are among these.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

XLA = frozenset(
    {
        "abs",
        "add",
        "all-gather",
        "all-reduce",
        "and",
        "atan2",
        "batch-norm-grad",
        "batch-norm-inference",
        "batch-norm-training",
        "broadcast",
        "ceil",
        "clamp",
        "compare",
        "concatenate",
        "constant",
        "convert",
        "cosine",
        "custom-call",
        "divide",
        "dot",
        "dynamic-update-slice",
        "exponential",
        "floor",
        "gather",
        "get-tuple-element",
        "iota",
        "log",
        "maximum",
        "minimum",
        "multiply",
        "negate",
        "not",
        "pad",
        "power",
        "reduce",
        "reshape",
        "rng",
        "rng-bit-generator",
        "rsqrt",
        "scatter",
        "select",
        "shift-right-logical",
        "sign",
        "sine",
        "slice",
        "sqrt",
        "subtract",
        "tanh",
        "transpose",
        "tuple",
    }
)

ATEN: Mapping[str, str] = MappingProxyType(
    {
        "convolution": "aten::_convolution",
        "dynamic-slice": "aten::index_select",
        "erf": "aten::erf",
        "log-plus-one": "aten::softplus",
        "logistic": "aten::sigmoid",
        "or": "aten::logical_or",
        "reduce-window": "aten::max_pool2d and aten::avg_pool2d",
        "remainder": "aten::remainder",
        "reverse": "aten::flip",
        "sort": "aten::topk",
        "topk": "aten::topk",
        "xor": "aten::logical_xor",
    }
)
"""By HLO's opcode."""
