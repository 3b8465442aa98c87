from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from artifacts.neuron_serving import NeuronServing

SHARED = "NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS"


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({}, {SHARED: "1"}),
        ({"shared_weights": False, "exec_timeout": 9}, {SHARED: "0", "NEURON_RT_EXEC_TIMEOUT": "9"}),
        ({"num_cores": 4}, {SHARED: "1", "NEURON_RT_NUM_CORES": "4"}),
        ({"num_cores": 1}, {SHARED: "0", "NEURON_RT_NUM_CORES": "1"}),
        ({"num_cores": 4, "instances": 2}, {SHARED: "1", "NEURON_RT_NUM_CORES": "2"}),
        ({"instances": 3}, {SHARED: "0", "NEURON_RT_NUM_CORES": "1"}),
        ({"visible_cores": (0, 1, 2, 3)}, {SHARED: "1", "NEURON_RT_VISIBLE_CORES": "0-3"}),
        ({"visible_cores": (0, 2)}, {SHARED: "1", "NEURON_RT_VISIBLE_CORES": "0,2"}),
        ({"visible_cores": (0, 2), "instances": 2}, {SHARED: "0"}),
    ],
)
def test_settings_say_what_the_fields_mean(fields: dict[str, Any], settings: dict[str, str]) -> None:
    serving = NeuronServing(**fields)
    assert serving.settings == settings
    assert len(serving.own_settings) == serving.instances


def test_each_instance_has_its_own_visible_cores() -> None:
    serving = NeuronServing(instances=2, visible_cores=(0, 1, 4, 6))
    assert serving.own_settings == [{"NEURON_RT_VISIBLE_CORES": "0-1"}, {"NEURON_RT_VISIBLE_CORES": "4,6"}]
    assert "NEURON_RT_NUM_CORES" not in serving.settings
    assert NeuronServing(visible_cores=(5,)).own_settings == [{}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_cores": 2, "visible_cores": (0, 1)}, "by number and by count"),
        ({"visible_cores": (1, 0)}, "do not go up"),
        ({"visible_cores": (1, 1)}, "do not go up"),
        ({"num_cores": 3, "instances": 2}, "no equal shares for 2 instances"),
        ({"visible_cores": (0, 1), "instances": 4}, "no equal shares for 4 instances"),
        ({"instances": 2, "shared_weights": True}, "each process has one core"),
        ({"num_cores": 1, "shared_weights": True}, "each process has one core"),
        ({"instances": 0}, "greater than or equal to 1"),
        ({"visible_cores": (-1,)}, "greater than or equal to 0"),
        ({"exec_timeout": 2**31}, "less than 2147483648"),
        ({"loading": "never"}, "'lazy' or 'async'"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NeuronServing(**fields)
