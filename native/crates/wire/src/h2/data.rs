//! DATA: content handed out as it comes, and the credit that it costs (RFC 9113 §6.1, §6.9).

use crate::error::Code;
use crate::error::Violation;
use crate::h2::closed::Ending;
use crate::h2::config::Role;
use crate::h2::connection::{Connection, flow_control_error, frame_size_error, protocol_error};
use crate::h2::event::{Closing, Event};
use crate::h2::frame::{HEADER_BYTES, Header, flag, write};
use crate::h2::receive::{Data, Reading, Step};
use crate::h2::state::{Over, Recv};
use crate::h2::{Cause, ErrorCode, StreamId};

impl Connection {
    /// The header of a DATA frame came: the windows count the whole frame.
    #[inline]
    pub(super) fn data_frame<'a>(
        &mut self,
        header: Header,
        input: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        if header.id == 0 {
            return Err(protocol_error("DATA on stream 0"));
        }
        if !self.inbound.take(header.length) {
            return Err(flow_control_error("more than the connection's window"));
        }
        // Given back on receipt: a stopped reader is not to stall its siblings.
        if let Some(increment) = self
            .inbound
            .give(header.length, self.config.connection_window)
        {
            write::window_update(out, 0, increment);
        }
        if header.has(flag::PADDED) {
            if header.length == 0 {
                return Err(frame_size_error("DATA without its pad length"));
            }
            self.reader.state = Reading::PadLength(header);
            return Ok(Step::Again);
        }
        self.begin_data(header, 0, 0, input, out)
    }

    pub(super) fn read_pad_length<'a>(
        &mut self,
        header: Header,
        input: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let Some((&padding, rest)) = input.split_first() else {
            return Ok(Step::Starved);
        };
        *input = rest;
        let padding = u32::from(padding);
        if padding >= header.length {
            return Err(protocol_error("padding is longer than its frame"));
        }
        self.begin_data(header, padding, padding + 1, input, out)
    }

    /// `extra` bytes of the frame are not content; `padding` of them are still to come.
    #[inline]
    fn begin_data<'a>(
        &mut self,
        header: Header,
        padding: u32,
        extra: u32,
        input: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let payload = header.length - extra;
        let end = header.has(flag::END_STREAM);
        let Some(stream) = self.streams.get(header.id) else {
            return self.stray_data(header, payload, padding, out);
        };
        if stream.recv != Recv::Body || stream.over != Over::No {
            return self.stray_data(header, payload, padding, out);
        }
        if !stream.inbound.take(header.length) {
            self.reader.skip(payload + padding);
            let why = "more than the stream's window";
            return self.stream_error(header.id, ErrorCode::FlowControlError, why, out);
        }
        if !stream.count_content(payload, end) {
            self.reader.skip(payload + padding);
            let why = "content is not as long as content-length";
            return self.stream_error(header.id, ErrorCode::ProtocolError, why, out);
        }
        if payload > 0 {
            self.abuse
                .carried(HEADER_BYTES as u64 + u64::from(header.length));
            let data = Data {
                id: header.id,
                left: payload,
                padding,
                extra,
                end,
            };
            return Ok(self.read_data(data, input));
        }
        let tag = stream.tag;
        self.reader.skip(padding);
        if end {
            stream.recv = Recv::Done;
            return Ok(Step::Event(Event::End { id: header.id, tag }));
        }
        // Nobody sees a frame of padding: its credit is given back here.
        if let Some(increment) = stream.inbound.give(extra, self.config.stream_window) {
            write::window_update(out, header.id, increment);
        }
        self.abuse.empty_data()?;
        Ok(Step::Again)
    }

    /// Hands out what there is of the content.
    #[inline]
    pub(super) fn read_data<'a>(&mut self, mut data: Data, input: &mut &'a [u8]) -> Step<'a> {
        let len = (data.left as usize).min(input.len());
        let (bytes, rest) = input.split_at_checked(len).unwrap_or((*input, &[]));
        if bytes.is_empty() {
            self.reader.state = Reading::Data(data);
            return Step::Starved;
        }
        *input = rest;
        data.left -= len as u32;
        let credit = len as u32 + std::mem::take(&mut data.extra);
        let last = data.left == 0;
        if last {
            self.reader.skip(data.padding);
        } else {
            self.reader.state = Reading::Data(data);
        }
        // Asked again for each piece: the caller may have reset the stream meanwhile.
        let Some(stream) = self.streams.get(data.id) else {
            return Step::Again;
        };
        if stream.over != Over::No {
            return Step::Again;
        }
        let end = last && data.end;
        let wanted = stream.recv == Recv::Body;
        if end {
            stream.recv = Recv::Done;
        }
        if !wanted {
            return Step::Again;
        }
        Step::Event(Event::Data {
            id: data.id,
            tag: stream.tag,
            bytes,
            credit,
            end,
        })
    }

    /// DATA for a stream that takes none (RFC 9113 §5.1, §6.1).
    #[cold]
    fn stray_data<'a>(
        &mut self,
        header: Header,
        payload: u32,
        padding: u32,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let id = header.id;
        self.reader.skip(payload + padding);
        let end = header.has(flag::END_STREAM);
        if payload > 0 {
            // What is on its way to a stream that we reset is nobody's fault.
            self.abuse
                .carried(HEADER_BYTES as u64 + u64::from(header.length));
        } else if !end {
            self.abuse.empty_data()?;
        }
        let (code, why) = if let Some(stream) = self.streams.get(id) {
            match (stream.over, stream.recv) {
                (Over::ByUs, _) => return Ok(Step::Again),
                (Over::No, Recv::Discard) => {
                    if end {
                        stream.recv = Recv::Done;
                    }
                    return Ok(Step::Again);
                }
                (Over::No, Recv::Head) => (ErrorCode::ProtocolError, "DATA before a head"),
                (Over::ByPeer, _) | (Over::No, Recv::Done | Recv::Body) => {
                    (ErrorCode::StreamClosed, "DATA on a stream that ended")
                }
            }
        } else if self.is_idle(id) {
            return Err(protocol_error("DATA on an idle stream"));
        } else {
            match self.closed.ending(id) {
                Ending::ByUs => return Ok(Step::Again),
                Ending::Forgotten => {
                    self.glitch(out)?;
                    return Ok(Step::Again);
                }
                Ending::Ended | Ending::ByPeer => {
                    (ErrorCode::StreamClosed, "DATA on a stream that ended")
                }
                Ending::Never => {
                    return Err(Closing {
                        code: ErrorCode::StreamClosed,
                        cause: Cause::StreamClosed,
                        why: "DATA on a stream that was passed over",
                    });
                }
            }
        };
        self.stream_error(id, code, why, out)
    }

    /// RFC 9113 §5.4.2: writes RST_STREAM for a fault of the peer's, and charges it.
    #[cold]
    pub(super) fn stream_error<'a>(
        &mut self,
        id: StreamId,
        code: ErrorCode,
        why: &'static str,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        self.abuse.reset_made(self.now_ns)?;
        self.abuse.reply(out.len())?;
        write::reset(out, id, code);
        let fault = match self.role {
            Role::Server => Code::BadRequest,
            Role::Client => Code::BadResponse,
        };
        let Some(slot) = self.streams.slot(id) else {
            self.closed.set(id, Ending::ByUs);
            return Ok(Step::Again);
        };
        let told = self
            .streams
            .at(slot)
            .and_then(|stream| (!stream.closed() && !stream.forgotten).then_some(stream.tag));
        self.cut(slot, Over::ByUs);
        Ok(told.map_or(Step::Again, |tag| {
            Step::Event(Event::Reset {
                id,
                tag,
                code: code.number(),
                by_us: Some(Violation::stream(fault, why)),
            })
        }))
    }
}
