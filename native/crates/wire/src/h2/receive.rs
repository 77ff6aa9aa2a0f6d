//! Bytes to frames: the preface, headers, payloads whole or in pieces, and who acts on them.
//!
//! A DATA payload is handed out as it comes. Everything else is small and is gathered, if it did
//! not come in one piece, in a buffer that lives no longer than the frame. What is allocated for
//! it grows with the bytes that came.

use std::borrow::Cow;

use crate::h2::config::Role;
use crate::h2::connection::{Connection, PREFACE, frame_size_error, protocol_error};
use crate::h2::event::{Closing, Event, Heads};
use crate::h2::frame::{HEADER_BYTES, Header, flag, kind};
use crate::h2::limits::{
    BLOCK_NS_MAX, FRAME_BYTES_MAX, PRIORITY_UPDATE_BYTES_MAX, SETTINGS_ENTRIES_MAX,
};
use crate::h2::state::Over;
use crate::h2::{Cause, ErrorCode, StreamId};

/// What a step came to.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The caller is told.
    Event(Event<'a>),
    /// Nothing to tell; go on.
    Again,
    /// The input is used up.
    Starved,
}

/// A DATA frame of which a part was handed out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    pub(super) id: StreamId,
    /// Bytes of content still to come.
    pub(super) left: u32,
    /// Bytes of padding behind them.
    pub(super) padding: u32,
    /// What the next piece costs beyond its bytes: the padding and its length.
    pub(super) extra: u32,
    pub(super) end: bool,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// The client's preface, of which so much came.
    Preface(usize),
    /// A frame's header.
    Header,
    /// The pad length of a DATA frame.
    PadLength(Header),
    /// A DATA frame's content.
    Data(Data),
    /// A payload that is gathered, and how many of its last bytes are not looked at.
    Payload(Header, u32),
    /// Bytes that are not looked at.
    Skip(u32),
}

/// A header block that goes on in CONTINUATION frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) id: StreamId,
    pub(super) end: bool,
    /// Whether its priority makes the stream depend on itself.
    pub(super) dependent: bool,
    pub(super) continuations: u32,
}

/// Where the reader stands.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) state: Reading,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// A payload that came in pieces.
    partial: Vec<u8>,
    pub(super) block: Option<Block>,
    /// The fragments of `block` so far.
    pub(super) fragments: Vec<u8>,
    /// When the HEADERS frame of an incomplete block began.
    pub(super) block_since_ns: Option<u64>,
}

impl Reader {
    pub(super) const fn new(role: Role) -> Self {
        Self {
            state: match role {
                Role::Server => Reading::Preface(0),
                Role::Client => Reading::Header,
            },
            header: [0; HEADER_BYTES],
            header_len: 0,
            partial: Vec::new(),
            block: None,
            fragments: Vec::new(),
            block_since_ns: None,
        }
    }

    /// Bytes of unfinished frames and blocks.
    pub(super) fn gathered(&self) -> usize {
        self.partial.len() + self.fragments.len()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.fragments.capacity()
    }

    /// Goes on behind `len` bytes that are not looked at.
    #[inline]
    pub(super) fn skip(&mut self, len: u32) {
        self.state = if len == 0 {
            Reading::Header
        } else {
            Reading::Skip(len)
        };
    }

    #[inline]
    fn take_header(&mut self, input: &mut &[u8]) -> Option<Header> {
        if self.header_len == 0
            && let Some((bytes, rest)) = input.split_first_chunk::<HEADER_BYTES>()
        {
            *input = rest;
            return Some(Header::parse(*bytes));
        }
        self.gather_header(input)
    }

    fn gather_header(&mut self, input: &mut &[u8]) -> Option<Header> {
        let room = self.header.get_mut(self.header_len..)?;
        let len = room.len().min(input.len());
        let (bytes, rest) = input.split_at_checked(len)?;
        room.get_mut(..len)?.copy_from_slice(bytes);
        *input = rest;
        self.header_len += len;
        if self.header_len < HEADER_BYTES {
            return None;
        }
        self.header_len = 0;
        Some(Header::parse(self.header))
    }

    /// The first `len` bytes of the input, or all there are of them, kept.
    fn gather<'a>(&mut self, len: usize, input: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.partial.is_empty()
            && let Some((payload, rest)) = input.split_at_checked(len)
        {
            *input = rest;
            return Some(Cow::Borrowed(payload));
        }
        let missing = len.saturating_sub(self.partial.len()).min(input.len());
        let (bytes, rest) = input.split_at_checked(missing)?;
        self.partial.extend_from_slice(bytes);
        *input = rest;
        (self.partial.len() >= len).then(|| Cow::Owned(std::mem::take(&mut self.partial)))
    }
}

