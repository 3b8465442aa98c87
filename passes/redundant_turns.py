"""Permutations that cancel, that move nothing, or that meet another one behind operators of one element at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node
from torch.fx.node import Argument

from passes.graph_editor import GraphEditor, is_tensor
from passes.turns import TURNS, unturned

_aten = torch.ops.aten

_EXACT = frozenset(
    {
        *(_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor),
        *(_aten.neg.default, _aten.abs.default, _aten.relu.default, _aten.sqrt.default),
        *(_aten.maximum.default, _aten.minimum.default),
    }
)
"""Operators whose result is the one that is nearest: it does not depend on where in memory an element lies.

What approximates, an exponential for one, may take the last elements of a row by other instructions than the rest.
"""


def without_turn(editor: GraphEditor, node: Node) -> Node | None:
    """Turns of turns are one, or none; a turn that only moves axes of size 1 is a view."""
    if node.target not in TURNS:
        return None
    base, order = unturned(node)
    if order == sorted(order):
        return base
    if base is not node.all_input_nodes[0]:
        return editor.put(node, _aten.permute.default, (base, order))
    sizes = editor.sizes(base)
    moved = [axis for axis in order if sizes[axis] != 1]
    known = editor.known_shape(node) if moved == sorted(moved) else None
    return None if known is None else editor.put(node, _aten.reshape.default, (base, known))


def with_turns_met(editor: GraphEditor, node: Node) -> bool:
    """Compute without a turn what lies between turns, if fewer of them are left then; true if that changed it.

    What lies between is the whole region of exact operators of one element at a time that the turn leads to. All its
    tensors have one shape, or one element, and one type, so that the number of turns tells what is moved.
    """
    if node.target not in TURNS:
        return False
    region = _Region.around(editor, node)
    if not region.members or region.gain <= 0:
        return False
    region.turn_back(editor)
    return True


@dataclass(frozen=True, eq=False)
class _Region:
    """Operators between turns, in the order of the graph, and the order of axes that they are in.

    `turned` are what goes in as a turn of something in the plain order, `plain` what goes in otherwise. `left` are
    members that something outside takes as it is, `turns` what turns a member outside.
    """

    order: tuple[int, ...]
    members: tuple[Node, ...]
    turned: tuple[Node, ...]
    plain: tuple[Node, ...]
    left: tuple[Node, ...]
    turns: tuple[Node, ...]

    @classmethod
    def around(cls, editor: GraphEditor, turn: Node) -> _Region:
        order, members = tuple(unturned(turn)[1]), dict[Node, None]()
        waiting = list(turn.users)
        while waiting:
            found = waiting.pop()
            if found not in members and _fits(editor, found, turn):
                members[found] = None
                waiting += [*found.users, *found.all_input_nodes]
        entering = dict.fromkeys(
            operand
            for member in members
            for operand in member.all_input_nodes
            if operand not in members and not _is_number(editor, operand)
        )
        turned = tuple(n for n in entering if n.target in TURNS and tuple(unturned(n)[1]) == order)
        outside = {member: [user for user in member.users if user not in members] for member in members}
        return cls(
            order,
            tuple(node for node in editor.graph.nodes if node in members),
            turned,
            tuple(n for n in entering if n not in turned),
            tuple(member for member, users in outside.items() if any(user.target not in TURNS for user in users)),
            tuple(user for users in outside.values() for user in users if user.target in TURNS),
        )

    @property
    def gain(self) -> int:
        """How many turns there are less without this order."""
        gone = sum(all(user in self.members for user in node.users) for node in self.turned)
        met = sum(_behind(self.order, unturned(turn)[1]) == sorted(self.order) for turn in self.turns)
        return gone + met - len(self.plain) - len(self.left)

    def turn_back(self, editor: GraphEditor) -> None:
        """Write the members anew, in the plain order."""
        back = [self.order.index(axis) for axis in range(len(self.order))]
        new: dict[Node, Node] = {node: unturned(node)[0] for node in self.turned}
        for member in self.members:
            shape = [member.meta["val"].shape[axis] for axis in back]
            for operand in member.all_input_nodes:
                if operand in self.plain and operand not in new:
                    new[operand] = editor.put(member, _aten.permute.default, (operand, back), shape)
            args: Sequence[Argument] = torch.fx.map_arg(member.args, lambda n: new.get(n, n))
            new[member] = editor.put(member, member.target, args, shape)
        for turn in self.turns:
            base = new[turn.all_input_nodes[0]]
            order = _behind(self.order, unturned(turn)[1])
            turn.replace_all_uses_with(
                base if order == sorted(order) else editor.put(turn, _aten.permute.default, (base, order))
            )
        for member in self.left:
            member.replace_all_uses_with(
                editor.put(member, _aten.permute.default, (new[member], list(self.order))),
                delete_user_cb=lambda user: user not in self.members,
            )


def _behind(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Two orders one after the other as one."""
    return [first[axis] for axis in second]


def _fits(editor: GraphEditor, node: Node, turn: Node) -> bool:
    if node.target not in _EXACT or node.kwargs or node in editor.kept:
        return False
    shape = editor.sizes(turn)
    return all(
        _dtype(n) == _dtype(turn) and (editor.sizes(n) == shape or (n is not node and _is_number(editor, n)))
        for n in (node, *node.all_input_nodes)
        if is_tensor(n)
    )


def _is_number(editor: GraphEditor, node: Node) -> bool:
    """True for a size, and for a tensor of one element."""
    return not is_tensor(node) or all(size == 1 for size in editor.sizes(node))


def _dtype(node: Node) -> torch.dtype:
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype
