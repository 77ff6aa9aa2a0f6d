//! What must hold on connections of HTTP/2: streams end when their clients do, and at rest every
//! window is back.

use std::collections::{BTreeMap, BTreeSet};

use engine::limits::{QUEUE_BYTES_HIGH, READ_BYTES};
use wire::fuzzing::h2 as codec;

use crate::frames::{Frame, Frames, value};
use crate::link::Peer;
use crate::oracle::Tap;
use crate::world::World;

/// Bytes that wait on one stream at most: the high mark, a held event, one read.
const STREAM_BYTES_MAX: usize = 2 * QUEUE_BYTES_HIGH + READ_BYTES;
/// What the codec of a connection without a stream may keep.
const REST_BYTES_MAX: usize = 4096;

/// Reads what the proxy writes to a client.
pub(crate) struct CallTap {
    frames: Frames,
    /// The request of each stream.
    ids: BTreeMap<u32, u64>,
    /// Streams that had a final head.
    headed: BTreeSet<u32>,
    /// The requests whose answers the proxy has not sent whole.
    pub(crate) open: BTreeMap<u32, u64>,
}

impl CallTap {
    /// The client asks on that stream.
    pub(crate) fn asked(&mut self, stream: u32, id: u64) {
        self.ids.insert(stream, id);
        self.open.insert(stream, id);
    }
}

/// Reads what the proxy writes to an upstream.
pub(crate) struct StreamTap {
    frames: Frames,
    /// The requests whose streams the proxy did not reset.
    open: BTreeMap<u32, u64>,
    /// Those whose heads came when another answer had been committed.
    late: BTreeMap<u32, u64>,
}

impl Tap {
    pub(crate) fn caller() -> Self {
        Self::Caller(Box::new(CallTap {
            frames: Frames::new(false),
            ids: BTreeMap::new(),
            headed: BTreeSet::new(),
            open: BTreeMap::new(),
        }))
    }

    pub(crate) fn streams() -> Self {
        Self::Streams(Box::new(StreamTap {
            frames: Frames::new(true),
            open: BTreeMap::new(),
            late: BTreeMap::new(),
        }))
    }
}

fn digits(bytes: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(bytes?).ok()?.parse().ok()
}

impl World {
    pub(crate) fn tap_caller(&mut self, tap: &mut CallTap, bytes: &[u8]) {
        tap.frames.push(bytes);
        while let Some(frame) = tap.frames.next() {
            let (stream, end) = match frame {
                Frame::Reset { id } => (id, true),
                Frame::Data { id, bytes, end } => {
                    let track = &mut self.tracks[tap.ids[&id] as usize];
                    track.committed |= bytes.iter().any(|b| !matches!(b, b':' | b'\n'));
                    (id, end)
                }
                Frame::Head { id, fields, end } => {
                    self.tap_answer(tap, id, &fields);
                    (id, end)
                }
            };
            if end {
                tap.open.remove(&stream);
            }
        }
    }

    fn tap_answer(&mut self, tap: &mut CallTap, stream: u32, fields: &[(Vec<u8>, Vec<u8>)]) {
        let id = tap.ids[&stream];
        let Some(status) = digits(value(fields, ":status")) else {
            assert!(tap.headed.contains(&stream), "trailers without a head");
            return;
        };
        if status < 200 {
            return;
        }
        assert!(tap.headed.insert(stream), "one head per answer: {id}");
        let track = &mut self.tracks[id as usize];
        track.answers += 1;
        track.said = status as u16;
        assert_eq!(track.answers, 1, "one response per request: {id}");
        assert!(value(fields, "x-request-id").is_some(), "no x-request-id");
        if status == 429 && value(fields, "x-sim-served").is_none() {
            assert_eq!(track.hits, 0, "429 after an upstream had request {id}");
            assert!(value(fields, "retry-after-ms").is_some());
        }
    }

    pub(crate) fn tap_streams(&mut self, l: usize, tap: &mut StreamTap, bytes: &[u8]) {
        tap.frames.push(bytes);
        while let Some(frame) = tap.frames.next() {
            match frame {
                Frame::Reset { id } => {
                    tap.open.remove(&id);
                    tap.late.remove(&id);
                    *self.seen.entry("cancelled").or_default() += 1;
                }
                Frame::Head { id, fields, .. } if value(&fields, ":method").is_some() => {
                    let request = digits(value(&fields, "x-sim-id")).expect("our request");
                    let authority = value(&fields, ":authority").unwrap_or_default();
                    if self.tracks[request as usize].committed {
                        tap.late.insert(id, request);
                    }
                    self.hit(l, request, authority);
                    self.forwarded(request, value(&fields, "x-forwarded-proto"));
                    let scheme: &[u8] = if self.links[l].tls.is_some() {
                        b"https"
                    } else {
                        b"http"
                    };
                    assert_eq!(value(&fields, ":scheme"), Some(scheme));
                    self.tracks[request as usize].http2 = true;
                    tap.open.insert(id, request);
                    self.trace.line(self.now, || {
                        format!("request {request} goes to link {l} stream {id}")
                    });
                }
                Frame::Head { .. } | Frame::Data { .. } => {}
            }
        }
    }

