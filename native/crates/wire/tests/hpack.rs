//! HPACK by the rules of RFC 7541 and by drawn lists of fields through drawn table sizes.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::hpack::{Decoder, Encoder, Error, Pseudo};
use wire::{Name, fuzzing};

type Owned = (Vec<u8>, Vec<u8>);

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value, _| {
        fields.push((name.to_vec(), value.to_vec()));
    })?;
    Ok(fields)
}

fn field(encoder: &mut Encoder, out: &mut Vec<u8>, name: &str, value: &str) {
    let known = Name::from_bytes(name.as_bytes());
    encoder.field(out, known, name.as_bytes(), value.as_bytes());
}

/// A block of these fields.
fn block(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        field(encoder, &mut out, name, value);
    }
    out
}

fn fresh(block: &[u8]) -> Result<Vec<Owned>, Error> {
    decode(&mut Decoder::new(4096), block)
}

fn owned(fields: &[(&str, &str)]) -> Vec<Owned> {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

#[test]
fn indices_of_no_entry() {
    for block in [
        &b"\x80"[..],
        b"\xbe",
        b"\xff\x00",
        b"\x7e\x01a",
        b"\x0f\x2f\x01a",
    ] {
        assert_eq!(fresh(block), Err(Error::Index), "{}", block.escape_ascii());
    }
    assert_eq!(fresh(b"\xbd"), Ok(owned(&[("www-authenticate", "")])));
    assert_eq!(
        fresh(b"\xff\xff\xff\xff\xff\x0f"),
        Err(Error::Integer),
        "beyond 32 bits"
    );
    assert_eq!(fresh(b"\xff\x80\xff\xff\xff\x0f"), Err(Error::Index));
}

#[test]
fn blocks_cut_anywhere_are_refused() {
    let whole = b"\x3f\xe1\x1f\x82\x40\x81\x1f\x03abc\x10\x01x\x82\x1c\x64\xbe";
    let fields = fresh(whole).expect("a good block");
    assert_eq!(fields.len(), 4);
    // Where a field or a change of size ends.
    let ends = [0, 3, 4, 11, 17, whole.len()];
    for end in 0..whole.len() {
        let cut = fresh(&whole[..end]);
        if ends.contains(&end) {
            assert_eq!(
                cut.as_deref().ok(),
                fields.get(..cut.as_ref().map_or(9, Vec::len))
            );
        } else {
            assert_eq!(cut, Err(Error::Truncated), "{end}");
        }
    }
    assert_eq!(fresh(b"\x00\x02a"), Err(Error::Truncated));
    assert_eq!(fresh(b"\x00\x81\x8c\x00"), Err(Error::Huffman));
}

#[test]
fn table_sizes_stand_first_and_within_the_setting() {
    let mut decoder = Decoder::new(256);
    assert_eq!(
        decode(&mut decoder, b"\x3f\xe1\x01\x20\x82"),
        Ok(owned(&[(":method", "GET")]))
    );
    // 256 is allowed and 257 is not; 0 emptied the table for good, and nothing else is said.
    assert_eq!(
        decode(&mut decoder, b"\x40\x01a\x01b\xbe"),
        Err(Error::Index)
    );
    let mut decoder = Decoder::new(256);
    assert_eq!(decode(&mut decoder, b"\x3f\xe2\x01"), Err(Error::TableSize));
    assert_eq!(fresh(b"\x82\x20"), Err(Error::TableSize));
    assert_eq!(fresh(b"\x3f\xe1\x1f\x3f\xe1\x1f"), Ok(vec![]));
}

#[test]
fn a_name_may_come_from_the_entry_that_it_evicts() {
    let mut decoder = Decoder::new(64);
    let fields = decode(
        &mut decoder,
        b"\x40\x04name\x0aaaaaaaaaaa\x7e\x0abbbbbbbbbb\xbe",
    );
    let b = ("name", "bbbbbbbbbb");
    assert_eq!(fields, Ok(owned(&[("name", "aaaaaaaaaa"), b, b])));
}

#[test]
fn the_first_request_of_the_examples_is_encoded_as_there() {
    // RFC 7541 §C.4.1, §C.4.2.
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    for more in [false, true] {
        encoder.begin(&mut out);
        encoder.pseudo(&mut out, Pseudo::Method, b"GET");
        encoder.pseudo(&mut out, Pseudo::Scheme, b"http");
        encoder.pseudo(&mut out, Pseudo::Path, b"/");
        encoder.pseudo(&mut out, Pseudo::Authority, b"www.example.com");
        if more {
            field(&mut encoder, &mut out, "cache-control", "no-cache");
        }
    }
    assert_eq!(
        out,
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\
          \x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf"
    );
}

#[test]
fn every_pseudo_field_and_status() {
    let mut decoder = Decoder::new(4096);
    let mut encoder = Encoder::new();
    let requests: &[(Pseudo, &str)] = &[
        (Pseudo::Method, "GET"),
        (Pseudo::Method, "POST"),
        (Pseudo::Method, "PATCH"),
        (Pseudo::Method, ""),
        (Pseudo::Scheme, "http"),
        (Pseudo::Scheme, "https"),
        (Pseudo::Scheme, ""),
        (Pseudo::Authority, ""),
        (Pseudo::Authority, "example.com:8080"),
        (Pseudo::Path, "/"),
        (Pseudo::Path, "/index.html"),
        (Pseudo::Path, ""),
        (Pseudo::Path, "/v1/chat/completions"),
        (Pseudo::Path, "/v1/models?limit=2"),
        (Pseudo::Protocol, "websocket"),
    ];
    for _ in 0..2 {
        for (name, value) in requests {
            let mut out = Vec::new();
            encoder.pseudo(&mut out, *name, value.as_bytes());
            assert_eq!(
                decode(&mut decoder, &out),
                Ok(owned(&[(name.as_str(), value)]))
            );
        }
        for status in 100..=999 {
            let mut out = Vec::new();
            encoder.status(&mut out, status);
            let expected = owned(&[(":status", &status.to_string())]);
            assert_eq!(decode(&mut decoder, &out), Ok(expected));
        }
    }
}

#[test]
fn what_is_indexed_and_what_is_not() {
    let mut encoder = Encoder::new();
    let once = |encoder: &mut Encoder, name: &str, value: &str| {
        let fields = [(name, value)];
        block(encoder, &fields)[0] & 0xf0
    };
    for (name, value, first, second) in [
        ("content-type", "application/json", 0x50, 0xb0),
        ("accept-encoding", "gzip, deflate", 0x90, 0x90),
        ("accept", "", 0x90, 0x90),
        ("x-stainless-lang", "python", 0x40, 0xb0),
        ("authorization", "Bearer a", 0x10, 0x10),
        ("cookie", "a=b", 0x10, 0x10),
        ("x-goog-api-key", "a", 0x10, 0x10),
        ("content-length", "17", 0x00, 0x00),
        ("x-request-id", "17", 0x00, 0x00),
        // More than half of the table.
        ("x-long", &"x".repeat(2100), 0x00, 0x00),
    ] {
        assert_eq!(once(&mut encoder, name, value), first, "{name}");
        assert_eq!(once(&mut encoder, name, value), second, "{name} again");
    }
    let mut out = Vec::new();
    encoder.secret(
        &mut out,
        Name::ContentType,
        b"content-type",
        b"application/json",
    );
    assert_eq!(out[..2], [0x1f, 31 - 15]);
    let mut seen = Vec::new();
    Decoder::new(0)
        .decode(&out, |_, _, secret| seen.push(secret))
        .expect("a good block");
    assert_eq!(seen, [true]);
}

#[test]
fn a_name_of_ever_new_values_stops_pushing_others_out() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    block_of(&mut encoder, &mut decoder, &[("user-agent", "steady")]);
    let added = (0..2000)
        .map(|at| {
            let value = format!("{at:032}");
            let fields = [("x-session", value.as_str())];
            block_of(&mut encoder, &mut decoder, &fields)[0] & 0xc0 == 0x40
        })
        .filter(|is_added| *is_added)
        .count();
    assert!((100..200).contains(&added), "{added} of 2000 were added");
    // A value that stays is found again, after a while.
    let fields = [("x-session", "now it stays")];
    let kinds: Vec<_> = (0..20)
        .map(|_| block_of(&mut encoder, &mut decoder, &fields)[0])
        .collect();
    assert_eq!(kinds.last(), Some(&0xbe));
}

