//! The frames that steer: SETTINGS, PING, WINDOW_UPDATE, RST_STREAM, GOAWAY and priorities.
//!
//! Their form was checked; here is what they mean and what they cost.

use crate::h2::config::Role;
use crate::h2::connection::{Connection, flow_control_error, frame_size_error, protocol_error};
use crate::h2::event::{Closing, Event};
use crate::h2::frame::{Header, flag, write};
use crate::h2::priority;
use crate::h2::receive::Step;
use crate::h2::state::{Over, Send};
use crate::h2::{ErrorCode, StreamId};

/// The first four bytes as a number.
fn word(payload: &[u8]) -> u32 {
    payload
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Of a stream's id or a window's increment: the reserved bit is ignored.
const RESERVED: u32 = 1 << 31;

impl Connection {
    /// RFC 9113 §6.5.
    pub(super) fn settings_frame<'a>(
        &mut self,
        header: Header,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        if header.has(flag::ACK) {
            if std::mem::replace(&mut self.acknowledged, true) {
                self.glitch(out)?;
            }
            return Ok(Step::Again);
        }
        self.abuse.settings(self.now_ns)?;
        self.abuse.reply(out.len())?;
        let before = self.peer.stream_window;
        self.peer.apply(payload, self.role)?;
        self.encoder.resize(self.peer.table_bytes_max as usize);
        let by = i64::from(self.peer.stream_window) - i64::from(before);
        self.shift_windows(by)?;
        write::settings_ack(out);
        Ok(Step::Event(Event::Settings))
    }

    /// RFC 9113 §6.9.2: a new initial size changes the windows of all streams.
    fn shift_windows(&mut self, by: i64) -> Result<(), Closing> {
        if by == 0 {
            return Ok(());
        }
        for slot in 0..self.streams.slots() {
            let Some(stream) = self.streams.at(slot).filter(|stream| stream.id != 0) else {
                continue;
            };
            if !stream.outbound.shift(by) {
                return Err(flow_control_error("SETTINGS take a window beyond 2^31-1"));
            }
            if stream.outbound.allows() == 0 {
                self.schedule.remove(&mut self.streams, slot);
            } else {
                self.schedule.add(&mut self.streams, slot);
            }
        }
        Ok(())
    }

    /// RFC 9113 §6.7.
    pub(super) fn ping_frame<'a>(
        &mut self,
        header: Header,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let payload = payload.first_chunk::<8>().copied().unwrap_or_default();
        if header.has(flag::ACK) {
            if self.ping.outstanding && payload == self.ping.count.to_be_bytes() {
                self.ping.outstanding = false;
            } else {
                self.glitch(out)?;
            }
            return Ok(Step::Again);
        }
        self.abuse.ping(self.now_ns)?;
        self.abuse.reply(out.len())?;
        write::ping(out, payload, true);
        Ok(Step::Again)
    }

    /// RFC 9113 §6.9.
    pub(super) fn window_update_frame<'a>(
        &mut self,
        id: StreamId,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        self.abuse.window_update()?;
        let increment = word(payload) & !RESERVED;
        if id == 0 {
            if increment == 0 {
                return Err(protocol_error("WINDOW_UPDATE of 0"));
            }
            if !self.outbound.shift(i64::from(increment)) {
                return Err(flow_control_error("the connection's window beyond 2^31-1"));
            }
            return Ok(Step::Again);
        }
        let Some(slot) = self.streams.slot(id) else {
            if self.is_idle(id) {
                return Err(protocol_error("WINDOW_UPDATE on an idle stream"));
            }
            // RFC 9113 §5.1: it may have been under way when the stream closed.
            return Ok(Step::Again);
        };
        let Some(stream) = self.streams.at(slot).filter(|one| one.over == Over::No) else {
            return Ok(Step::Again);
        };
        if increment == 0 {
            let why = "WINDOW_UPDATE of 0";
            return self.stream_error(id, ErrorCode::ProtocolError, why, out);
        }
        if !stream.outbound.shift(i64::from(increment)) {
            let why = "a stream's window beyond 2^31-1";
            return self.stream_error(id, ErrorCode::FlowControlError, why, out);
        }
        self.schedule.add(&mut self.streams, slot);
        Ok(Step::Again)
    }

    /// RFC 9113 §6.4.
    pub(super) fn reset_frame<'a>(
        &mut self,
        id: StreamId,
        payload: &[u8],
    ) -> Result<Step<'a>, Closing> {
        let Some(slot) = self.streams.slot(id) else {
            if self.is_idle(id) {
                return Err(protocol_error("RST_STREAM on an idle stream"));
            }
            return Ok(Step::Again);
        };
        let Some(stream) = self.streams.at(slot).filter(|stream| !stream.closed()) else {
            return Ok(Step::Again);
        };
        let (tag, forgotten) = (stream.tag, stream.forgotten);
        let early = self.role == Role::Server && stream.send == Send::Head;
        self.cut(slot, Over::ByPeer);
        if early {
            self.abuse.reset_early(self.now_ns)?;
        }
        if forgotten {
            return Ok(Step::Again);
        }
        Ok(Step::Event(Event::Reset {
            id,
            tag,
            code: word(payload),
            by_us: None,
        }))
    }

    /// RFC 9113 §6.8; `payload` is without the debug data.
    pub(super) fn goaway_frame<'a>(
        &mut self,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let last = word(payload) & !RESERVED;
        let code = word(payload.get(4..).unwrap_or_default());
        if let Some(before) = self.going.received {
            if last > before {
                return Err(protocol_error("GOAWAY takes back what it said"));
            }
            self.glitch(out)?;
        }
        self.going.received = Some(last);
        if self.role == Role::Client {
            self.going.refusing = Some(0);
        }
        Ok(Step::Event(Event::Goaway { last, code }))
    }

    /// RFC 9113 §6.3: nothing is done with it, but it has its rules.
    pub(super) fn priority_frame<'a>(
        &mut self,
        id: StreamId,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        self.abuse.priority()?;
        if word(payload) & !RESERVED != id {
            return Ok(Step::Again);
        }
        let why = "a stream that depends on itself";
        if self.is_idle(id) {
            // RST_STREAM must not be sent for it (RFC 9113 §6.4).
            return Err(protocol_error(why));
        }
        self.stream_error(id, ErrorCode::ProtocolError, why, out)
    }

    /// RFC 9113 §6.3: PRIORITY of another length than 5.
    pub(super) fn priority_length<'a>(
        &mut self,
        id: StreamId,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let why = "PRIORITY of a wrong length";
        if self.is_idle(id) {
            return Err(frame_size_error(why));
        }
        self.stream_error(id, ErrorCode::FrameSizeError, why, out)
    }

    /// RFC 9218 §7.1.
    pub(super) fn priority_update_frame<'a>(
        &mut self,
        payload: &[u8],
    ) -> Result<Step<'a>, Closing> {
        self.abuse.priority()?;
        if self.role == Role::Client {
            return Err(protocol_error("PRIORITY_UPDATE from a server"));
        }
        let id = word(payload) & !RESERVED;
        if id.is_multiple_of(2) {
            return Err(protocol_error("PRIORITY_UPDATE for no stream"));
        }
        // What comes before its stream may be dropped: the request has a field for it.
        let urgency = payload.get(4..).and_then(priority::urgency);
        if let (Some(slot), Some(urgency)) = (self.streams.slot(id), urgency) {
            self.schedule.move_to(&mut self.streams, slot, urgency);
        }
        Ok(Step::Again)
    }
}
