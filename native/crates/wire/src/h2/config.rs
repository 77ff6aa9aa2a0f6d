//! What a connection is told when it is made.

use crate::limits::Limits;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We take requests.
    Server,
    /// We send requests.
    Client,
}

/// The settings of one end. Defaults are those of `Config::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Streams at a time; 100, as HAProxy has and RFC 9113 §6.5.2 asks for at least. A client
    /// opens no more than this, however many the server offers.
    pub streams_max: u32,
    /// Bytes that a peer may send on a stream before we consumed them; 64 KiB, which is also the
    /// most that a stopped reader makes us hold. At most 2^31-1.
    pub stream_window: u32,
    /// Bytes that a peer may send on the connection before they were received; 1 MiB. Less than
    /// the protocol's initial 65,535 cannot be said and means that.
    pub connection_window: u32,
    /// Bytes of one head, counted with 32 for each field (RFC 9113 §10.5.1), and bytes of its
    /// compressed form; 64 KiB.
    pub header_list_bytes_max: u32,
    /// Whether a server takes extended CONNECT, which carries WebSockets (RFC 8441); true.
    pub connect_protocol: bool,
    /// All budgets against abuse times this; 1. More for a gateway of our own in front of us,
    /// whose one connection carries many clients.
    pub widened: u32,
    /// The bounds on heads that HTTP/1 has as well: fields, one field's bytes, a method's bytes,
    /// trailers, interim responses.
    pub limits: Limits,
}

impl Config {
    /// The defaults, usable in constants.
    pub const DEFAULT: Self = Self {
        streams_max: 100,
        stream_window: 64 * 1024,
        connection_window: 1024 * 1024,
        header_list_bytes_max: 64 * 1024,
        connect_protocol: true,
        widened: 1,
        limits: Limits::DEFAULT,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}
