"""Whether the HLO of engines for AWS Neuron can be made and proven here."""

from __future__ import annotations

from importlib import metadata

from compiler.targets.target import Availability


def hlo_availability() -> Availability:
    """Usable where JAX is, which lowers to HLO and runs it. The SDK is not needed for that."""
    try:
        return Availability(True, f"jax {metadata.version('jax')}")
    except metadata.PackageNotFoundError:
        return Availability(False, hint='pip install "unspool[neuron-hlo]"')
