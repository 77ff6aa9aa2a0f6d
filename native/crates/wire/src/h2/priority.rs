//! How urgent a stream is: the `priority` field and PRIORITY_UPDATE (RFC 9218 §4).

use crate::octets;

/// The `u` of a priority field's value, 0..=7, the lower the sooner; `None` if it says nothing that
/// we understand, which is to be ignored (§4). `i` changes nothing here: all streams take turns.
pub(crate) fn urgency(value: &[u8]) -> Option<u8> {
    value
        .split(|&byte| byte == b',')
        .filter_map(|member| match octets::trim(member) {
            [b'u', b'=', digit @ b'0'..=b'7'] | [b'u', b'=', digit @ b'0'..=b'7', b';', ..] => {
                Some(digit - b'0')
            }
            _ => None,
        })
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_last_urgency_it_understands() {
        for (value, expected) in [
            ("u=0", Some(0)),
            ("u=7, i", Some(7)),
            ("i,u=5", Some(5)),
            ("i", None),
            ("", None),
            ("u=8", None),
            ("u=-1", None),
            ("u=10", None),
            ("u=1,u=2", Some(2)),
            ("u=4;x=1, i=?0", Some(4)),
            ("U=1", None),
        ] {
            assert_eq!(urgency(value.as_bytes()), expected, "{value}");
        }
    }
}
