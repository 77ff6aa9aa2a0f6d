"""The process around the data plane: start, reload, drain, signals."""
