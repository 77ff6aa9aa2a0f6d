"""The bounded channel against a model of three queues."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastproxy import Channel


class ChannelMachine(RuleBasedStateMachine):
    """Operations at random; the model is three deques and two sums."""

    @initialize(capacity=st.integers(1, 6), bytes_max=st.sampled_from([0, 10, 50]))
    def make(self, capacity: int, bytes_max: int) -> None:
        """A fresh channel."""
        self.channel = Channel(capacity, bytes_max)
        self.capacity, self.bytes_max = capacity, bytes_max
        self.queues: list[deque[tuple[int, int]]] = [deque() for _ in range(3)]
        self.refused = self.sent = self.high = 0

    def depth(self) -> int:
        """Items in the model."""
        return sum(map(len, self.queues))

    @rule(priority=st.integers(0, 2), size=st.integers(0, 30))
    def send(self, priority: int, size: int) -> None:
        """Taken exactly when there is room for one more item and its bytes."""
        held = sum(size for queue in self.queues for _, size in queue)
        room = self.depth() < self.capacity
        room = room and (self.bytes_max == 0 or held + size <= self.bytes_max)
        item = self.sent
        assert self.channel.try_send(item, priority=priority, size=size) is room
        if room:
            self.queues[priority].append((item, size))
            self.sent += 1
            self.high = max(self.high, self.depth())
        else:
            self.refused += 1

    @rule()
    def receive(self) -> None:
        """Highest class first, oldest first inside it."""
        queue = next((queue for queue in self.queues if queue), None)
        wanted = queue.popleft()[0] if queue else None
        assert self.channel.try_recv() == wanted

    @invariant()
    def counts(self) -> None:
        """What it says of itself is true."""
        if not hasattr(self, "channel"):
            return
        assert len(self.channel) == self.depth()
        assert self.channel.capacity == self.capacity
        assert self.channel.refused == self.refused
        assert self.channel.high_water == self.high


TestChannel = ChannelMachine.TestCase
TestChannel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
