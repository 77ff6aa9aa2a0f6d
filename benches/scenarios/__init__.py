"""Loads that contenders are compared under."""

from benches.scenarios.base import Scenario
from benches.scenarios.streams import STREAMS_ALIGNED, STREAMS_STAGGERED
from benches.scenarios.unary import UNARY, UNARY_16K

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (UNARY, UNARY_16K, STREAMS_STAGGERED, STREAMS_ALIGNED)
}
"""Scenarios that compare CPU time, by name."""

__all__ = ["SCENARIOS", "Scenario"]
