//! Strings in the Huffman code (RFC 7541 §5.2).
//!
//! The decoder looks at the next [`ROOT_BITS`] bits and gets one or two symbols by one look-up; the
//! rare longer codes are found by comparing with the greatest code of each length.

use super::Error;
use super::code::{
    CODES, Code, END, EOS, FIRST, IN_ORDER, LENGTH_MAX, LENGTH_MIN, LONG, ROOT, ROOT_BITS, Step,
};

/// Look-ups between two refills; 64 bits hold 56 at least after one.
const STEPS: usize = 56 / ROOT_BITS;

/// The bits to come, from the top of a word.
struct Bits<'a> {
    /// Behind the bits held lie, if any, bits that come next.
    word: u64,
    held: usize,
    rest: &'a [u8],
    /// The last octets of the text, all of them or eight.
    tail: u64,
}

impl<'a> Bits<'a> {
    #[inline]
    fn new(text: &'a [u8]) -> Self {
        let tail = text.last_chunk().map_or_else(
            || {
                text.iter()
                    .fold(0, |word, &octet| word << 8 | u64::from(octet))
            },
            |chunk| u64::from_be_bytes(*chunk),
        );
        Self {
            word: 0,
            held: 0,
            rest: text,
            tail,
        }
    }

    /// Holds 56 bits or more, or all there are.
    #[inline]
    fn refill(&mut self) {
        let (next, available) = match self.rest.first_chunk() {
            Some(chunk) => (u64::from_be_bytes(*chunk), 8),
            None if self.rest.is_empty() => return,
            None => (self.tail << (64 - 8 * self.rest.len()), self.rest.len()),
        };
        self.word |= next >> self.held;
        let octets = ((63 - self.held) / 8).min(available);
        self.held += 8 * octets;
        self.rest = self.rest.get(octets..).unwrap_or_default();
    }

    #[inline]
    fn take(&mut self, bits: usize) {
        self.word <<= bits;
        self.held -= bits;
    }

    /// What the next bits begin with; true as far as bits are held.
    #[inline]
    fn step(&self) -> Step {
        #[expect(clippy::indexing_slicing, reason = "an index of ROOT_BITS bits")]
        ROOT[(self.word >> (64 - ROOT_BITS)) as usize]
    }

    /// The next octet; `None` at the end, rightly padded.
    #[inline]
    fn one(&mut self) -> Result<Option<u8>, Error> {
        self.refill();
        let step = self.step();
        let (symbol, len) = if step.first == LONG {
            long(self.word)
        } else {
            (u16::from(step.symbols[0]), usize::from(step.first))
        };
        if len > self.held {
            // §5.2: the most significant bits of EOS, less than an octet of them.
            let padding = self.word >> 57 | 0x7f >> self.held.min(7);
            return if self.held < 8 && padding == 0x7f {
                Ok(None)
            } else {
                Err(Error::Huffman)
            };
        }
        self.take(len);
        u8::try_from(symbol).map(Some).map_err(|_| Error::Huffman)
    }
}

/// Symbol and length of a code longer than [`ROOT_BITS`].
#[inline(never)]
fn long(word: u64) -> (u16, usize) {
    let bits = word >> 32;
    let ends = END.iter().enumerate().skip(ROOT_BITS + 1);
    for ((len, &end), &(first, place)) in ends.zip(FIRST.iter().skip(ROOT_BITS + 1)) {
        if bits < end {
            let at = usize::from(place) + (bits >> (32 - len)) as usize - first as usize;
            return (IN_ORDER.get(at).copied().unwrap_or(EOS as u16), len);
        }
    }
    (EOS as u16, LENGTH_MAX)
}

/// The octets that `text` stands for, in `scratch`, whose content does not matter and whose length
/// grows to 8/5 of the longest text.
pub(super) fn decode<'a>(text: &[u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    // No code is shorter than 5 bits; a look-up writes two octets even if it has one.
    let room = text.len() * 8 / LENGTH_MIN + 2;
    if scratch.len() < room {
        scratch.resize(room, 0);
    }
    let mut len = 0;
    let mut bits = Bits::new(text);
    loop {
        bits.refill();
        for _ in 0..STEPS {
            let step = bits.step();
            if usize::from(step.both) <= bits.held {
                if let Some(pair) = scratch.get_mut(len..len + 2) {
                    pair.copy_from_slice(&step.symbols);
                }
                len += 1 + usize::from(step.both != step.first);
                bits.take(usize::from(step.both));
                continue;
            }
            // A long code, or what is behind one, or the last ones.
            let Some(symbol) = bits.one()? else {
                return Ok(scratch.get(..len).unwrap_or_default());
            };
            if let Some(slot) = scratch.get_mut(len) {
                *slot = symbol;
            }
            len += 1;
        }
    }
}