/// Encodes, decodes and compares.
fn block_of(encoder: &mut Encoder, decoder: &mut Decoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let out = block(encoder, fields);
    assert_eq!(decode(decoder, &out), Ok(owned(fields)));
    out
}

#[test]
fn the_encoder_says_every_change_of_size_once() {
    let fields = [("x-a", "b")];
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let mut prefix = |encoder: &mut Encoder, sizes: &[usize]| {
        for &size in sizes {
            encoder.resize(size);
        }
        let out = block_of(encoder, &mut decoder, &fields);
        let end = out
            .iter()
            .position(|first| first & 0xe0 != 0x20 && *first != 0xe1);
        out[..end.unwrap_or(0)].to_vec()
    };
    assert_eq!(prefix(&mut encoder, &[]), b"");
    // 4096 is what both ends begin with, and more is not used.
    assert_eq!(prefix(&mut encoder, &[4096, 65_536, 4096]), b"");
    assert_eq!(prefix(&mut encoder, &[0]), b"\x20");
    assert_eq!(prefix(&mut encoder, &[]), b"");
    assert_eq!(prefix(&mut encoder, &[30]), b"\x3e");
    assert_eq!(prefix(&mut encoder, &[10, 4, 20]), b"\x24\x34");
    assert_eq!(prefix(&mut encoder, &[10, 20]), b"\x2a\x34");
}

