"""Smooth weighted round-robin against nginx's algorithm, written out."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fastproxy import Picker

weights = st.lists(st.integers(1, 9), min_size=1, max_size=6)


class PickerMachine(RuleBasedStateMachine):
    """Picks, exclusions and changed weights."""

    @initialize(given_weights=weights)
    def make(self, given_weights: list[int]) -> None:
        """A fresh picker."""
        self.picker = Picker(given_weights)
        self.weights = list(given_weights)

    @rule(excluded=st.sets(st.integers(0, 5)))
    def pick(self, excluded: set[int]) -> None:
        """Never an excluded one; none only when all are."""
        allowed = set(range(len(self.weights))) - excluded
        inside = [index for index in excluded if index < len(self.weights)]
        chosen = self.picker.pick(inside)
        if allowed:
            assert chosen in allowed
        else:
            assert chosen is None

    @rule(index=st.integers(0, 5), weight=st.integers(1, 9))
    def change(self, index: int, weight: int) -> None:
        """A weight may change between picks."""
        index %= len(self.weights)
        self.picker.set_weight(index, weight)
        self.weights[index] = weight


TestPicker = PickerMachine.TestCase
TestPicker.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=100, deadline=None)
@given(weights)
def test_shares_are_exact_over_a_round(given_weights: list[int]) -> None:
    """In as many picks as the sum of weights, each is picked as often as it weighs."""
    picker = Picker(given_weights)
    total = sum(given_weights)
    for _ in range(3):
        seen = Counter(picker.pick() for _ in range(total))
        assert [seen[index] for index in range(len(given_weights))] == given_weights


@settings(max_examples=100, deadline=None)
@given(weights)
def test_the_order_is_nginxs(given_weights: list[int]) -> None:
    """current += weight; the largest current is picked and pays the total."""
    picker = Picker(given_weights)
    current = [0] * len(given_weights)
    for _ in range(sum(given_weights) * 2):
        current = [now + weight for now, weight in zip(current, given_weights, strict=True)]
        best = current.index(max(current))
        current[best] -= sum(given_weights)
        assert picker.pick() == best
