"""A greedy decode as ONNX: a step that is stored once and called for every token.

The encoder and the step become local functions of a model and their weights become arguments, so a decoder of 75
positions is 75 calls of one function over one set of initializers.

- `whole.py`: the decode in one engine. `engine` puts one call into an ONNX Loop that ends when every row has;
  `unrolled` writes the calls out, each with exactly the shapes that its position has.
- `partitions.py`: the same calls cut at boundaries, one engine a partition, with the state handed across.

Both are made of `position.py`, one position's call and choice, by the rules that `artifacts/runtime/greedy.py`
follows on the host.
"""

from __future__ import annotations

from compiler.decode_onnx.functions import DecodeFunctions
from compiler.decode_onnx.partitions import emit_partitions
from compiler.decode_onnx.whole import emit_whole

__all__ = ["DecodeFunctions", "emit_partitions", "emit_whole"]
