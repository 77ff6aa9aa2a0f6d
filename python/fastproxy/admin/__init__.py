"""The admin API: what operators ask of a running proxy."""
