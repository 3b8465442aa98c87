"""What compilations of one process have in common, and is done once: answers of a source, its conversion, passes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Memo:
    """Values by what they were made of. Objects in a key stand for themselves, and live as long as the memo.

    One that does not keep makes everything anew: what is worth its memory among several compilations is not in one.
    """

    keeps: bool = True
    _found: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value that was made for this key, or is made now. What `make` raises is not kept."""
        if not self.keeps:
            return make()
        if key not in self._found:
            self._found[key] = make()
        found: T = self._found[key]
        return found


FORGETFUL = Memo(keeps=False)
"""For a compilation that has nothing in common with another one."""
