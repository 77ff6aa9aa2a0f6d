"""Measurements: proxies side by side, and the acceptance bars with their figures."""
