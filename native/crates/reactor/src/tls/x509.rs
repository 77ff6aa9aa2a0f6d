//! What we want to know of a certificate that rustls does not say: its names and its dates
//! (RFC 5280). A reader of DER (X.690) for exactly that.
//!
//! It judges nothing: whether a certificate is good is rustls's to say, before or after.
//! **Invariant:** no bytes make it panic, and it copies at most what it returns.

/// Bytes of a name that are of any use; longer ones are left out.
const NAME_BYTES_MAX: usize = 512;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Names and dates of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The subject's most specific common name.
    pub(crate) common_name: Option<String>,
    /// DNS names, in lower case; a wildcard keeps its `*.`.
    pub(crate) dns: Vec<String>,
    /// URIs.
    pub(crate) uris: Vec<String>,
    /// Seconds since the Unix epoch.
    pub(crate) not_before_s: i64,
    /// Seconds since the Unix epoch.
    pub(crate) not_after_s: i64,
}

impl Facts {
    /// Reads a certificate in DER; `None` when it is none.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).take(SEQUENCE)?);
        let mut tbs = Der(certificate.take(SEQUENCE)?);
        if tbs.peek() == Some(VERSION) {
            tbs.next()?;
        }
        // Serial number, signature algorithm, issuer.
        for _ in 0..3 {
            tbs.next()?;
        }
        let mut validity = Der(tbs.take(SEQUENCE)?);
        let not_before_s = time(validity.next()?)?;
        let not_after_s = time(validity.next()?)?;
        let mut facts = Self {
            common_name: common_name(tbs.take(SEQUENCE)?),
            not_before_s,
            not_after_s,
            ..Self::default()
        };
        while let Some((tag, content)) = tbs.next() {
            if tag == EXTENSIONS {
                facts.read_extensions(content)?;
            }
        }
        Some(facts)
    }

    /// Whom it names, for a peer that was verified: a SPIFFE URI, else the common name, else the
    /// first DNS name. **Invariant:** only a URI gives a SPIFFE identity, whatever a name says.
    pub(crate) fn principal(&self) -> Option<&str> {
        let is_spiffe = |text: &&String| text.starts_with("spiffe://");
        let named = self.common_name.iter().chain(&self.dns);
        let uri = self.uris.iter().find(is_spiffe);
        uri.or_else(|| named.into_iter().find(|name| !is_spiffe(name)))
            .map(String::as_str)
    }

    fn read_extensions(&mut self, content: &[u8]) -> Option<()> {
        let mut all = Der(Der(content).take(SEQUENCE)?);
        while let Some((tag, content)) = all.next() {
            let mut extension = Der(content);
            if tag != SEQUENCE || extension.take(OBJECT_ID)? != SUBJECT_ALT_NAME {
                continue;
            }
            if extension.peek() == Some(BOOLEAN) {
                extension.next()?;
            }
            let mut names = Der(Der(extension.take(OCTET_STRING)?).take(SEQUENCE)?);
            while let Some((tag, name)) = names.next() {
                match tag {
                    DNS_NAME => self.dns.extend(text(name).map(|n| n.to_ascii_lowercase())),
                    URI => self.uris.extend(text(name)),
                    _ => {}
                }
            }
        }
        Some(())
    }
}

/// Elements one after another.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Tag and content of the next element.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let count = usize::from(first & 0x7f);
            if !(1..=4).contains(&count) || rest.len() < count {
                return None;
            }
            let (bytes, behind) = rest.split_at(count);
            rest = behind;
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        };
        if rest.len() < length {
            return None;
        }
        let (content, behind) = rest.split_at(length);
        self.0 = behind;
        Some((tag, content))
    }

    /// The content of the next element, if it is of that kind.
    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }
}

/// The last common name of a subject.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = None;
    let mut sets = Der(subject);
    while let Some(set) = sets.take(SET) {
        let mut pairs = Der(set);
        while let Some(pair) = pairs.take(SEQUENCE) {
            let mut pair = Der(pair);
            if pair.take(OBJECT_ID) == Some(COMMON_NAME)
                && let Some((_, value)) = pair.next()
            {
                found = text(value).or(found);
            }
        }
    }
    found
}

/// A name that may be shown; strings that are not UTF-8 or have control characters are not.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let good = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    (good && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// RFC 5280 §4.1.2.5: always with seconds, always in UTC.
fn time((tag, digits): (u8, &[u8])) -> Option<i64> {
    let pair = |at: usize| -> Option<i64> {
        let two = digits.get(at..at + 2)?;
        let all_digits = two.iter().all(u8::is_ascii_digit);
        all_digits.then(|| i64::from(two[0] - b'0') * 10 + i64::from(two[1] - b'0'))
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 13) => {
            let year = pair(0)?;
            (year + if year < 50 { 2000 } else { 1900 }, 2)
        }
        (GENERALIZED_TIME, 15) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    if digits.last() != Some(&b'Z') {
        return None;
    }
    let (month, day) = (pair(at)?, pair(at + 2)?);
    let (hour, minute, second) = (pair(at + 4)?, pair(at + 6)?, pair(at + 8)?);
    let days = days_from_civil(year, month, day);
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since the Unix epoch, by Howard Hinnant's algorithm.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["Api.Example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "engine");
        params.not_before = date_time_ymd(1999, 12, 31);
        params.not_after = date_time_ymd(2077, 3, 1);
        params.subject_alt_names.extend([
            SanType::URI("https://elsewhere.example".try_into().unwrap()),
            SanType::URI("spiffe://mesh.example/ns/a".try_into().unwrap()),
        ]);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_dates_are_read() {
        let facts = Facts::of(&certificate()).unwrap();
        assert_eq!(facts.dns, ["api.example"]);
        assert_eq!(facts.common_name.as_deref(), Some("engine"));
        assert_eq!(facts.principal(), Some("spiffe://mesh.example/ns/a"));
        assert_eq!(facts.not_before_s, 946_598_400);
        assert_eq!(facts.not_after_s, 3_381_782_400);
    }

    #[test]
    fn without_a_spiffe_uri_the_common_name_is_the_principal() {
        let facts = Facts {
            common_name: Some("engine".to_owned()),
            uris: vec!["https://elsewhere.example".to_owned()],
            ..Facts::default()
        };
        assert_eq!(facts.principal(), Some("engine"));
        let facts = Facts {
            dns: vec!["engine.example".to_owned()],
            ..Facts::default()
        };
        assert_eq!(facts.principal(), Some("engine.example"));
        assert_eq!(Facts::default().principal(), None);
    }

    #[test]
    fn a_common_name_is_no_spiffe_identity() {
        let facts = Facts {
            common_name: Some("spiffe://mesh.example/admin".to_owned()),
            dns: vec!["engine.example".to_owned()],
            ..Facts::default()
        };
        assert_eq!(facts.principal(), Some("engine.example"));
    }

    #[test]
    fn control_characters_are_no_name() {
        assert_eq!(text(b"a\nb"), None);
        assert_eq!(text(&[0xff]), None);
        assert_eq!(text(&vec![b'a'; NAME_BYTES_MAX + 1]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            at in 0_usize..400,
            value in any::<u8>(),
        ) {
            let _ = Facts::of(&bytes);
            let mut bent = certificate();
            let at = at % bent.len();
            bent[at] = value;
            let _ = Facts::of(&bent);
            let _ = Facts::of(&bent[..at]);
        }
    }
}