impl Connection {
    /// Takes bytes from the front of `input` and gives the next event; what must be answered at
    /// once is appended to `out`.
    ///
    /// `None`: all of `input` was taken and more is needed. `heads` is filled where the event says
    /// so, may hold anything after [`Event::Bad`], and is not touched otherwise. An error is final:
    /// GOAWAY was appended, and every later call gives the same error and takes nothing.
    #[inline]
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Closing> {
        if let Some(closing) = self.closing {
            return Err(closing);
        }
        match self.read(input, heads, out) {
            Ok(event) => Ok(event),
            Err(closing) => Err(self.close(closing, out)),
        }
    }

    #[inline]
    fn read<'a>(
        &mut self,
        input: &mut &'a [u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Closing> {
        if self.going.refusing.is_some()
            && let Some(event) = self.refuse_next()
        {
            return Ok(Some(event));
        }
        if self.reader.block_since_ns.is_some() {
            self.check_block_time()?;
        }
        loop {
            let step = match self.reader.state {
                Reading::Header => self.read_header(input, out)?,
                Reading::Data(data) => self.read_data(data, input),
                Reading::Skip(left) => self.read_skipped(left, input),
                Reading::PadLength(header) => self.read_pad_length(header, input, out)?,
                Reading::Payload(header, rest) => {
                    self.read_payload(header, rest, input, heads, out)?
                }
                Reading::Preface(seen) => self.read_preface(seen, input)?,
            };
            match step {
                Step::Event(event) => return Ok(Some(event)),
                Step::Again => {}
                Step::Starved => return Ok(None),
            }
        }
    }

    /// A block of headers is not to come byte by byte over an hour.
    pub(super) fn check_block_time(&self) -> Result<(), Closing> {
        let since = self.reader.block_since_ns.unwrap_or(self.now_ns);
        if self.now_ns.saturating_sub(since) > BLOCK_NS_MAX {
            return Err(Closing {
                code: ErrorCode::EnhanceYourCalm,
                cause: Cause::Continuation,
                why: "header block takes too long",
            });
        }
        Ok(())
    }

    fn read_preface<'a>(&mut self, seen: usize, input: &mut &'a [u8]) -> Result<Step<'a>, Closing> {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let len = expected.len().min(input.len());
        let (bytes, rest) = input.split_at_checked(len).unwrap_or((*input, &[]));
        if !expected.starts_with(bytes) {
            return Err(protocol_error("the client's preface is not HTTP/2's"));
        }
        *input = rest;
        if seen + len < PREFACE.len() {
            self.reader.state = Reading::Preface(seen + len);
            return Ok(Step::Starved);
        }
        self.reader.state = Reading::Header;
        Ok(Step::Again)
    }

    fn read_skipped<'a>(&mut self, left: u32, input: &mut &'a [u8]) -> Step<'a> {
        let len = (left as usize).min(input.len());
        *input = input.get(len..).unwrap_or_default();
        self.reader.skip(left - len as u32);
        if input.is_empty() && len < left as usize {
            return Step::Starved;
        }
        Step::Again
    }

    #[inline]
    fn read_header<'a>(
        &mut self,
        input: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let Some(header) = self.reader.take_header(input) else {
            return Ok(Step::Starved);
        };
        self.abuse
            .received(HEADER_BYTES as u64 + u64::from(header.length));
        if header.length as usize > FRAME_BYTES_MAX {
            return Err(frame_size_error("frame above SETTINGS_MAX_FRAME_SIZE"));
        }
        if header.kind == kind::DATA && self.peer.seen && self.reader.block.is_none() {
            return self.data_frame(header, input, out);
        }
        self.begin_frame(header, out)
    }

    /// The order of frames (RFC 9113 §3.4, §6.10), then what each type must look like.
    fn begin_frame<'a>(&mut self, header: Header, out: &mut Vec<u8>) -> Result<Step<'a>, Closing> {
        if !self.peer.seen && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return Err(protocol_error("the first frame is not SETTINGS"));
        }
        let expected = self.reader.block.map(|block| block.id);
        let continues = header.kind == kind::CONTINUATION;
        match expected {
            Some(id) if !continues || header.id != id => {
                return Err(protocol_error("a header block is interrupted"));
            }
            None if continues => {
                return Err(protocol_error("CONTINUATION of nothing"));
            }
            _ => {}
        }
        self.abuse.overhead()?;
        check_form(header)?;
        if header.kind == kind::HEADERS {
            self.reader.block_since_ns = Some(self.now_ns);
        }
        self.reader.state = Reading::Payload(header, 0);
        match header.kind {
            kind::PRIORITY if header.length != 5 => {
                self.reader.skip(header.length);
                return self.priority_length(header.id, out);
            }
            kind::GOAWAY => self.reader.state = Reading::Payload(header, header.length - 8),
            kind::PRIORITY_UPDATE if header.length > PRIORITY_UPDATE_BYTES_MAX => {
                self.reader.skip(header.length);
                self.glitch(out)?;
            }
            kind::HEADERS
            | kind::PRIORITY
            | kind::RST_STREAM
            | kind::SETTINGS
            | kind::PING
            | kind::WINDOW_UPDATE
            | kind::CONTINUATION
            | kind::PRIORITY_UPDATE => {}
            // RFC 9113 §5.5: what is not known MUST be ignored. It is counted.
            _ => {
                self.reader.skip(header.length);
                self.glitch(out)?;
            }
        }
        Ok(Step::Again)
    }

    fn read_payload<'a>(
        &mut self,
        header: Header,
        unread: u32,
        input: &mut &'a [u8],
        heads: &mut Heads,
        out: &mut Vec<u8>,
    ) -> Result<Step<'a>, Closing> {
        let len = header.length - unread;
        let Some(payload) = self.reader.gather(len as usize, input) else {
            return Ok(Step::Starved);
        };
        self.reader.skip(unread);
        match header.kind {
            kind::HEADERS => self.headers_frame(header, &payload, heads, out),
            kind::CONTINUATION => self.continuation_frame(header, &payload, heads, out),
            kind::PRIORITY => self.priority_frame(header.id, &payload, out),
            kind::RST_STREAM => self.reset_frame(header.id, &payload),
            kind::SETTINGS => self.settings_frame(header, &payload, out),
            kind::PING => self.ping_frame(header, &payload, out),
            kind::GOAWAY => self.goaway_frame(&payload, out),
            kind::WINDOW_UPDATE => self.window_update_frame(header.id, &payload, out),
            _ => self.priority_update_frame(&payload),
        }
    }

    /// RFC 9113 §6.8: streams that the peer's GOAWAY did not process, one at a call.
    fn refuse_next<'a>(&mut self) -> Option<Event<'a>> {
        let last = self.going.received?;
        while let Some(slot) = self.going.refusing {
            if slot >= self.streams.slots() {
                self.going.refusing = None;
                break;
            }
            self.going.refusing = Some(slot + 1);
            let Some(stream) = self.streams.at(slot) else {
                continue;
            };
            if stream.id > last && !stream.closed() {
                let (id, tag, forgotten) = (stream.id, stream.tag, stream.forgotten);
                self.cut(slot, Over::ByPeer);
                if !forgotten {
                    return Some(Event::Reset {
                        id,
                        tag,
                        code: ErrorCode::RefusedStream.number(),
                        by_us: None,
                    });
                }
            }
        }
        None
    }
}

