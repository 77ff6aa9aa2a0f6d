//! HEADERS and CONTINUATION: one block put together, and what it is for its stream.
//!
//! Every block is decoded, also one that nobody wants: both ends keep one table.

use crate::h2::closed::Ending;
use crate::h2::config::Role;
use crate::h2::connection::{Connection, frame_size_error, protocol_error};
use crate::h2::event::{Closing, Event, Heads};
use crate::h2::flow::{Inbound, Outbound};
use crate::h2::frame::settings::WINDOW_INITIAL;
use crate::h2::frame::{HEADER_BYTES, Header, flag, write};
use crate::h2::heads::{Request, Response, Said, Trailers};
use crate::h2::limits::{CONTINUATIONS_MAX, GLITCH_HEAD_BYTES, UNAWARE_MAX};
use crate::h2::receive::{Block, Step};
use crate::h2::section::{Fault, Section};
use crate::h2::state::{CONTENT_UNKNOWN, Over, Recv, Stream};
use crate::h2::{Cause, ErrorCode, StreamId};
use crate::hpack;

/// What a block is, by the state of its stream.
enum Fate {
    /// It opens a stream.
    Request,
    Response,
    Trailers,
    /// The stream is no more, and the peer may not know.
    Drop,
    /// The stream ended, and the peer does know.
    Closed,
}

const fn calm(cause: Cause, why: &'static str) -> Closing {
    Closing {
        code: ErrorCode::EnhanceYourCalm,
        cause,
        why,
    }
}

fn compression(error: hpack::Error) -> Closing {
    Closing {
        code: ErrorCode::CompressionError,
        cause: Cause::Compression,
        why: error.why(),
    }
}

fn check_bomb(section: &Section<'_>) -> Result<usize, Closing> {
    if section.is_bomb() {
        return Err(calm(Cause::HeaderBomb, "header list is a bomb"));
    }
    Ok(section.bytes())
}

impl Connection {
    /// RFC 9113 §6.2.
    pub(super) fn headers_frame<'a>(
        &mut self,
        header: Header,
        payload: &[u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        self.abuse
            .carried(HEADER_BYTES as u64 + u64::from(header.length));
        let short = frame_size_error("HEADERS without what its flags announce");
        let mut fragment = payload;
        let mut padding = 0;
        if header.has(flag::PADDED) {
            let (&len, rest) = fragment.split_first().ok_or(short)?;
            (padding, fragment) = (usize::from(len), rest);
        }
        let mut dependent = false;
        if header.has(flag::PRIORITY) {
            let (priority, rest) = fragment.split_first_chunk::<5>().ok_or(short)?;
            let [d0, d1, d2, d3, _weight] = *priority;
            dependent = u32::from_be_bytes([d0, d1, d2, d3]) & 0x7fff_ffff == header.id;
            fragment = rest;
        }
        let len = fragment.len().checked_sub(padding);
        let fragment = len
            .and_then(|len| fragment.get(..len))
            .ok_or(protocol_error("padding is longer than its frame"))?;
        let block = Block {
            id: header.id,
            end: header.has(flag::END_STREAM),
            dependent,
            continuations: 0,
        };
        if header.has(flag::END_HEADERS) {
            return self.block(block, fragment, heads, out);
        }
        self.reader.block = Some(block);
        self.reader.fragments.extend_from_slice(fragment);
        Ok(Step::Again)
    }

    /// RFC 9113 §6.10. The frame is the block's: that was checked.
    pub(super) fn continuation_frame<'a>(
        &mut self,
        header: Header,
        payload: &[u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        self.abuse
            .carried(HEADER_BYTES as u64 + u64::from(header.length));
        let Some(mut block) = self.reader.block.take() else {
            return Err(protocol_error("CONTINUATION of nothing"));
        };
        block.continuations += 1;
        if block.continuations > CONTINUATIONS_MAX {
            return Err(calm(Cause::Continuation, "too many CONTINUATION frames"));
        }
        let len = self.reader.fragments.len() + payload.len();
        if len > self.config.header_list_bytes_max as usize {
            return Err(calm(Cause::Continuation, "header block is too long"));
        }
        self.reader.fragments.extend_from_slice(payload);
        if header.has(flag::END_HEADERS) {
            let whole = std::mem::take(&mut self.reader.fragments);
            return self.block(block, &whole, heads, out);
        }
        self.reader.block = Some(block);
        Ok(Step::Again)
    }

