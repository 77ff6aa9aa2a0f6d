//! The body of the fuzz target; see [`crate::fuzzing`].

use super::{Decoder, Encoder, Error, Pseudo};
use crate::name::Name;

type Owned = (Vec<u8>, Vec<u8>, bool);

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value, secret| {
        fields.push((name.to_vec(), value.to_vec(), secret));
    })?;
    Ok(fields)
}

/// Encodes as a proxy does: what it knows of a name decides the way.
fn encode(encoder: &mut Encoder, fields: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value, secret) in fields {
        let pseudo = match name.as_slice() {
            b":method" => Some(Pseudo::Method),
            b":scheme" => Some(Pseudo::Scheme),
            b":authority" => Some(Pseudo::Authority),
            b":path" => Some(Pseudo::Path),
            b":protocol" => Some(Pseudo::Protocol),
            _ => None,
        };
        let known = match Name::from_bytes(name) {
            known if known.as_str().as_bytes() == name => known,
            _ => Name::Other,
        };
        match (pseudo, status(name, value)) {
            _ if *secret => encoder.secret(&mut out, known, name, value),
            (Some(pseudo), _) => encoder.pseudo(&mut out, pseudo, value),
            (_, Some(status)) => encoder.status(&mut out, status),
            _ => encoder.field(&mut out, known, name, value),
        }
    }
    out
}

fn status(name: &[u8], value: &[u8]) -> Option<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] if name == b":status" => {
            std::str::from_utf8(value).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Whether `there` is what `here` is read as: a secret may be made of a plain field, never the
/// other way round.
fn agree(here: &[Owned], there: &[Owned]) -> bool {
    here.len() == there.len()
        && here
            .iter()
            .zip(there)
            .all(|(a, b)| a.0 == b.0 && a.1 == b.1 && (!a.2 || b.2))
}

/// Blocks, each behind an octet of its length, as one connection's: what was decoded, encoded and
/// decoded again is the same, also encoded twice, for the second time the tables know it, and
/// through changes of the table's size.
pub fn hpack(data: &[u8]) {
    let (&steering, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let sizes = [4096, 0, 64, 300];
    let size = |at: u8| sizes.get(usize::from(at & 3)).copied().unwrap_or(0);
    let mut decoder = Decoder::new(size(steering));
    let mut encoder = Encoder::new();
    let mut again = Decoder::new(4096);
    while let Some((&len, tail)) = rest.split_first() {
        let block = tail.get(..usize::from(len)).unwrap_or(tail);
        rest = tail.get(usize::from(len)..).unwrap_or_default();
        let mut twin = decoder.clone();
        let decoded = decode(&mut decoder, block);
        assert_eq!(
            decode(&mut twin, block),
            decoded,
            "the same bytes are the same"
        );
        let Ok(fields) = decoded else {
            return;
        };
        if steering & 4 != 0 {
            encoder.resize(size(steering >> 3));
            encoder.resize(size(len));
        }
        for _ in 0..2 {
            let written = encode(&mut encoder, &fields);
            let read = decode(&mut again, &written).expect("what we write is right");
            assert!(agree(&fields, &read), "{fields:?} was read as {read:?}");
        }
    }
}
