//! Load generator, simulated inference engine and byte relay.
