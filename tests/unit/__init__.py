"""Python by itself: configuration, commands, admin rules, primitives."""
