//! One end of a connection: its parts, and the questions that can be asked of it.
//!
//! The work is in the files beside this one, each on its part of the connection: `receive` cuts
//! frames, `control`, `data` and `headers` act on them, `send`, `writer` and `lifecycle` are what
//! the caller says.

use crate::h2::abuse::{Abuse, Breach};
use crate::h2::closed::{Closed, Ending};
use crate::h2::config::{Config, Role};
use crate::h2::event::Closing;
use crate::h2::flow::{Inbound, Outbound};
use crate::h2::frame::settings::{self, PeerSettings, WINDOW_INITIAL, WINDOW_MAX};
use crate::h2::frame::write;
use crate::h2::limits::{
    CONNECTION_QUEUE_BYTES_HIGH, HELD_HEAD_BYTES_FREE, HELD_HEAD_TIMES, STREAM_QUEUE_BYTES_HIGH,
    TABLE_BYTES_MAX,
};
use crate::h2::receive::Reader;
use crate::h2::schedule::Schedule;
use crate::h2::state::{Over, Tail};
use crate::h2::streams::Streams;
use crate::h2::{Cause, ErrorCode, StreamId};
use crate::hpack::{Decoder, Encoder};

/// RFC 9113 §3.4: what a client says first.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which GOAWAYs were exchanged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Going {
    /// A GOAWAY of ours that still takes what is on its way.
    pub(crate) graceful: bool,
    /// A GOAWAY of ours behind which nothing is taken.
    pub(crate) last: bool,
    /// The last stream that the peer's GOAWAY lets live.
    pub(crate) received: Option<StreamId>,
    /// Where the walk over streams stands that this GOAWAY refused.
    pub(crate) refusing: Option<u32>,
}

/// Our PINGs. One at a time is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ping {
    pub(crate) count: u64,
    pub(crate) outstanding: bool,
}

/// One end of an HTTP/2 connection. The module says how it is used.
#[derive(Debug)]
pub struct Connection {
    pub(super) role: Role,
    pub(super) config: Config,
    pub(super) now_ns: u64,
    pub(super) reader: Reader,
    pub(super) streams: Streams,
    pub(super) closed: Closed,
    pub(super) schedule: Schedule,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    pub(super) peer: PeerSettings,
    /// Whether the peer acknowledged our SETTINGS.
    pub(super) acknowledged: bool,
    /// Streams that were refused before that.
    pub(super) unaware: u32,
    /// Whether the peer was asked to leave because of its oddities.
    pub(super) unwelcome: bool,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) abuse: Abuse,
    pub(super) going: Going,
    pub(super) ping: Ping,
    /// The highest stream that the peer opened; 0 before.
    pub(super) last_peer: StreamId,
    /// The stream that we open next; odd.
    pub(super) next_id: StreamId,
    /// Bytes in the queues of all streams.
    pub(super) queued: usize,
    /// Streams that were full and are no more.
    pub(super) relieved: Vec<StreamId>,
    /// Bytes of heads of live streams.
    pub(super) held_head_bytes: u64,
    /// How many of them are free.
    pub(super) heads_free: u64,
    /// When a stream was last let go; 0 before.
    pub(super) ended_ns: u64,
    /// Said once, repeated from then on.
    pub(super) closing: Option<Closing>,
}

impl Connection {
    /// Starts a connection. What an end says first is appended to `out`: a client's preface, the
    /// SETTINGS of both, and the rest of the connection's window.
    pub fn new(role: Role, config: &Config, out: &mut Vec<u8>) -> Self {
        let mut config = *config;
        config.stream_window = config.stream_window.min(WINDOW_MAX);
        config.connection_window = config.connection_window.clamp(WINDOW_INITIAL, WINDOW_MAX);
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        settings::write(out, role, &config);
        if config.connection_window > WINDOW_INITIAL {
            write::window_update(out, 0, config.connection_window - WINDOW_INITIAL);
        }
        Self {
            role,
            config,
            now_ns: 0,
            reader: Reader::new(role),
            streams: Streams::new(),
            closed: Closed::default(),
            schedule: Schedule::new(),
            inbound: Inbound::new(config.connection_window),
            outbound: Outbound::new(WINDOW_INITIAL),
            peer: PeerSettings::INITIAL,
            acknowledged: false,
            unaware: 0,
            unwelcome: false,
            decoder: Decoder::new(TABLE_BYTES_MAX),
            encoder: Encoder::new(),
            abuse: Abuse::new(config.widened),
            going: Going::default(),
            ping: Ping::default(),
            last_peer: 0,
            next_id: 1,
            queued: 0,
            relieved: Vec::new(),
            held_head_bytes: 0,
            heads_free: HELD_HEAD_BYTES_FREE,
            ended_ns: 0,
            closing: None,
        }
    }

