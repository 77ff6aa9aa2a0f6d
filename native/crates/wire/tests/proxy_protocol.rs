//! PROXY protocol headers: what is taken, and that everything else is refused.

use wire::proxy_protocol::parse;

/// Bytes taken, and source and destination as text.
type Read = Result<Option<(usize, Option<Pair>)>, ()>;
type Pair = (String, String);

fn v1(line: &str) -> Read {
    addresses(line.as_bytes())
}

fn addresses(bytes: &[u8]) -> Read {
    wire::fuzzing::proxy_protocol(bytes);
    let text = |(a, b): wire::proxy_protocol::Addresses| (a.to_string(), b.to_string());
    parse(bytes)
        .map(|found| found.map(|(len, pair)| (len, pair.map(text))))
        .map_err(|_| ())
}

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn pair(source: &str, destination: &str) -> Pair {
    (source.into(), destination.into())
}

#[test]
fn version_1() {
    let line = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    let expected = Some(pair("192.0.2.1:56324", "198.51.100.7:443"));
    assert_eq!(v1(line), Ok(Some((line.len(), expected.clone()))));
    assert_eq!(
        v1(&format!("{line}GET /")),
        Ok(Some((line.len(), expected)))
    );
    let line = "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n";
    assert_eq!(
        v1(line),
        Ok(Some((
            line.len(),
            Some(pair("[2001:db8::1]:0", "[::1]:65535"))
        )))
    );
    assert_eq!(v1("PROXY UNKNOWN\r\n"), Ok(Some((15, None))));
    assert_eq!(v1("PROXY UNKNOWN ffff::1 x y z\r\n"), Ok(Some((29, None))));
    assert_eq!(v1("PRO"), Ok(None));
    assert_eq!(v1("PROXY TCP4 192.0.2.1 19"), Ok(None));
}

#[test]
fn version_1_refused() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "PROXX TCP4",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(v1(line), Err(()), "{line:?}");
    }
    let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    assert_eq!(v1(&line(107)), Ok(Some((107, None))));
    assert_eq!(v1(&line(108)), Err(()));
}

#[test]
fn version_2() {
    let four = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 1, 187];
    let expected = Some(pair("192.0.2.1:56324", "198.51.100.7:443"));
    assert_eq!(
        addresses(&v2(0x21, 0x11, &four)),
        Ok(Some((28, expected.clone())))
    );
    let with_tlvs = [&four[..], &[4, 0, 2, 9, 9], &[1, 0, 0]].concat();
    assert_eq!(
        addresses(&v2(0x21, 0x11, &with_tlvs)),
        Ok(Some((36, expected)))
    );
    let mut six = [0; 36];
    six[15] = 1;
    six[31] = 2;
    six[35] = 80;
    assert_eq!(
        addresses(&v2(0x21, 0x21, &six)),
        Ok(Some((52, Some(pair("[::1]:0", "[::2]:80")))))
    );
    assert_eq!(
        addresses(&v2(0x21, 0x31, &[0; 216])),
        Ok(Some((232, None))),
        "unix"
    );
    assert_eq!(
        addresses(&v2(0x21, 0x00, &[])),
        Ok(Some((16, None))),
        "unspecified"
    );
    assert_eq!(
        addresses(&v2(0x20, 0x00, &[])),
        Ok(Some((16, None))),
        "local"
    );
    assert_eq!(
        addresses(&v2(0x20, 0x11, &[1, 2, 3])),
        Ok(Some((19, None))),
        "local, discarded"
    );
    assert_eq!(addresses(&v2(0x21, 0x11, &four)[..27]), Ok(None));
    let long = [&four[..], &[4, 1, 249], &[0; 505]].concat();
    assert_eq!(long.len(), 520);
    assert!(addresses(&v2(0x21, 0x11, &long)).is_ok_and(|found| found.is_some()));
}

#[test]
fn version_2_refused() {
    let four = [0; 12];
    for (name, bytes) in [
        ("version 1", v2(0x11, 0x11, &four)),
        ("command 2", v2(0x22, 0x11, &four)),
        ("datagram", v2(0x21, 0x12, &four)),
        ("family 4", v2(0x21, 0x41, &four)),
        ("short", v2(0x21, 0x11, &four[..11])),
        ("short for IPv6", v2(0x21, 0x21, &[0; 35])),
        ("short for unix", v2(0x21, 0x31, &[0; 215])),
        ("TLV cut", v2(0x21, 0x11, &[&four[..], &[4, 0]].concat())),
        (
            "TLV beyond the end",
            v2(0x21, 0x11, &[&four[..], &[4, 0, 2, 9]].concat()),
        ),
        ("too long", v2(0x21, 0x00, &[0; 521])),
    ] {
        assert_eq!(addresses(&bytes), Err(()), "{name}");
    }
    let mut bytes = v2(0x21, 0x11, &four);
    bytes[11] = b'X';
    assert_eq!(addresses(&bytes), Err(()), "signature");
}
