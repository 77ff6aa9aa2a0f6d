//! SETTINGS: what we say, and what the peer's entries may be (RFC 9113 §6.5).

use crate::h2::config::{Config, Role};
use crate::h2::event::Closing;
use crate::h2::frame::{Header, kind};
use crate::h2::{Cause, ErrorCode};

/// RFC 9113 §6.9.2: every window before anything was said.
pub(crate) const WINDOW_INITIAL: u32 = 65_535;
/// RFC 9113 §6.9.1.
pub(crate) const WINDOW_MAX: u32 = (1 << 31) - 1;

/// RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1.
mod parameter {
    pub(super) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(super) const ENABLE_PUSH: u16 = 0x2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    pub(super) const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// What the peer told us of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerSettings {
    /// Whether its first SETTINGS came.
    pub(crate) seen: bool,
    /// Of its decoder's table, in bytes.
    pub(crate) table_bytes_max: u32,
    /// Streams that it takes at a time; without bound until it says so.
    pub(crate) streams_max: u32,
    /// What a stream of ours may send at first, in bytes.
    pub(crate) stream_window: u32,
    /// Bytes of a header list that it takes; advice.
    pub(crate) header_list_bytes_max: u32,
    /// Whether it takes extended CONNECT.
    pub(crate) connect_protocol: bool,
}

impl PeerSettings {
    /// RFC 9113 §6.5.2: the initial values.
    pub(crate) const INITIAL: Self = Self {
        seen: false,
        table_bytes_max: 4_096,
        streams_max: u32::MAX,
        stream_window: WINDOW_INITIAL,
        header_list_bytes_max: u32::MAX,
        connect_protocol: false,
    };

    /// Takes all entries of one frame in order. `role` is ours.
    pub(crate) fn apply(&mut self, payload: &[u8], role: Role) -> Result<(), Closing> {
        let (entries, _) = payload.as_chunks::<6>();
        for &[i0, i1, v0, v1, v2, v3] in entries {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            self.entry(u16::from_be_bytes([i0, i1]), value, role)?;
        }
        self.seen = true;
        Ok(())
    }

    fn entry(&mut self, parameter: u16, value: u32, role: Role) -> Result<(), Closing> {
        match parameter {
            parameter::HEADER_TABLE_SIZE => self.table_bytes_max = value,
            // A server must not offer push, whatever it says about its own end.
            parameter::ENABLE_PUSH if value > 1 || (role == Role::Client && value != 0) => {
                return Err(protocol("ENABLE_PUSH has a value it must not have"));
            }
            parameter::MAX_CONCURRENT_STREAMS => self.streams_max = value,
            parameter::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                return Err(Closing {
                    code: ErrorCode::FlowControlError,
                    cause: Cause::FlowControl,
                    why: "INITIAL_WINDOW_SIZE is above 2^31-1",
                });
            }
            parameter::INITIAL_WINDOW_SIZE => self.stream_window = value,
            // Frames of 16,384 bytes are always allowed, and we send no larger ones.
            parameter::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                return Err(protocol("MAX_FRAME_SIZE is out of its range"));
            }
            parameter::MAX_HEADER_LIST_SIZE => self.header_list_bytes_max = value,
            // RFC 8441 §3: 0 or 1, and never 0 after 1.
            parameter::ENABLE_CONNECT_PROTOCOL
                if value > 1 || (self.connect_protocol && value == 0) =>
            {
                return Err(protocol(
                    "ENABLE_CONNECT_PROTOCOL has a value it must not have",
                ));
            }
            parameter::ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
            parameter::NO_RFC7540_PRIORITIES if value > 1 => {
                return Err(protocol("NO_RFC7540_PRIORITIES is neither 0 nor 1"));
            }
            // RFC 9113 §6.5.2: what is not known MUST be ignored.
            _ => {}
        }
        Ok(())
    }
}