    /// A whole block.
    fn block<'a>(
        &mut self,
        block: Block,
        bytes: &[u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        self.reader.block_since_ns = None;
        let fate = self.fate(block.id, out)?;
        if block.dependent && !matches!(fate, Fate::Request) {
            self.drain(bytes)?;
            let why = "a stream that depends on itself";
            return self.stream_error(block.id, ErrorCode::ProtocolError, why, out);
        }
        match fate {
            Fate::Request => self.request(block, bytes, heads, out),
            Fate::Response => self.response(block, bytes, heads, out),
            Fate::Trailers => self.trailer_section(block, bytes, out),
            Fate::Drop => {
                self.drain(bytes)?;
                if let Some(stream) = self.streams.get(block.id).filter(|_| block.end) {
                    stream.recv = Recv::Done;
                }
                Ok(Step::Again)
            }
            Fate::Closed => {
                self.drain(bytes)?;
                let why = "HEADERS on a stream that ended";
                self.stream_error(block.id, ErrorCode::StreamClosed, why, out)
            }
        }
    }

    /// RFC 9113 §5.1.
    fn fate(&mut self, id: StreamId, out: &mut Vec<u8>) -> Result<Fate, Closing> {
        if let Some(stream) = self.streams.get(id) {
            return Ok(match (stream.over, stream.recv) {
                (Over::ByUs, _) | (Over::No, Recv::Discard) => Fate::Drop,
                (Over::ByPeer, _) | (Over::No, Recv::Done) => Fate::Closed,
                (Over::No, Recv::Head) => Fate::Response,
                (Over::No, Recv::Body) => Fate::Trailers,
            });
        }
        if self.is_idle(id) {
            // RFC 9113 §5.1.1: clients open odd streams, and servers none that we would take.
            if self.role == Role::Server && id % 2 == 1 {
                return Ok(Fate::Request);
            }
            return Err(protocol_error("HEADERS open a stream that cannot be"));
        }
        match self.closed.ending(id) {
            Ending::ByUs => Ok(Fate::Drop),
            Ending::ByPeer => Ok(Fate::Closed),
            Ending::Forgotten => {
                self.glitch(out)?;
                Ok(Fate::Drop)
            }
            Ending::Ended => Err(Closing {
                code: ErrorCode::StreamClosed,
                cause: Cause::StreamClosed,
                why: "HEADERS on a stream that ended",
            }),
            Ending::Never => Err(protocol_error("HEADERS open a stream that was passed over")),
        }
    }

    /// Decodes what nobody wants.
    fn drain(&mut self, bytes: &[u8]) -> Result<(), Closing> {
        self.decoder
            .decode(bytes, |_, _, _| ())
            .map_err(compression)
    }

    /// A new stream, on a server.
    fn request<'a>(
        &mut self,
        block: Block,
        bytes: &[u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let id = block.id;
        self.last_peer = id;
        self.abuse.opened();
        if self.going.last || self.streams.len() >= self.config.streams_max as usize {
            self.drain(bytes)?;
            // Before it knew our limit a peer cannot have broken it.
            self.unaware += u32::from(!self.acknowledged);
            let knows = self.acknowledged || self.unaware > UNAWARE_MAX;
            return self.refuse(id, u32::from(knows), out);
        }
        let room = self.room_for_heads();
        let mut request = Request::new(&self.config, &mut heads.request, room);
        self.decoder
            .decode(bytes, |name, value, secret| {
                request.field(name, value, secret);
            })
            .map_err(compression)?;
        let size = check_bomb(request.section())? as u64;
        let verdict = request.finish(block.end);
        if block.dependent {
            let why = "a stream that depends on itself";
            return self.stream_error(id, ErrorCode::ProtocolError, why, out);
        }
        if size > room {
            return self.refuse(id, 1 + (size / GLITCH_HEAD_BYTES) as u32, out);
        }
        let recv = match (block.end, &verdict) {
            (true, _) => Recv::Done,
            (false, Ok(_)) => Recv::Body,
            (false, Err(_)) => Recv::Discard,
        };
        let mut stream = self.new_stream(id, recv);
        stream.head_bytes = size as u32;
        self.held_head_bytes += size;
        if let Ok(Said {
            length,
            urgency,
            tunnel,
        }) = verdict
        {
            stream.content_left = length.unwrap_or(CONTENT_UNKNOWN);
            stream.tunnel = tunnel;
            stream.urgency = urgency.unwrap_or(stream.urgency);
        }
        self.streams.insert(stream);
        let (violation, reset) = match verdict {
            Ok(_) => {
                let (tag, end) = (0, block.end);
                return Ok(Step::Event(Event::Head { id, tag, end }));
            }
            Err(Fault::Refused(violation)) => (violation, false),
            Err(Fault::Malformed(violation)) => {
                self.stream_error(id, ErrorCode::ProtocolError, violation.why, out)?;
                (violation, true)
            }
        };
        Ok(Step::Event(Event::Bad {
            id,
            violation,
            reset,
        }))
    }

