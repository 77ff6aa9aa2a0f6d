"""Every rule on bad bytes, as data."""
