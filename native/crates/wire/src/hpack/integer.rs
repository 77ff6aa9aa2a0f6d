//! Integers with a prefix (RFC 7541 §5.1): small ones lie in the low bits of an octet that also
//! says what they are for, larger ones go on in octets of seven bits.

use super::Error;

/// Seven bits each: five carry any 32-bit value; more would be zeros.
const CONTINUATION_OCTETS_MAX: usize = 5;

/// The integer whose prefix is `first & mask`; takes the octets in which it goes on from `rest`.
#[inline]
pub(super) fn read(first: u8, mask: u8, rest: &mut &[u8]) -> Result<u32, Error> {
    let value = first & mask;
    if value < mask {
        return Ok(u32::from(value));
    }
    read_on(mask, rest)
}

#[inline(never)]
fn read_on(mask: u8, rest: &mut &[u8]) -> Result<u32, Error> {
    let mut value = u64::from(mask);
    let (octets, _) = rest
        .split_at_checked(CONTINUATION_OCTETS_MAX)
        .unwrap_or((*rest, &[]));
    for (at, &octet) in octets.iter().enumerate() {
        value += u64::from(octet & 0x7f) << (7 * at);
        if octet & 0x80 == 0 {
            *rest = rest.get(at + 1..).unwrap_or_default();
            return u32::try_from(value).map_err(|_| Error::Integer);
        }
    }
    Err(if octets.len() < CONTINUATION_OCTETS_MAX {
        Error::Truncated
    } else {
        Error::Integer
    })
}

/// Appends `value` behind the bits of `kind`, which are above those of `mask`.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, kind: u8, mask: u8, value: usize) {
    if value < usize::from(mask) {
        out.push(kind | value as u8);
        return;
    }
    out.push(kind | mask);
    let mut left = value - usize::from(mask);
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(mask: u8, value: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, !mask, mask, value as usize);
        let (&first, mut rest) = out.split_first().unwrap();
        assert_eq!(first & !mask, !mask, "the kind is left alone");
        assert_eq!(read(first, mask, &mut rest), Ok(value));
        assert_eq!(rest, b"");
        out
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7541 §C.1.1 to §C.1.3.
        assert_eq!(round_trip(0x1f, 10), [0xea]);
        assert_eq!(round_trip(0x1f, 1337), [0xff, 0x9a, 0x0a]);
        assert_eq!(round_trip(0xff, 42), [0x2a]);
    }

    #[test]
    fn every_prefix_and_its_edges() {
        for bits in 1..=8 {
            let mask = (0xff_u16 >> (8 - bits)) as u8;
            let edge = u32::from(mask);
            let near = (0..40).map(|step| (edge + step).saturating_sub(20));
            let powers = (0..32).flat_map(|power| [(1 << power) - 1, 1 << power]);
            for value in near.chain(powers).chain([u32::MAX - 1, u32::MAX]) {
                let out = round_trip(mask, value);
                assert_eq!(out.len() == 1, value < edge);
            }
        }
    }

    fn read_all(bytes: &[u8]) -> Result<(u32, &[u8]), Error> {
        let (&first, mut rest) = bytes.split_first().expect("a prefix");
        read(first, 0x1f, &mut rest).map(|value| (value, rest))
    }

    #[test]
    fn bounded_in_value_and_in_octets() {
        // 31 + 4294967264 is 2^32 - 1; one more is too much.
        assert_eq!(
            read_all(b"\x1f\xe0\xff\xff\xff\x0fx"),
            Ok((u32::MAX, &b"x"[..]))
        );
        assert_eq!(read_all(b"\x1f\xe1\xff\xff\xff\x0f"), Err(Error::Integer));
        assert_eq!(read_all(b"\x1f\xff\xff\xff\xff\x7f"), Err(Error::Integer));
        assert_eq!(read_all(b"\x1f\x80\x80\x80\x80\x00"), Ok((31, &b""[..])));
        assert_eq!(
            read_all(b"\x1f\x80\x80\x80\x80\x80\x00"),
            Err(Error::Integer)
        );
        assert_eq!(read_all(&[0xff; 20]), Err(Error::Integer));
        for octets in 0..5 {
            let mut bytes = vec![0x1f];
            bytes.extend(vec![0x80; octets]);
            assert_eq!(read_all(&bytes), Err(Error::Truncated), "{octets}");
        }
    }
}
