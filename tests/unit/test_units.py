"""Durations, sizes and shares: what is read, what is refused and in which words."""

import pytest

from fastproxy.config.units import AutoSize, Duration, Ratio, Size


@pytest.mark.parametrize(
    ("text", "milliseconds", "shown"),
    [
        ("500ms", 500, "500ms"),
        ("2s", 2_000, "2s"),
        ("1.5s", 1_500, "1500ms"),
        ("90s", 90_000, "90s"),
        ("1m30s", 90_000, "90s"),
        ("10m", 600_000, "10m"),
        ("1h", 3_600_000, "1h"),
        ("2 s", 2_000, "2s"),
        ("off", 0, "off"),
        (False, 0, "off"),
        (0, 0, "off"),
    ],
)
def test_durations(text: object, milliseconds: int, shown: str) -> None:
    """Each unit, sums, and `off`."""
    duration = Duration.parse(text)
    assert (int(duration), str(duration)) == (milliseconds, shown)
    assert Duration.parse(str(duration)) == duration


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (30, "a duration needs a unit; write 30s for seconds or 30ms for milliseconds"),
        (1.5, "a duration needs a unit; write 1.5s for seconds or 1.5ms for milliseconds"),
        ("30", "a duration needs a unit; write 30s or 30ms"),
        ("", "not a duration; write it like 500ms, 2s, 1m or off"),
        ("soon", "not a duration; write it like 500ms, 2s, 1m or off"),
        ("2sec", "not a duration; write it like 500ms, 2s, 1m or off"),
        ("-2s", "not a duration; write it like 500ms, 2s, 1m or off"),
        (True, "not a duration; write it like 500ms, 2s, 1m or off"),
        ([], "not a duration; write it like 500ms, 2s, 1m or off"),
        ("0.1ms", "out of range; allowed: 1ms to 366d, or off"),
        ("400d", "out of range; allowed: 1ms to 366d, or off"),
    ],
)
def test_refused_durations(text: object, reason: str) -> None:
    """The message says what to write."""
    with pytest.raises(ValueError) as caught:
        Duration.parse(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("text", "count", "shown"),
    [
        ("512B", 512, "512B"),
        ("64KiB", 65_536, "64KiB"),
        ("32MiB", 32 * 1024**2, "32MiB"),
        ("1GB", 10**9, "1000000000B"),
        ("1.5MiB", 3 * 512 * 1024, "1536KiB"),
    ],
)
def test_sizes(text: str, count: int, shown: str) -> None:
    """Binary and decimal units."""
    size = Size.parse(text)
    assert (int(size), str(size)) == (count, shown)
    assert Size.parse(str(size)) == size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (64, "a size needs a unit; write 64B for bytes, or KiB, MiB, GiB"),
        ("64", "a size needs a unit; write 64B for bytes, or KiB, MiB, GiB"),
        ("64k", 'unknown unit "k"; allowed: B, KB, MB, GB, KiB, MiB, GiB'),
        ("big", "not a size; write it like 512B, 64KiB or 32MiB"),
        (None, "not a size; write it like 512B, 64KiB or 32MiB"),
        ("0B", "out of range; allowed: 1B to 1024GiB"),
        ("5000GiB", "out of range; allowed: 1B to 1024GiB"),
    ],
)
def test_refused_sizes(text: object, reason: str) -> None:
    """The message says what to write."""
    with pytest.raises(ValueError) as caught:
        Size.parse(text)
    assert str(caught.value) == reason


def test_automatic_size() -> None:
    """`auto` is a size only where it is allowed."""
    assert AutoSize.parse("auto") == 0
    assert str(AutoSize.parse("auto")) == "auto"
    assert int(AutoSize.parse("1KiB")) == 1024
    with pytest.raises(ValueError, match="not a size"):
        Size.parse("auto")


def test_shares() -> None:
    """Percent only."""
    assert float(Ratio.parse("20%")) == 0.2
    assert str(Ratio.parse("12.5%")) == "12.5%"
    assert float(Ratio.parse("off")) == 0
    assert repr(Ratio.parse("20%")) == "Ratio('20%')"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (0.2, "a share needs a percent sign; write 20%"),
        (20, "a share needs a percent sign; write 20%"),
        ("a lot", "not a share; write it like 20%"),
        ("120%", "out of range; allowed: 0% to 100%"),
    ],
)
def test_refused_shares(text: object, reason: str) -> None:
    """The message says what to write."""
    with pytest.raises(ValueError) as caught:
        Ratio.parse(text)
    assert str(caught.value) == reason
