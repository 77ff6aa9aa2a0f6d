"""The same bytes to us and to another implementation."""
