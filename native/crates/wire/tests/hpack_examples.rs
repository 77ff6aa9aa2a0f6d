//! The examples of RFC 7541 Appendix C, read.

use wire::hpack::{Decoder, Error};

struct Example {
    /// The block in hex, strings as they are.
    plain: &'static str,
    /// The same with the Huffman code.
    coded: &'static str,
    fields: &'static [&'static str],
    /// The dynamic table behind the block, from the newest entry on.
    table: &'static [&'static str],
    /// What the entries cost.
    cost: usize,
}

/// §C.3 and §C.4.
const REQUESTS: [Example; 3] = [
    Example {
        plain: "828684410f7777772e6578616d706c652e636f6d",
        coded: "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        fields: &[
            ":method: GET",
            ":scheme: http",
            ":path: /",
            ":authority: www.example.com",
        ],
        table: &[":authority: www.example.com"],
        cost: 57,
    },
    Example {
        plain: "828684be58086e6f2d6361636865",
        coded: "828684be5886a8eb10649cbf",
        fields: &[
            ":method: GET",
            ":scheme: http",
            ":path: /",
            ":authority: www.example.com",
            "cache-control: no-cache",
        ],
        table: &["cache-control: no-cache", ":authority: www.example.com"],
        cost: 110,
    },
    Example {
        plain: "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        coded: "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        fields: &[
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ],
        table: &[
            "custom-key: custom-value",
            "cache-control: no-cache",
            ":authority: www.example.com",
        ],
        cost: 164,
    },
];

/// §C.5 and §C.6: with a table of 256 bytes, so that entries are evicted.
const RESPONSES: [Example; 3] = [
    Example {
        plain: "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a32\
            3120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        coded: "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad\
            171863c78f0b97c8e9ae82ae43d3",
        fields: &[
            ":status: 302",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ],
        table: &[
            "location: https://www.example.com",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "cache-control: private",
            ":status: 302",
        ],
        cost: 222,
    },
    Example {
        plain: "4803333037c1c0bf",
        coded: "4883640effc1c0bf",
        fields: &[
            ":status: 307",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ],
        table: &[
            ":status: 307",
            "location: https://www.example.com",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "cache-control: private",
        ],
        cost: 222,
    },
    Example {
        plain: "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a6970\
            7738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d61\
            67653d333630303b2076657273696f6e3d31",
        coded: "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2\
            e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        fields: &[
            ":status: 200",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
            "location: https://www.example.com",
            "content-encoding: gzip",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ],
        table: &[
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            "content-encoding: gzip",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
        ],
        cost: 215,
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |octet: u8| (octet as char).to_digit(16).expect("a hex digit") as u8;
    hex.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    decoder.decode(block, |name, value, secret| {
        let mark = if secret { " (secret)" } else { "" };
        lines.push(format!(
            "{}: {}{mark}",
            name.escape_ascii(),
            value.escape_ascii()
        ));
    })?;
    Ok(lines)
}

/// The dynamic table, seen through a copy.
fn table(decoder: &Decoder) -> Vec<String> {
    let mut probe = decoder.clone();
    (62..127)
        .map_while(|index| decode(&mut probe, &[0x80 | index]).ok())
        .flatten()
        .collect()
}

fn replay(decoder: &mut Decoder, example: &Example, hex: &str) {
    assert_eq!(decode(decoder, &bytes(hex)).expect(hex), example.fields);
    assert_eq!(table(decoder), example.table);
    // `: ` in a line is no part of the entry.
    let cost: usize = example.table.iter().map(|line| line.len() - 2 + 32).sum();
    assert_eq!(cost, example.cost);
}

#[test]
fn single_fields() {
    // §C.2.1 to §C.2.4: hex, field, and whether it is then in the table.
    for (hex, field, kept) in [
        (
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            "custom-key: custom-header",
            true,
        ),
        ("040c2f73616d706c652f70617468", ":path: /sample/path", false),
        (
            "100870617373776f726406736563726574",
            "password: secret (secret)",
            false,
        ),
        ("82", ":method: GET", false),
    ] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, &bytes(hex)).expect(hex), [field]);
        assert_eq!(table(&decoder).len(), usize::from(kept));
    }
}

#[test]
fn requests() {
    let (mut plain, mut coded) = (Decoder::new(4096), Decoder::new(4096));
    for example in &REQUESTS {
        replay(&mut plain, example, example.plain);
        replay(&mut coded, example, example.coded);
    }
}

#[test]
fn responses_with_eviction() {
    let (mut plain, mut coded) = (Decoder::new(256), Decoder::new(256));
    for example in &RESPONSES {
        replay(&mut plain, example, example.plain);
        replay(&mut coded, example, example.coded);
    }
}