    /// RFC 9113 §5.1.2: a stream that is not processed at all.
    fn refuse<'a>(
        &mut self,
        id: StreamId,
        glitches: u32,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        if glitches > 0 {
            self.glitches(glitches, out)?;
        }
        self.abuse.reply(out.len())?;
        write::reset(out, id, ErrorCode::RefusedStream);
        self.closed.set(id, Ending::ByUs);
        Ok(Step::Again)
    }

    /// A stream with the windows that both ends start with.
    pub(super) fn new_stream(&self, id: StreamId, recv: Recv) -> Stream {
        // Before our SETTINGS were read, the peer may use the protocol's initial window.
        let size = if self.acknowledged {
            self.config.stream_window
        } else {
            self.config.stream_window.max(WINDOW_INITIAL)
        };
        let outbound = Outbound::new(self.peer.stream_window);
        Stream::new(id, recv, Inbound::new(size), outbound)
    }

    /// A head for a stream of ours, interim or final.
    fn response<'a>(
        &mut self,
        block: Block,
        bytes: &[u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let Block { id, end, .. } = block;
        let mut response = Response::new(&self.config, &mut heads.response);
        self.decoder
            .decode(bytes, |name, value, secret| {
                response.field(name, value, secret);
            })
            .map_err(compression)?;
        check_bomb(response.section())?;
        let Some(stream) = self.streams.get(id) else {
            return Ok(Step::Again);
        };
        let said = match response.finish(end, stream.bodiless, stream.tunnel) {
            Ok(said) => said,
            Err(fault) => return self.section_fault(id, fault, out),
        };
        let tag = stream.tag;
        if heads.response.status < 200 {
            stream.interims = stream.interims.saturating_add(1);
            if usize::from(stream.interims) > self.config.limits.interim_count_max {
                let why = "too many interim responses";
                return self.stream_error(id, ErrorCode::ProtocolError, why, out);
            }
            return Ok(Step::Event(Event::Interim { id, tag }));
        }
        stream.recv = if end { Recv::Done } else { Recv::Body };
        stream.content_left = said.length.unwrap_or(CONTENT_UNKNOWN);
        stream.tunnel = said.tunnel;
        Ok(Step::Event(Event::Head { id, tag, end }))
    }

    /// The second block of a message ends it (RFC 9113 §8.1).
    fn trailer_section<'a>(
        &mut self,
        block: Block,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let id = block.id;
        let mut trailers = Trailers::new(self.role, &self.config);
        self.decoder
            .decode(bytes, |name, value, secret| {
                trailers.field(name, value, secret);
            })
            .map_err(compression)?;
        check_bomb(trailers.section())?;
        let Some(stream) = self.streams.get(id) else {
            return Ok(Step::Again);
        };
        let why = if !block.end {
            Some("trailers that end nothing")
        } else if stream.tunnel {
            Some("trailers in a tunnel")
        } else if !stream.count_content(0, true) {
            Some("content is not as long as content-length")
        } else {
            None
        };
        if let Some(why) = why {
            return self.stream_error(id, ErrorCode::ProtocolError, why, out);
        }
        let fields = match trailers.finish() {
            Ok(fields) => fields,
            Err(fault) => return self.section_fault(id, fault, out),
        };
        stream.recv = Recv::Done;
        let tag = stream.tag;
        Ok(Step::Event(if fields.is_empty() {
            Event::End { id, tag }
        } else {
            let fields = Box::new(fields);
            Event::Trailers { id, tag, fields }
        }))
    }

    fn section_fault<'a>(
        &mut self,
        id: StreamId,
        fault: Fault,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let (code, violation) = match fault {
            Fault::Malformed(violation) => (ErrorCode::ProtocolError, violation),
            Fault::Refused(violation) => (ErrorCode::EnhanceYourCalm, violation),
        };
        self.stream_error(id, code, violation.why, out)
    }
}