    /// What time it is, in nanoseconds of a monotonic clock; said before each batch of calls.
    #[inline]
    pub fn begin(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Whether the caller is short of CPU: oddities are borne half as long then.
    pub fn press(&mut self, pressed: bool) {
        self.abuse.press(pressed);
    }

    /// How many bytes of heads may be held beyond what the peer's own bytes allow; 256 KiB until it
    /// is said. A head for which there is no room is refused.
    pub fn lend_heads(&mut self, bytes: u64) {
        self.heads_free = bytes;
    }

    /// Bytes of heads that are held beyond what the peer's own bytes allow.
    pub fn heads_lent(&self) -> u64 {
        self.held_head_bytes.saturating_sub(self.heads_earned())
    }

    fn heads_earned(&self) -> u64 {
        HELD_HEAD_TIMES.saturating_mul(self.abuse.received_bytes())
    }

    /// Bytes that the next head may have.
    pub(super) fn room_for_heads(&self) -> u64 {
        let allowed = self.heads_earned().saturating_add(self.heads_free);
        allowed.saturating_sub(self.held_head_bytes)
    }

    /// Streams that are not forgotten, or still have queued data.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// When a stream was last forgotten and its queued data sent, in nanoseconds of the caller's
    /// clock; 0 while none was.
    pub fn ended_ns(&self) -> u64 {
        self.ended_ns
    }

    /// The streams that are not forgotten, with their tags.
    pub fn tags(&self) -> impl Iterator<Item = (StreamId, u64)> {
        let live = self.streams.iter().filter(|stream| !stream.forgotten);
        live.map(|stream| (stream.id, stream.tag))
    }

    /// Streams that this connection ever had, refused ones included.
    pub fn accepted(&self) -> u64 {
        self.abuse.streams()
    }

    /// Whether GOAWAY was sent or received: no new streams are to be opened here.
    pub fn going(&self) -> bool {
        self.going.graceful || self.going.last || self.going.received.is_some()
    }

    /// Whether the peer was asked to leave because of its oddities: if it ends then, that is a
    /// closure for [`Cause::Glitches`].
    pub fn unwelcome(&self) -> bool {
        self.unwelcome
    }

    /// Whether the peer's first SETTINGS came.
    pub fn settled(&self) -> bool {
        self.peer.seen
    }

    /// Whether the peer takes extended CONNECT (RFC 8441 §3).
    pub fn connect_protocol(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Bytes of a header list that the peer takes, as RFC 9113 §10.5.1 counts them; advice.
    pub fn header_list_bytes_max(&self) -> u32 {
        self.peer.header_list_bytes_max
    }

    /// Bytes of a stream that wait for a window or their turn.
    pub fn queued(&self, id: StreamId) -> usize {
        self.streams.peek(id).map_or(0, |stream| stream.queue.len())
    }

    /// Bytes of all streams that wait for a window or their turn.
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Since when the queued bytes of a stream have not moved; `None` if none are queued.
    pub fn stalled_since_ns(&self, id: StreamId) -> Option<u64> {
        let stream = self.streams.peek(id)?;
        (!stream.queue.is_empty()).then_some(stream.moved_ns)
    }

    /// Whether a stream should not be fed: more than 64 KiB of it are queued, or some of it while
    /// more than 1 MiB is queued on the connection.
    pub fn full(&self, id: StreamId) -> bool {
        self.streams.peek(id).is_some_and(|stream| {
            let queued = stream.queue.len();
            queued > STREAM_QUEUE_BYTES_HIGH
                || (queued > 0 && self.queued > CONNECTION_QUEUE_BYTES_HIGH)
        })
    }

    /// Whether [`open`](Self::open) would give a stream.
    pub fn can_open(&self) -> bool {
        self.opens()
            && self.streams.len() < self.config.streams_max.min(self.peer.streams_max) as usize
    }

    /// Whether it gives a stream now, or once others have ended.
    pub fn opens(&self) -> bool {
        self.role == Role::Client
            && !self.going()
            && self.closing.is_none()
            && self.next_id < 1 << 31
    }

    /// Since when a header block is incomplete: 5 s later [`sweep`](Self::sweep) ends the
    /// connection.
    pub fn head_since_ns(&self) -> Option<u64> {
        self.reader.block_since_ns
    }

    /// A stream that was never opened; also one that could not be.
    pub(super) fn is_idle(&self, id: StreamId) -> bool {
        let beyond = match self.role {
            Role::Server => id > self.last_peer,
            Role::Client => id >= self.next_id,
        };
        beyond || id.is_multiple_of(2)
    }

    /// Cuts a stream off in both directions; what was queued is dropped.
    pub(super) fn cut(&mut self, slot: u32, over: Over) {
        self.schedule.remove(&mut self.streams, slot);
        let Some(stream) = self.streams.at(slot) else {
            return;
        };
        stream.over = over;
        stream.tail = Tail::Open;
        stream.full = false;
        self.queued -= stream.queue.clear();
        if stream.forgotten {
            let id = stream.id;
            self.release(id);
        }
    }

    /// Takes a stream out; what became of it is remembered for a while.
    pub(super) fn release(&mut self, id: StreamId) {
        if let Some(slot) = self.streams.slot(id) {
            self.schedule.remove(&mut self.streams, slot);
        }
        let Some(mut stream) = self.streams.remove(id) else {
            return;
        };
        self.ended_ns = self.now_ns;
        self.queued -= stream.queue.clear();
        self.held_head_bytes -= u64::from(stream.head_bytes);
        let ending = match stream.over {
            Over::ByPeer => Ending::ByPeer,
            Over::No if stream.closed() => Ending::Ended,
            Over::No | Over::ByUs => Ending::ByUs,
        };
        self.closed.push(id, ending);
    }

    /// Writes the GOAWAY of a connection error and makes it final.
    #[cold]
    pub(super) fn close(&mut self, closing: Closing, out: &mut Vec<u8>) -> Closing {
        write::goaway(out, self.last_peer, closing.code, closing.why);
        self.closing = Some(closing);
        closing
    }

    /// Charges an oddity; a peer with too many is asked to leave, and then made to.
    pub(super) fn glitch(&mut self, out: &mut Vec<u8>) -> Result<(), Closing> {
        self.glitches(1, out)
    }

    /// Charges something as so many oddities.
    pub(super) fn glitches(&mut self, cost: u32, out: &mut Vec<u8>) -> Result<(), Closing> {
        if self.abuse.glitch(cost, self.now_ns)? {
            self.unwelcome = true;
            self.goaway(ErrorCode::NoError, out);
        }
        Ok(())
    }
}

impl From<Breach> for Closing {
    fn from(breach: Breach) -> Self {
        Self {
            code: ErrorCode::EnhanceYourCalm,
            cause: breach.cause,
            why: breach.why,
        }
    }
}

/// RFC 9113 §5.4.1: a breach that no other code describes.
pub(super) const fn protocol_error(why: &'static str) -> Closing {
    Closing {
        code: ErrorCode::ProtocolError,
        cause: Cause::Protocol,
        why,
    }
}

/// RFC 9113 §4.2.
pub(super) const fn frame_size_error(why: &'static str) -> Closing {
    Closing {
        code: ErrorCode::FrameSizeError,
        cause: Cause::FrameSize,
        why,
    }
}

/// RFC 9113 §6.9.1.
pub(super) const fn flow_control_error(why: &'static str) -> Closing {
    Closing {
        code: ErrorCode::FlowControlError,
        cause: Cause::FlowControl,
        why,
    }
}
