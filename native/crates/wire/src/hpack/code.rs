//! The Huffman code of RFC 7541 Appendix B, as tables.
//!
//! The code is canonical: codes of one length count up in the order of their symbols, and every
//! longer one is greater. So the lengths say it all, and every table is made of them when the crate
//! is compiled.

/// How many bits the code of each octet has; the last is EOS.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// The octets and EOS.
const SYMBOLS: usize = 257;
pub(super) const EOS: usize = 256;
pub(super) const LENGTH_MIN: usize = 5;
pub(super) const LENGTH_MAX: usize = 30;

/// Bits of one look-up: enough for two of the commonest octets, few enough for a table of 8 KiB.
pub(super) const ROOT_BITS: usize = 11;

/// In [`Step`]: the code is longer than a look-up. More than any number of bits held.
pub(super) const LONG: u8 = u8::MAX;

/// What the next [`ROOT_BITS`] bits begin with.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// The first symbol, and the second if that is whole too.
    pub(super) symbols: [u8; 2],
    /// Bits of the first.
    pub(super) first: u8,
    /// Bits of all whole symbols.
    pub(super) both: u8,
}

/// A code in the low bits.
#[derive(Clone, Copy)]
pub(super) struct Code {
    pub(super) bits: u32,
    pub(super) len: u32,
}

struct Canonical {
    codes: [Code; SYMBOLS],
    /// The symbols in the order of their codes.
    in_order: [u16; SYMBOLS],
    /// By length: the first code of this length and where it is in `in_order`.
    first: [(u32, u16); LENGTH_MAX + 1],
    /// By length: the first 32 bits, read as a number, that are beyond the codes of this length.
    end: [u64; LENGTH_MAX + 1],
}

#[expect(
    clippy::indexing_slicing,
    reason = "const; a wrong index does not compile"
)]
const fn canonical() -> Canonical {
    let mut out = Canonical {
        codes: [Code { bits: 0, len: 0 }; SYMBOLS],
        in_order: [0; SYMBOLS],
        first: [(0, 0); LENGTH_MAX + 1],
        end: [0; LENGTH_MAX + 1],
    };
    let mut next = 0;
    let mut placed = 0;
    let mut len = LENGTH_MIN;
    while len <= LENGTH_MAX {
        next <<= 1;
        out.first[len] = (next, placed as u16);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == len {
                out.codes[symbol] = Code {
                    bits: next,
                    len: len as u32,
                };
                out.in_order[placed] = symbol as u16;
                placed += 1;
                next += 1;
            }
            symbol += 1;
        }
        out.end[len] = (next as u64) << (32 - len);
        len += 1;
    }
    assert!(
        placed == SYMBOLS && out.end[LENGTH_MAX] == 1 << 32,
        "complete"
    );
    out
}

#[expect(
    clippy::indexing_slicing,
    reason = "const; a wrong index does not compile"
)]
const fn root() -> [Step; 1 << ROOT_BITS] {
    let mut out = [Step {
        symbols: [0; 2],
        first: LONG,
        both: LONG,
    }; 1 << ROOT_BITS];
    let mut symbol = 0;
    while symbol < EOS {
        let code = CANONICAL.codes[symbol];
        if code.len as usize <= ROOT_BITS {
            let spare = ROOT_BITS - code.len as usize;
            let mut at = (code.bits as usize) << spare;
            let end = at + (1 << spare);
            while at < end {
                out[at].symbols[0] = symbol as u8;
                out[at].first = code.len as u8;
                out[at].both = code.len as u8;
                at += 1;
            }
        }
        symbol += 1;
    }
    let mut at = 0;
    while at < out.len() {
        let first = out[at].first;
        if first != LONG {
            // What follows the first symbol, with zeros behind; zeros do not make a code shorter.
            let second = out[(at << first) & (out.len() - 1)];
            if second.first != LONG && (first + second.first) as usize <= ROOT_BITS {
                out[at].symbols[1] = second.symbols[0];
                out[at].both = first + second.first;
            }
        }
        at += 1;
    }
    out
}

const CANONICAL: Canonical = canonical();
pub(super) static CODES: [Code; SYMBOLS] = CANONICAL.codes;
pub(super) static IN_ORDER: [u16; SYMBOLS] = CANONICAL.in_order;
pub(super) static FIRST: [(u32, u16); LENGTH_MAX + 1] = CANONICAL.first;
pub(super) static END: [u64; LENGTH_MAX + 1] = CANONICAL.end;
pub(super) static ROOT: [Step; 1 << ROOT_BITS] = root();
