//! What did the peer say? Bytes to events and back, with no clock, no socket and no policy.