    /// The proxy has read more of that link: perhaps that a stream is cancelled.
    pub(crate) fn note_heard(&mut self, l: usize) {
        let Peer::Client(c) = self.links[l].peer else {
            return;
        };
        if self.clients[c].link != Some(l) {
            return;
        }
        let read_bytes = self.links[l].read_bytes;
        let Some(caller) = &mut self.clients[c].caller else {
            return;
        };
        while caller
            .cancels
            .front()
            .is_some_and(|(at, _)| *at <= read_bytes)
        {
            let Some((_, stream)) = caller.cancels.pop_front() else {
                return;
            };
            if let Tap::Caller(tap) = &mut self.taps[l]
                && let Some(id) = tap.open.remove(&stream)
            {
                self.gone.push(id);
            }
        }
    }

    /// Whether bytes wait for any client of that worker.
    fn client_waits(&self, w: usize) -> bool {
        let engine = &self.nodes[w].engine;
        let clients = self.links.iter().filter(|link| link.worker == w);
        let conns = clients.filter(|link| matches!(link.peer, Peer::Client(_)));
        conns.filter_map(|link| link.conn).any(|conn| {
            let queued = engine
                .codec(conn)
                .map_or(0, wire::h2::Connection::queued_bytes);
            queued > 0 || !engine.pending(conn).is_empty()
        })
    }

    /// What must hold between turns.
    pub(crate) fn watch_h2(&self, w: usize) {
        for (l, link) in self.links.iter().enumerate() {
            let Some(conn) = link.conn.filter(|_| link.worker == w) else {
                continue;
            };
            let engine = &self.nodes[w].engine;
            let idle = engine.pending(conn).is_empty();
            if let Tap::Streams(tap) = &self.taps[l]
                && idle
            {
                let late = tap.late.iter().find(|(stream, _)| !link.ignores(**stream));
                assert!(late.is_none(), "upstream again after commit: {late:?}");
                for (stream, id) in &tap.open {
                    let track = &self.tracks[*id as usize];
                    let over = track.records == 1 && track.flag.is_empty();
                    assert!(
                        over || !self.gone.contains(id) || link.ignores(*stream),
                        "the client of request {id} is gone, stream {stream} lives"
                    );
                }
            }
            let Some(ours) = engine.codec(conn) else {
                continue;
            };
            codec::audit(ours);
            if let (Peer::Upstream(_), Some(stream)) = (link.peer, codec::starved(ours)) {
                // What it sent has gone on to the client, or waits for it.
                assert!(self.client_waits(w), "link {l}: stream {stream} is starved");
            }
            for (stream, _) in ours.tags() {
                let queued = ours.queued(stream);
                assert!(queued <= STREAM_BYTES_MAX, "{queued} wait on {stream}");
            }
            if ours.streams() > 0 {
                continue;
            }
            let theirs = match link.peer {
                Peer::Client(c) => {
                    let client = &self.clients[c];
                    let whole = client.outgoing.is_empty() && !client.gone;
                    let here = client.link == Some(l) && whole;
                    client.caller.as_ref().filter(|_| here).map(|c| &c.wire)
                }
                Peer::Upstream(_) => self.servers[l].as_ref().and_then(|s| s.codec()),
            };
            if let Some(theirs) = theirs
                && idle
                && link.quiet()
                && link.rst.is_none()
            {
                codec::assert_at_rest(ours);
                let held = codec::held_bytes(ours);
                assert!(held < REST_BYTES_MAX, "{held} bytes at rest");
                let rests = match link.peer {
                    Peer::Client(_) => &self.rests.0,
                    Peer::Upstream(_) => &self.rests.1,
                };
                rests.set(rests.get() + 1);
                let (ours, theirs) = (codec::windows(ours), codec::windows(theirs));
                assert_eq!(ours.0 as usize, theirs.2, "link {l}: {ours:?} {theirs:?}");
                assert_eq!(theirs.0 as usize, ours.2, "link {l}: {ours:?} {theirs:?}");
                assert!(ours.1 < ours.0, "link {l}: {ours:?} is owed");
            }
        }
    }
}
