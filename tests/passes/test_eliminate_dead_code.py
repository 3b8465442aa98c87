"""What golden texts do not show of the removal of dead code."""

from __future__ import annotations

from passes.eliminate_dead_code import EliminateDeadCode
from passes.interpreter import call
from tests.support.programs import PROGRAMS, bare, normal, operators, parsed, without_output


def test_a_chain_goes_in_one_run() -> None:
    chain = " ".join(f"h{i + 1} = Relu (h{i})" for i in range(9))
    program = bare(
        parsed(f"g (float[n] h0) => (float[n] y, float[n] h9) {{ y = Tanh (h0) {chain} }}"), {"h0": normal(3)}
    )
    result = EliminateDeadCode()(without_output(program, "h9"))
    assert operators(result.program.functions["main"]) == ["aten.tanh.default"]
    assert result.notes == ("main: dead nodes: 9",)


def test_what_is_left_keeps_its_names_and_its_sources() -> None:
    text = """
    g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) {
        a = Relu (x)
        y = MatMul (a, w)
        b = Tanh (x)
        z = MatMul (b, v)
    }
    """
    program = without_output(bare(parsed(text, w=normal(4, 4), v=normal(4, 4, seed=1)), {"x": normal(3, 4)}), "y")
    before, after = program.functions["main"], EliminateDeadCode()(program).program.functions["main"]
    names = {node.name for node in after.graph.nodes}
    assert names < {node.name for node in before.graph.nodes}
    assert after.sources == {name: source for name, source in before.sources.items() if name in names}
    assert sorted(after.sources.values()) == ["MatMul:z", "Tanh:b", "v"]


def test_the_outputs_that_are_left_stay() -> None:
    for name in PROGRAMS["constant_outputs"]().functions["main"].signature.outputs:
        program = PROGRAMS["constant_outputs"]()
        shorter = EliminateDeadCode()(without_output(program, name.name)).program
        inputs = program.models["main"].samples[0].inputs
        expected = call(program, "main", inputs)
        for output, value in call(shorter, "main", inputs).items():
            assert value.tolist() == expected[output].tolist()
