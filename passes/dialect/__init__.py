"""The `unspool::` dialect: operators that a body needs and ATen does not have.

Importing this package registers every one of them with torch, and nothing else does; whoever traces, runs or
translates bodies gets them by importing `passes.program`.
"""

from __future__ import annotations

from passes.dialect import gru, lstm, rnn

__all__ = ["gru", "lstm", "rnn"]
