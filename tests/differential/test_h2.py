"""The same frames to us and to Python's `h2`, as servers and as clients: who accepts what.

Where one refuses what the other takes, or one ends a stream and the other the connection, the
reason stands in `h2_known.toml` under the step's label, with the section that decides it.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import h2_answers, h2_scripts
from .h2_ends import compare, split_alike
from .h2_scripts import SCALE, Step, Talk

Row = dict[str, Any]
TABLES = tomllib.loads((Path(__file__).parent / "h2_known.toml").read_text())
KNOWN: list[Row] = TABLES["server"] + TABLES["client"]
LABELS = {"server": set(h2_scripts.WRONG), "client": set(h2_answers.WRONG)}
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Known:
    """The differences of one side, by label."""

    def __init__(self, side: str) -> None:
        """`server` or `client`."""
        self.rows: dict[str, Row] = {name: row for row in TABLES[side] for name in row["labels"]}

    def __call__(self, step: Step, us: str, them: str) -> str | None:
        """Why a pair of verdicts is not to be had, or None."""
        if us == them:
            return None
        row = self.rows.get(step.label)
        if row is None:
            return f"{step.label!r}: ours {us}, h2 {them}"
        if (us, them) != (row["ours"], row["theirs"]):
            return f"{step.label!r}: ours {us}, h2 {them}, known as {row['ours']}, {row['theirs']}"
        return None


SERVER, CLIENT = Known("server"), Known("client")


@settings(RELAXED, max_examples=400 * SCALE)
@given(h2_scripts.scripts())
def test_servers_say_the_same_or_have_a_reason(steps: list[Step]) -> None:
    """Step by step: the same fate, and where both accept the same messages."""
    compare(steps, SERVER)


@settings(RELAXED, max_examples=300 * SCALE)
@given(h2_answers.answers())
def test_clients_say_the_same_or_have_a_reason(steps: list[Step]) -> None:
    """The other direction."""
    compare(steps, CLIENT, client=True)


@pytest.mark.parametrize("label", sorted(h2_scripts.WRONG))
def test_each_kind_of_wrong_request(label: str) -> None:
    """Every kind once, whatever is drawn: agreed on, or exactly as its row says."""
    us, them = compare(h2_scripts.WRONG[label](Talk()), SERVER)
    assert (us != them) == (label in SERVER.rows), "its row in h2_known.toml is not needed any more"


@pytest.mark.parametrize("label", sorted(h2_answers.WRONG))
def test_each_kind_of_wrong_answer(label: str) -> None:
    """The other direction."""
    us, them = compare(h2_answers.WRONG[label], CLIENT, client=True)
    assert (us != them) == (label in CLIENT.rows), "its row in h2_known.toml is not needed any more"


@settings(RELAXED, max_examples=150 * SCALE)
@given(h2_scripts.scripts(), st.data())
def test_requests_in_any_pieces(steps: list[Step], data: st.DataObject) -> None:
    """Ourselves split differently."""
    split_alike(steps, lambda size: data.draw(st.lists(st.integers(0, size), max_size=4)))


@settings(RELAXED, max_examples=100 * SCALE)
@given(h2_answers.answers(), st.data())
def test_answers_in_any_pieces(steps: list[Step], data: st.DataObject) -> None:
    """Ourselves split differently, as a client."""
    cuts = lambda size: data.draw(st.lists(st.integers(0, size), max_size=4))  # noqa: E731
    split_alike(steps, cuts, client=True)


@pytest.mark.parametrize("row", KNOWN, ids=[row["name"] for row in KNOWN])
def test_known_differences_have_a_section(row: Row) -> None:
    """A difference without a reason is a bug that nobody has looked at."""
    assert row["section"].startswith("RFC ")
    assert row["reason"]
    assert row["ours"] != row["theirs"]


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_label_has_one_row(side: str) -> None:
    """Two reasons for one difference are none."""
    labels = [label for row in TABLES[side] for label in row["labels"]]
    assert len(labels) == len(set(labels))
    assert set(labels) <= LABELS[side]