#[test]
fn the_size_updates_of_a_shrunk_and_regrown_table() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let fields = [("x-stainless-lang", "python"), ("x-stainless-arch", "x64")];
    let first = block_of(&mut encoder, &mut decoder, &fields);
    assert_eq!(block_of(&mut encoder, &mut decoder, &fields), b"\xbf\xbe");
    // RFC 7541 §4.2: gone in between, so gone for both.
    encoder.resize(0);
    encoder.resize(4096);
    let again = block_of(&mut encoder, &mut decoder, &fields);
    assert_eq!(again, [&b"\x20\x3f\xe1\x1f"[..], &first].concat());
    // The newer one stays.
    encoder.resize(64);
    let smaller = block_of(&mut encoder, &mut decoder, &fields);
    assert_eq!(smaller[..3], [0x3f, 64 - 31, 0]);
    assert_eq!(smaller.last(), Some(&0xbe));
    encoder.resize(0);
    let literal = block_of(&mut encoder, &mut decoder, &fields);
    assert_eq!(literal[..2], [0x20, 0]);
}

#[test]
fn a_long_string_has_a_long_length() {
    for len in [126, 127, 128, 254, 300, 20_000] {
        for octet in ["0", "Z", "\u{7f}"] {
            let value = octet.repeat(len);
            let fields = [("x-a", value.as_str()), ("x-b", "c")];
            let out = block(&mut Encoder::new(), &fields);
            assert_eq!(fresh(&out), Ok(owned(&fields)), "{len} {octet}");
        }
    }
}

#[test]
fn a_bomb_is_handed_on_as_it_lies() {
    // One entry of 4,000 bytes, then 60,000 references to it: 240 MB that nobody copies.
    let value = "x".repeat(4000);
    let mut block = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    block.extend_from_slice(value.as_bytes());
    block.extend(vec![0xbe; 60_000]);
    let (mut calls, mut places) = (0, std::collections::BTreeSet::new());
    Decoder::new(4096)
        .decode(&block, |_, value, _| {
            calls += 1;
            places.insert(value.as_ptr() as usize);
        })
        .expect("a good block");
    assert_eq!(calls, 60_001);
    assert_eq!(places.len(), 2, "in the block, then in the table");
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "(content-type|accept|accept-encoding|user-agent|server|vary|age)",
        "(authorization|cookie|x-api-key|content-length|x-request-id)",
        "x-[a-e]",
        "[a-z0-9-]{0,20}",
    ]
    .prop_map(String::into_bytes)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "(gzip, deflate|application/json|text/event-stream||a|b)".prop_map(String::into_bytes),
        "[ -~]{0,60}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..40),
        (any::<u8>(), 0..5000_usize).prop_map(|(octet, len)| vec![octet; len]),
    ]
}

/// Settings of the peer before a block, and the block's fields, secret or not.
type Step = (Vec<usize>, Vec<(Vec<u8>, Vec<u8>, bool)>);

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..200_usize, 0..5000_usize, Just(4096)];
    (
        prop_oneof![3 => Just(vec![]), 1 => vec(size, 1..4)],
        vec((name(), value(), prop::bool::weighted(0.1)), 0..12),
    )
}

/// Kinds of fields, indices, lengths and a little text.
const LIKELY: &[u8] = b"\x40\x01\x00\x02\xbe\xbf\x82\x7e\x10\x20\x81\x3fax";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(steps in vec(step(), 1..12)) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(4096);
        for (sizes, fields) in steps {
            for size in sizes {
                encoder.resize(size);
            }
            let mut out = Vec::new();
            encoder.begin(&mut out);
            for (name, value, secret) in &fields {
                let known = Name::from_bytes(name);
                if *secret {
                    encoder.secret(&mut out, known, name, value);
                } else {
                    encoder.field(&mut out, known, name, value);
                }
            }
            let plain = fields.into_iter().map(|(name, value, _)| (name, value));
            prop_assert_eq!(decode(&mut decoder, &out), Ok(plain.collect()));
        }
    }

    #[test]
    fn arbitrary_blocks_break_no_promise(data in vec(any::<u8>(), 0..400)) {
        fuzzing::hpack(&data);
    }

    #[test]
    fn blocks_of_likely_octets_break_no_promise(
        data in vec(prop::sample::select(LIKELY.to_vec()), 0..80),
    ) {
        fuzzing::hpack(&data);
    }
}
