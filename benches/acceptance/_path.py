"""Lets the scripts of this folder be run as files: puts the repository's root on the path."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
