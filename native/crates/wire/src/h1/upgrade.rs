//! Is this a WebSocket upgrade, asked for or granted? Every other protocol is ignored.

use crate::fields::Fields;
use crate::h1::framing::Framing;
use crate::message::{Body, RequestHead, Version};
use crate::method::Method;
use crate::name::Name;

/// RFC 6455 §4.2.1: what a valid opening handshake has. RFC 9110 §7.8: `Connection: upgrade` or
/// the field means nothing; from HTTP/1.0 it MUST be ignored. `h2c` is never upgraded to.
pub(super) fn is_asked(head: &RequestHead, fields: &Fields, framing: &Framing<'_>) -> bool {
    framing
        .upgrade
        .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && framing.connection.upgrade()
        && head.version == Version::Http11
        && head.method == Method::Get
        && matches!(head.body, Body::None | Body::Length(0))
        && only(fields, Name::SecWebsocketVersion) == Some(b"13")
        && only(fields, Name::SecWebsocketKey).is_some_and(is_key)
}

/// RFC 6455 §4.1, the client's checks 2 and 3 of the answer. The accept value is the client's to
/// check: it is forwarded as it is.
pub(super) fn is_granted(framing: &Framing<'_>) -> bool {
    framing
        .upgrade
        .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && framing.connection.upgrade()
}

fn only(fields: &Fields, name: Name) -> Option<&[u8]> {
    if fields.count(name) == 1 {
        fields.find(name)
    } else {
        None
    }
}

/// 16 octets in base64.
fn is_key(value: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    value.len() == 24
        && value
            .strip_suffix(b"==")
            .is_some_and(|digits| digits.iter().all(digit))
}