/// How many octets [`encode`] would append.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&octet| code(octet).len as usize).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text` if that is shorter than `text`; else appends nothing and is false.
#[inline]
pub(super) fn encode(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let start = out.len();
    // The bits are written eight octets at a time, wherever the last whole one was.
    out.resize(start + text.len() + 8, 0);
    let len = out
        .get_mut(start..)
        .and_then(|room| encode_into(room, text))
        .filter(|&len| len < text.len());
    out.truncate(start + len.unwrap_or(0));
    len.is_some()
}

/// How many octets were written; `None` if `room` is too small.
#[inline]
fn encode_into(room: &mut [u8], text: &[u8]) -> Option<usize> {
    let mut sink = Sink {
        room,
        at: 0,
        word: 0,
        held: 0,
    };
    let (fours, rest) = text.as_chunks::<4>();
    for four in fours {
        let [a, b, c, d] = four.map(code);
        let len = a.len + b.len + c.len + d.len;
        if len > 56 {
            for one in [a, b, c, d] {
                sink.push(u64::from(one.bits), one.len)?;
            }
            continue;
        }
        let front = u64::from(a.bits) << b.len | u64::from(b.bits);
        let back = u64::from(c.bits) << d.len | u64::from(d.bits);
        sink.push(front << (c.len + d.len) | back, len)?;
    }
    for &octet in rest {
        let one = code(octet);
        sink.push(u64::from(one.bits), one.len)?;
    }
    sink.finish()
}

#[inline]
fn code(octet: u8) -> Code {
    #[expect(clippy::indexing_slicing, reason = "a u8 index into 257 entries")]
    CODES[usize::from(octet)]
}

/// Gathers bits from the top of a word and writes them as octets.
struct Sink<'a> {
    room: &'a mut [u8],
    at: usize,
    word: u64,
    /// Less than 8 between calls.
    held: u32,
}