const fn protocol(why: &'static str) -> Closing {
    Closing {
        code: ErrorCode::ProtocolError,
        cause: Cause::Protocol,
        why,
    }
}

/// Our SETTINGS; what equals the initial value is not said.
pub(crate) fn write(out: &mut Vec<u8>, role: Role, config: &Config) {
    let stream_window = config.stream_window.min(WINDOW_MAX);
    let server = role == Role::Server;
    let entries = [
        (!server).then_some((parameter::ENABLE_PUSH, 0)),
        server.then_some((parameter::MAX_CONCURRENT_STREAMS, config.streams_max)),
        (stream_window != WINDOW_INITIAL)
            .then_some((parameter::INITIAL_WINDOW_SIZE, stream_window)),
        Some((
            parameter::MAX_HEADER_LIST_SIZE,
            config.header_list_bytes_max,
        )),
        (server && config.connect_protocol).then_some((parameter::ENABLE_CONNECT_PROTOCOL, 1)),
        // RFC 9218 §2.1.1: the old priorities are not looked at.
        server.then_some((parameter::NO_RFC7540_PRIORITIES, 1)),
    ];
    let header = Header {
        length: entries.iter().flatten().count() as u32 * 6,
        kind: kind::SETTINGS,
        flags: 0,
        id: 0,
    };
    out.extend_from_slice(&header.bytes());
    for (parameter, value) in entries.into_iter().flatten() {
        out.extend_from_slice(&parameter.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(parameter: u16, value: u32) -> Vec<u8> {
        [&parameter.to_be_bytes()[..], &value.to_be_bytes()].concat()
    }

    #[test]
    fn values_out_of_range_are_errors_of_their_kind() {
        let one = |parameter, value, role| {
            let mut peer = PeerSettings::INITIAL;
            peer.apply(&entry(parameter, value), role)
                .map(|()| peer)
                .map_err(|closing| closing.code)
        };
        for role in [Role::Server, Role::Client] {
            for (parameter, value, code) in [
                (0x2, 2, ErrorCode::ProtocolError),
                (0x4, 1 << 31, ErrorCode::FlowControlError),
                (0x5, 16_383, ErrorCode::ProtocolError),
                (0x5, 1 << 24, ErrorCode::ProtocolError),
                (0x8, 2, ErrorCode::ProtocolError),
                (0x9, 2, ErrorCode::ProtocolError),
            ] {
                assert_eq!(one(parameter, value, role), Err(code), "{parameter:#x}");
            }
            assert!(one(0x5, 16_384, role).is_ok() && one(0x5, (1 << 24) - 1, role).is_ok());
            assert!(one(0xffff, u32::MAX, role).is_ok());
            assert_eq!(one(0x4, 0, role).map(|peer| peer.stream_window), Ok(0));
        }
        assert!(one(0x2, 1, Role::Server).is_ok());
        assert_eq!(one(0x2, 1, Role::Client), Err(ErrorCode::ProtocolError));
    }

    #[test]
    fn the_last_entry_wins_and_connect_stays() {
        let mut peer = PeerSettings::INITIAL;
        let payload = [entry(3, 1), entry(3, 7), entry(8, 1), entry(8, 1)].concat();
        assert_eq!(peer.apply(&payload, Role::Client), Ok(()));
        assert!(peer.seen && peer.connect_protocol && peer.streams_max == 7);
        assert!(peer.apply(&entry(8, 0), Role::Client).is_err());
    }

    #[test]
    fn what_we_say() {
        let mut out = Vec::new();
        write(&mut out, Role::Client, &Config::DEFAULT);
        let said = [entry(2, 0), entry(4, 65_536), entry(6, 65_536)].concat();
        assert_eq!(&out[..9], b"\0\0\x12\x04\0\0\0\0\0");
        assert_eq!(&out[9..], said);
        out.clear();
        write(&mut out, Role::Server, &Config::DEFAULT);
        assert_eq!(out.len(), 9 + 5 * 6);
    }
}