/// What a header alone can get wrong: RFC 9113 §6, by type.
fn check_form(header: Header) -> Result<(), Closing> {
    let Header { length, id, .. } = header;
    let on_stream = match header.kind {
        kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION => true,
        kind::SETTINGS | kind::PING | kind::GOAWAY | kind::PRIORITY_UPDATE => false,
        // RFC 9113 §8.4: we allow no push, and a client has none to promise.
        kind::PUSH_PROMISE => return Err(protocol_error("PUSH_PROMISE")),
        // WINDOW_UPDATE may be both; of others we know nothing.
        _ => id != 0,
    };
    if on_stream != (id != 0) {
        return Err(protocol_error("frame on a stream that it cannot be on"));
    }
    let fits = match header.kind {
        kind::RST_STREAM | kind::WINDOW_UPDATE => length == 4,
        kind::SETTINGS if header.has(flag::ACK) => length == 0,
        kind::SETTINGS => length % 6 == 0,
        kind::PING => length == 8,
        kind::GOAWAY => length >= 8,
        kind::PRIORITY_UPDATE => length >= 4,
        _ => true,
    };
    if !fits {
        return Err(frame_size_error(
            "frame with a length that its type has not",
        ));
    }
    if header.kind == kind::SETTINGS && length > SETTINGS_ENTRIES_MAX * 6 {
        return Err(Closing {
            code: ErrorCode::EnhanceYourCalm,
            cause: Cause::SettingsFlood,
            why: "SETTINGS with too many entries",
        });
    }
    Ok(())
}
