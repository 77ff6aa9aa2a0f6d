"""The acceptance bars: one script each, run alone or all together."""
