//! Every bound of the reactor, with unit and reason. Those that the engine relies on (bytes of a
//! read, inputs and length of a turn) are in `engine::limits`.

/// Calls of `recv` for one connection in one turn. Their bytes together are at most one
/// `READ_BYTES`, because the engine may copy what it cannot use; more than one call happens only
/// after a short read with a FIN behind it.
pub const READS_MAX: usize = 4;
/// Ciphertext received at once. With the record that was begun before (16 KiB and its overhead, RFC
/// 8446 §5.2) it decrypts to at most one `READ_BYTES`, so that nothing decrypted ever waits.
pub const CIPHER_READ_BYTES: usize = engine::limits::READ_BYTES - 17 * 1024;
/// Plaintext that is sealed at once, into as few records as hold it. Nothing more is sealed until
/// the socket has taken all of them: the rest of a reply is better kept once, in the engine.
pub const SEAL_BYTES_MAX: usize = 64 * 1024;
/// Configurations whose TLS a worker may still come to take up.
pub const KEYRINGS_MAX: usize = 16;
/// Calls of `send` for one connection in one round of flushing: a reply larger than the socket's
/// buffer stops by itself, a smaller one in one piece needs one.
pub const SENDS_MAX: usize = 4;
/// Rounds of drain and flush in one turn. Two are usual: what a write sets free is drained again.
pub const ROUNDS_MAX: usize = 16;
/// Sockets accepted in one turn, so that a storm of connections does not delay streams.
pub const ACCEPTS_MAX: usize = 32;
/// Inputs between two looks at the clock within a turn.
pub const INPUTS_PER_CLOCK: usize = 4;
/// Nanoseconds to a deadline below which the poller is not asked before it: whoever gathers tokens
/// asks for such a wait, and would be woken by each.
pub const NAP_NS_MAX: u64 = 100_000;
/// Nanoseconds by which the kernel may be late with a worker's deadlines. Its default, 50 us, would
/// double the longest gather.
pub const TIMER_SLACK_NS: u64 = 1_000;
/// Events taken from the poller at once. They are only marked, so many are cheap.
pub const EVENTS_MAX: usize = 1024;
/// Accepted sockets waiting in one worker's mailbox; above it accepting pauses. The kernel's
/// backlog is the better place to wait.
pub const MAILBOX_SOCKETS_MAX: usize = 1024;
/// Milliseconds that accepting pauses when descriptors have run out.
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// Share of the descriptor limit, in percent, kept back from client connections: for upstream
/// connections, the log and the admin listener.
pub const DESCRIPTOR_RESERVE_PERCENT: u64 = 10;
/// Connections the kernel queues per listener (it applies its own `somaxconn` below that).
pub const BACKLOG: i32 = 4096;
/// Sockets that linger at a time in one worker; further ones are closed after their last bytes.
pub const CLOSING_MAX: usize = 4096;
/// Bytes of a lingering socket that are read and thrown away.
pub const LINGER_BYTES_MAX: usize = 64 * 1024;
/// Nanoseconds a socket lingers after our FIN.
pub const LINGER_NS: u64 = 1_000_000_000;
/// Nanoseconds without a byte taken after which the last answer of a connection is given up.
pub const FLUSH_STALL_NS: u64 = 30_000_000_000;
/// Questions waiting for the control plane.
pub const ASKS_MAX: usize = 1024;
/// Nanoseconds that one address of a name has to itself before the next is tried beside it
/// (RFC 8305 §8: the recommended 250 ms). A dial of 2 s thus tries eight.
pub const ATTEMPT_DELAY_NS: u64 = 250_000_000;
/// Records waiting for the recorder.
pub const RECORDS_MAX: usize = 65_536;
/// Formatted log bytes that could not be written yet, above which records wait in the queue.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Workers that may be started in place of ones that had a bug, in the life of a process.
pub const SPARE_WORKERS: u16 = 16;
/// Panics after which a worker that is draining is given up at once.
pub const PANICS_MAX: u32 = 3;
/// Nanoseconds that a replaced worker has to finish its streams.
pub const RETIRED_DRAIN_NS: u64 = 600_000_000_000;
/// Nanoseconds of silence after which a replaced worker closes a kept connection: enough for the
/// next request of a busy one, which is then told to close.
pub const RETIRED_IDLE_NS: u64 = 1_000_000_000;
/// Turns that one call of the inline driver makes while work is left.
pub const INLINE_TURNS_MAX: usize = 4;
