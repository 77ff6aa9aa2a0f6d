//! The PROXY protocol header, versions 1 and 2, as a load balancer puts it before a connection.
//!
//! Only for listeners whose peers are trusted to send it. Strict: a header that is not exactly as
//! specified is refused, for everything behind it would be attributed to the wrong client.

use std::net::{IpAddr, SocketAddr};

use crate::error::Violation;
use crate::limits::{PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX};

/// Source and destination of the connection that the load balancer took.
pub type Addresses = (SocketAddr, SocketAddr);

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEADER_BYTES: usize = 16;

/// Reads the header at the front of `input`.
///
/// `None`: more bytes are needed. Otherwise how many bytes the header takes, and the addresses;
/// none if the load balancer speaks for itself (LOCAL, a health check), or does not know (UNKNOWN,
/// UNSPEC), or the client came over a unix socket.
pub fn parse(input: &[u8]) -> Result<Option<(usize, Option<Addresses>)>, Violation> {
    match input.first() {
        None => Ok(None),
        Some(b'P') => parse_v1(input),
        Some(b'\r') => parse_v2(input),
        Some(_) => Err(Violation::bad_request("no PROXY protocol header")),
    }
}

/// Section 2.1 of the specification: one line of at most 107 bytes with its CRLF.
fn parse_v1(input: &[u8]) -> Result<Option<(usize, Option<Addresses>)>, Violation> {
    let start = b"PROXY ";
    if !input
        .iter()
        .zip(start)
        .all(|(byte, expected)| byte == expected)
    {
        return Err(Violation::bad_request("no PROXY protocol header"));
    }
    let bounded = input.get(..PROXY_V1_BYTES_MAX).unwrap_or(input);
    let Some(lf) = memchr::memchr(b'\n', bounded) else {
        return if bounded.len() < PROXY_V1_BYTES_MAX {
            Ok(None)
        } else {
            Err(Violation::bad_request("PROXY line is too long"))
        };
    };
    let line = bounded
        .get(start.len()..lf)
        .and_then(|line| line.strip_suffix(b"\r"));
    let line = line
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(BAD_V1)?;
    Ok(Some((lf + 1, parse_v1_line(line)?)))
}

const BAD_V1: Violation = Violation::bad_request("PROXY line is malformed");

fn parse_v1_line(line: &str) -> Result<Option<Addresses>, Violation> {
    // "UNKNOWN": the receiver must ignore anything presented before the CRLF.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let mut parts = line.split(' ');
    let mut part = || parts.next().ok_or(BAD_V1);
    let ipv4 = match part()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return Err(BAD_V1),
    };
    let (source, destination) = (part()?, part()?);
    let (source_port, destination_port) = (part()?, part()?);
    if parts.next().is_some() {
        return Err(BAD_V1);
    }
    Ok(Some((
        SocketAddr::new(parse_address(source, ipv4)?, parse_port(source_port)?),
        SocketAddr::new(
            parse_address(destination, ipv4)?,
            parse_port(destination_port)?,
        ),
    )))
}

fn parse_address(text: &str, ipv4: bool) -> Result<IpAddr, Violation> {
    let address: IpAddr = text.parse().map_err(|_| BAD_V1)?;
    if address.is_ipv4() == ipv4 {
        Ok(address)
    } else {
        Err(BAD_V1)
    }
}

/// "A decimal integer within the range [0..65535], without leading zeroes".
fn parse_port(text: &str) -> Result<u16, Violation> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if !digits || padded {
        return Err(BAD_V1);
    }
    text.parse().map_err(|_| BAD_V1)
}

/// Section 2.2: signature, version and command, family and protocol, length, addresses, TLVs.
fn parse_v2(input: &[u8]) -> Result<Option<(usize, Option<Addresses>)>, Violation> {
    if !input
        .iter()
        .zip(V2_SIGNATURE)
        .all(|(byte, expected)| byte == expected)
    {
        return Err(Violation::bad_request("no PROXY protocol header"));
    }
    let Some(&[command, family, high, low]) = input.get(V2_SIGNATURE.len()..V2_HEADER_BYTES) else {
        return Ok(None);
    };
    let total = V2_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if total > PROXY_V2_BYTES_MAX {
        return Err(Violation::bad_request("PROXY header is too long"));
    }
    if !matches!(command, 0x20 | 0x21) {
        return Err(Violation::bad_request(
            "PROXY version or command is unknown",
        ));
    }
    let Some(payload) = input.get(V2_HEADER_BYTES..total) else {
        return Ok(None);
    };
    // LOCAL: "the receiver must accept this connection and use the real endpoints, and discard
    // the protocol block including the family".
    if command == 0x20 {
        return Ok(Some((total, None)));
    }
    Ok(Some((total, parse_v2_payload(family, payload)?)))
}

const BAD_V2: Violation = Violation::bad_request("PROXY addresses are malformed");

fn parse_v2_payload(family: u8, payload: &[u8]) -> Result<Option<Addresses>, Violation> {
    let (addresses, tlvs) = match family {
        // UNSPEC: "the receiver should ignore address information"; so there is nothing to check.
        0x00 => return Ok(None),
        // TCP over IPv4, TCP over IPv6, a unix stream.
        0x11 => split_v2::<4>(payload, SocketAddrParts::V4)?,
        0x21 => split_v2::<16>(payload, SocketAddrParts::V6)?,
        0x31 => (None, payload.get(216..).ok_or(BAD_V2)?),
        // Datagrams do not come over a stream.
        _ => {
            return Err(Violation::bad_request(
                "PROXY family or protocol is unknown",
            ));
        }
    };
    check_tlvs(tlvs)?;
    Ok(addresses)
}

#[derive(Clone, Copy)]
enum SocketAddrParts {
    V4,
    V6,
}

type Split<'a> = (Option<Addresses>, &'a [u8]);

/// Two addresses of `N` bytes, two ports, and what follows them.
fn split_v2<const N: usize>(
    payload: &[u8],
    parts: SocketAddrParts,
) -> Result<Split<'_>, Violation> {
    let (source, rest) = payload.split_first_chunk::<N>().ok_or(BAD_V2)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(BAD_V2)?;
    let (source_port, rest) = rest.split_first_chunk::<2>().ok_or(BAD_V2)?;
    let (destination_port, tlvs) = rest.split_first_chunk::<2>().ok_or(BAD_V2)?;
    let address = |bytes: &[u8; N]| match parts {
        SocketAddrParts::V4 => bytes.first_chunk::<4>().map(|&octets| IpAddr::from(octets)),
        SocketAddrParts::V6 => bytes
            .first_chunk::<16>()
            .map(|&octets| IpAddr::from(octets)),
    };
    let socket =
        |bytes, port: &[u8; 2]| Some(SocketAddr::new(address(bytes)?, u16::from_be_bytes(*port)));
    let addresses = socket(source, source_port).zip(socket(destination, destination_port));
    Ok((addresses, tlvs))
}

/// Type, length, value; each within what is left. What they say is not our business.
fn check_tlvs(mut tlvs: &[u8]) -> Result<(), Violation> {
    while !tlvs.is_empty() {
        let [_, high, low, rest @ ..] = tlvs else {
            return Err(BAD_V2);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        tlvs = rest.get(length..).ok_or(BAD_V2)?;
    }
    Ok(())
}
