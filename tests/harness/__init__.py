"""Scripted peers, a running proxy, and readers of what it reports; shared by all Python tests."""
