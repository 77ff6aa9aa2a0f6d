"""One file a stage, over real sockets."""
