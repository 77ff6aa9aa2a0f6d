"""What every test needs: the harness on the path, and the markers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config: pytest.Config) -> None:
    """Say which markers there are."""
    config.addinivalue_line("markers", "soak: runs for FASTPROXY_SOAK_S seconds; `make long`")
