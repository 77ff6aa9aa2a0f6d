"""Interleaved rounds: every contender runs in each of them, in a new order, compared in pairs.

A machine gets warmer, noisier and quieter; within one round its contenders see nearly the same of
it, so ratios of the same round carry what absolute figures do not.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benches.harness.stats import Estimate, differences, estimate, ratios

Sample = Mapping[str, float]
"""Figures of one run by name."""


@dataclass(slots=True)
class Table:
    """Samples of contenders by round; position i of every list is round i."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def values(self, contender: str, figure: str) -> list[float]:
        """One figure of a contender, by round."""
        return [sample[figure] for sample in self.samples[contender]]

    def estimate(self, contender: str, figure: str) -> Estimate:
        """Median and interval of a figure."""
        return estimate(self.values(contender, figure))

    def ratio(self, ours: str, theirs: str, figure: str) -> Estimate:
        """Median of the paired ratios."""
        return ratios(self.values(ours, figure), self.values(theirs, figure))

    def difference(self, ours: str, theirs: str, figure: str) -> Estimate:
        """Median of the paired differences."""
        return differences(self.values(ours, figure), self.values(theirs, figure))

    def has(self, *contenders: str) -> bool:
        """Whether all of these were measured."""
        return all(self.samples.get(contender) for contender in contenders)


def interleave(
    contenders: Sequence[str],
    rounds: int,
    run: Callable[[str], Sample],
    *,
    say: Callable[[str], None] = lambda _: None,
    seed: int = 1,
) -> Table:
    """Run every contender once in each round; the order of a round is drawn anew."""
    table = Table({name: [] for name in contenders})
    order = list(contenders)
    draw = random.Random(seed)  # noqa: S311 - an order, no secret
    for number in range(rounds):
        draw.shuffle(order)
        taken: dict[str, Sample] = {}
        for name in order:
            taken[name] = run(name)
        for name in contenders:
            table.samples[name].append(taken[name])
        say(f"round {number + 1} of {rounds}: " + _short(taken))
    return table


def _short(taken: Mapping[str, Sample]) -> str:
    parts = []
    for name in sorted(taken):
        first = next(iter(taken[name].values()), 0.0)
        parts.append(f"{name} {first:.1f}")
    return ", ".join(parts)
