//! Sockets, poller, timers, worker threads and the recorder; no policy decision.