impl Sink<'_> {
    /// At most 56 bits.
    #[inline]
    fn push(&mut self, bits: u64, len: u32) -> Option<()> {
        self.held += len;
        self.word |= bits << (64 - self.held);
        let slot = self.room.get_mut(self.at..)?.first_chunk_mut()?;
        *slot = self.word.to_be_bytes();
        let octets = self.held / 8;
        self.at += octets as usize;
        self.word <<= 8 * octets;
        self.held %= 8;
        Some(())
    }

    /// Pads with the most significant bits of EOS, which are ones.
    #[inline]
    fn finish(self) -> Option<usize> {
        if self.held == 0 {
            return Some(self.at);
        }
        let last = self.room.get_mut(self.at)?;
        *last = (self.word >> 56) as u8 | 0xff >> self.held;
        Some(self.at + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, too simple to be wrong.
    fn plain_decode(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let (mut bits, mut len) = (0_u32, 0);
        for at in 0..text.len() * 8 {
            bits = bits << 1 | u32::from(text[at / 8] >> (7 - at % 8) & 1);
            len += 1;
            let found = CODES
                .iter()
                .position(|code| code.len == len && code.bits == bits);
            if let Some(symbol) = found {
                out.push(u8::try_from(symbol).ok()?);
                (bits, len) = (0, 0);
            }
        }
        (len < 8 && bits == (1 << len) - 1).then_some(out)
    }

    fn plain_encode(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (mut bits, mut len) = (0_u64, 0);
        for &octet in text {
            let code = CODES[usize::from(octet)];
            bits = bits << code.len | u64::from(code.bits);
            len += code.len;
            while len >= 8 {
                len -= 8;
                out.push((bits >> len) as u8);
            }
        }
        if len > 0 {
            out.push((bits << (8 - len)) as u8 | 0xff >> len);
        }
        out
    }

    fn decoded(text: &[u8]) -> Result<Vec<u8>, Error> {
        let mut scratch = vec![0xaa; text.len() % 3];
        decode(text, &mut scratch).map(<[u8]>::to_vec)
    }

    #[test]
    fn codes_of_the_appendix() {
        let of = |octet: usize| (CODES[octet].bits, CODES[octet].len);
        assert_eq!(of(0), (0x1ff8, 13));
        assert_eq!(of(b'0'.into()), (0, 5));
        assert_eq!(of(b'a'.into()), (3, 5));
        assert_eq!(of(b'Z'.into()), (0xfd, 8));
        assert_eq!(of(10), (0x3fff_fffc, 30));
        assert_eq!(of(195), (0x7fff1, 19));
        assert_eq!(of(249), (0x0fff_fffe, 28));
        assert_eq!(of(255), (0x03ff_ffee, 26));
        assert_eq!(of(EOS), (0x3fff_ffff, 30));
    }

    #[test]
    fn every_octet_alone_and_before_another() {
        for first in 0..=255_u8 {
            for second in [None, Some(b'0'), Some(b'Z'), Some(b'\n'), Some(first)] {
                let text: Vec<u8> = [first].into_iter().chain(second).collect();
                let code = plain_encode(&text);
                assert_eq!(code.len(), encoded_len(&text));
                assert_eq!(decoded(&code), Ok(text));
            }
        }
        assert_eq!(decoded(b""), Ok(vec![]));
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        // `0` is 00000 and three bits of padding.
        assert_eq!(decoded(&[0x07]), Ok(b"0".to_vec()));
        for wrong in [0x06, 0x05, 0x03] {
            assert_eq!(decoded(&[wrong]), Err(Error::Huffman), "{wrong:#x}");
        }
        assert_eq!(decoded(&[0x07, 0xff]), Err(Error::Huffman));
        // A whole octet of padding, be it alone or behind a code that ends with an octet.
        assert_eq!(decoded(&[0xff]), Err(Error::Huffman));
        assert_eq!(decoded(&[0xfd]), Ok(b"Z".to_vec()));
        assert_eq!(decoded(&[0xfd, 0xff]), Err(Error::Huffman));
        assert_eq!(decoded(&[0xff; 3]), Err(Error::Huffman));
        // EOS itself, with and without something around it.
        assert_eq!(decoded(&[0xff; 4]), Err(Error::Huffman));
        assert_eq!(decoded(&[0xff; 40]), Err(Error::Huffman));
        assert_eq!(
            decoded(&[0xff, 0xff, 0xff, 0xfc, 0x07]),
            Err(Error::Huffman)
        );
        // A long code cut off.
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xf3]), Ok(vec![10]));
        assert_eq!(decoded(&[0xff, 0xff, 0xff]), Err(Error::Huffman));
    }

    #[test]
    fn encodes_only_what_gets_shorter() {
        for text in [&b""[..], b"Z", b"0", b"\n\n\n", b"\xff\xff"] {
            let mut out = b"before".to_vec();
            let shorter = plain_encode(text).len() < text.len();
            assert_eq!(encode(&mut out, text), shorter);
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn long_codes_at_every_distance() {
        for before in 0..40 {
            for between in 0..20 {
                let text = [
                    &b"i".repeat(before)[..],
                    b"\n",
                    &b"t".repeat(between),
                    b"\r-key",
                ];
                let text = text.concat();
                assert_eq!(decoded(&plain_encode(&text)), Ok(text));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_bit_by_bit(text in vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(decoded(&text).ok(), plain_decode(&text));
        }

        #[test]
        fn round_trips(
            text in prop_oneof![
                vec(any::<u8>(), 0..60),
                "[ -~]{0,200}".prop_map(String::into_bytes),
                "[a-z0-9\n\r{\x00\u{e9}]{0,120}".prop_map(String::into_bytes),
            ],
        ) {
            let code = plain_encode(&text);
            prop_assert_eq!(code.len(), encoded_len(&text));
            prop_assert_eq!(decoded(&code), Ok(text.clone()));
            let mut out = b"before".to_vec();
            let shorter = encode(&mut out, &text);
            prop_assert_eq!(shorter, code.len() < text.len());
            if shorter {
                prop_assert_eq!(out.strip_prefix(b"before"), Some(code.as_slice()));
            }
            // Any other last octet is either refused or another text.
            let mut wrong = code.clone();
            if let Some(last) = wrong.last_mut() {
                *last ^= 1;
                prop_assert_ne!(decoded(&wrong), Ok(text));
            }
        }
    }
}
