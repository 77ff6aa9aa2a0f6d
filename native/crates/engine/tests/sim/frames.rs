//! Frames of HTTP/2 as the proxy writes them, read without its codec: what it says is judged by
//! other code than what says it.

use std::collections::BTreeSet;

use wire::hpack::Decoder;

/// RFC 9113 §6.5.2: what a peer takes that never said otherwise.
const FRAME_BYTES_MAX: usize = 16_384;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED_OR_PRIORITY: u8 = 0x28;

/// What concerns a stream.
pub(crate) enum Frame {
    Head {
        id: u32,
        fields: Vec<(Vec<u8>, Vec<u8>)>,
        end: bool,
    },
    Data {
        id: u32,
        bytes: Vec<u8>,
        end: bool,
    },
    Reset {
        id: u32,
    },
}

/// Reads one direction of one connection.
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Of the preface, those bytes that are to come.
    preface: &'static [u8],
    decoder: Decoder,
    /// A header block that goes on: its stream, whether it ends the message, what there is.
    block: Option<(u32, bool, Vec<u8>)>,
    ended: BTreeSet<u32>,
    reset: BTreeSet<u32>,
}

impl Frames {
    /// `client`: the preface comes first.
    pub(crate) fn new(client: bool) -> Self {
        Self {
            bytes: Vec::new(),
            preface: if client { PREFACE } else { b"" },
            decoder: Decoder::new(4096),
            block: None,
            ended: BTreeSet::new(),
            reset: BTreeSet::new(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let known = bytes.len().min(self.preface.len());
        assert_eq!(bytes[..known], self.preface[..known], "no preface");
        self.preface = &self.preface[known..];
        self.bytes.extend_from_slice(&bytes[known..]);
    }

    /// The next frame that concerns a stream.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let header = self.bytes.first_chunk::<9>()?;
            let [a, b, c, kind, flags, ..] = *header;
            let id = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
            if self.bytes.len() < 9 + length {
                return None;
            }
            let payload = self.bytes[9..9 + length].to_vec();
            self.bytes.drain(..9 + length);
            if let Some(frame) = self.frame(kind, flags, id, payload) {
                return Some(frame);
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: Vec<u8>) -> Option<Frame> {
        assert_eq!(kind == 9, self.block.is_some(), "a header block is whole");
        let end = flags & END_STREAM != 0;
        match kind {
            0 | 1 => {
                assert_eq!(flags & PADDED_OR_PRIORITY, 0, "nothing is padded");
                assert!(!self.ended.contains(&id), "stream {id} had ended");
                assert!(!self.reset.contains(&id), "stream {id} was reset");
                if kind == 0 && end {
                    self.ended.insert(id);
                }
            }
            _ => {}
        }
        match kind {
            0 => Some(Frame::Data {
                id,
                bytes: payload,
                end,
            }),
            1 => {
                self.block = Some((id, end, payload));
                self.block_end(flags)
            }
            9 => {
                let (of, _, block) = self.block.as_mut()?;
                assert_eq!(*of, id, "a header block is of one stream");
                block.extend(payload);
                self.block_end(flags)
            }
            3 => {
                assert!(self.reset.insert(id), "stream {id} is reset once");
                Some(Frame::Reset { id })
            }
            _ => None,
        }
    }

    fn block_end(&mut self, flags: u8) -> Option<Frame> {
        if flags & END_HEADERS == 0 {
            return None;
        }
        let (id, end, block) = self.block.take()?;
        let mut fields = Vec::new();
        self.decoder
            .decode(&block, |name, value, _| {
                fields.push((name.to_vec(), value.to_vec()));
            })
            .expect("the proxy compresses well");
        for (name, _) in &fields {
            assert!(
                !name.iter().any(u8::is_ascii_uppercase),
                "a name in upper case"
            );
            let hop = matches!(
                &name[..],
                b"connection" | b"transfer-encoding" | b"keep-alive" | b"upgrade"
            );
            assert!(!hop, "a hop-by-hop field came through");
        }
        if end {
            self.ended.insert(id);
        }
        Some(Frame::Head { id, fields, end })
    }
}

/// The value of a field.
pub(crate) fn value<'a>(fields: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let found = fields.iter().find(|(n, _)| n == name.as_bytes());
    found.map(|(_, value)| value.as_slice())
}
