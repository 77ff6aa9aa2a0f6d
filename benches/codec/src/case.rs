//! What all contenders send.

use wire::Name;

/// Streams that take turns; also the limit that each end announces.
pub const STREAMS: u32 = 100;
/// A token event is longer; its text and framing are about this much.
pub const TOKEN: [u8; 64] = [b'x'; 64];
/// Bytes that may be under way on a connection.
pub const CONNECTION_WINDOW: u32 = 1 << 20;
/// Rounds before the clock starts where tables have to come into their stride.
pub const WARM: u64 = 100;

/// Head of the answer, behind its status.
pub const RESPONSE: [(Name, &str, &str); 3] = [
    (Name::Server, "server", "sim"),
    (
        Name::ContentType,
        "content-type",
        "text/event-stream; charset=utf-8",
    ),
    (Name::CacheControl, "cache-control", "no-cache"),
];

/// A field with what it is known as: whoever forwards one has had it from a decoder.
#[derive(Debug)]
pub struct Field {
    pub known: Name,
    pub name: &'static str,
    pub value: Vec<u8>,
}

/// The request that request.inc says: method, scheme, authority, path, then fields.
#[derive(Debug)]
pub struct Request {
    pub fields: Vec<Field>,
}

impl Request {
    pub fn new() -> Self {
        let lines = include_str!("../request.inc").lines();
        let fields = lines
            .filter(|line| line.starts_with("FIELD(") || line.starts_with("SECRET("))
            .map(|line| {
                let mut quoted = line.split('"').skip(1).step_by(2);
                let mut next = || quoted.next().expect("a name and a value in quotes");
                let name = next();
                Field {
                    known: Name::from_bytes(name.as_bytes()),
                    name,
                    value: next().as_bytes().to_vec(),
                }
            })
            .collect();
        Self { fields }
    }

    /// The last two fields differ from request to request: sixteen digits of them.
    pub fn number(&mut self, number: u64) {
        let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let [.., trace, id] = self.fields.as_mut_slice() else {
            return;
        };
        for at in 0..16 {
            let digit = b"0123456789abcdef"[(mixed & 15) as usize];
            trace.value[36 + at] = digit;
            id.value[4 + at] = digit;
            mixed >>= 4;
        }
    }
}
