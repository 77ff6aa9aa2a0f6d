//! What all field sections share: the rules for names and values, and what they may add up to.
//!
//! A section is read to its end even when it is refused, for the compression's table must be kept
//! right; nothing is kept of it then.

use crate::error::{Code, Violation};
use crate::fields::Fields;
use crate::h1::field_block::check_underscore;
use crate::h1::framing::parse_length;
use crate::h2::config::{Config, Role};
use crate::h2::limits::{BOMB_TIMES, CRUMBS_MAX};
use crate::hop;
use crate::limits::Underscore;
use crate::name::Name;
use crate::octets;

/// RFC 9113 §10.5.1: what a field costs beyond its bytes.
const FIELD_OVERHEAD_BYTES: usize = 32;

/// Why a head or a trailer section is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// RFC 9113 §8.1.1: the stream is to be reset with PROTOCOL_ERROR.
    Malformed(Violation),
    /// It is a message, but not one that is served: a server may answer it.
    Refused(Violation),
}

/// A section in the making.
#[derive(Debug)]
pub(crate) struct Section<'c> {
    role: Role,
    config: &'c Config,
    /// Fields that may come, cookie crumbs apart.
    count_max: usize,
    list_bytes_max: usize,
    /// Bytes beyond which nothing is kept, for there is no room.
    room: usize,
    list_bytes: usize,
    count: usize,
    crumbs: usize,
    /// Cookie crumbs, joined (RFC 9113 §8.2.3).
    cookie: Vec<u8>,
    /// Whether a field that is no pseudo-header field came.
    regular: bool,
    length: Option<u64>,
    /// The first faults of each kind.
    malformed: Option<Violation>,
    refused: Option<Violation>,
}

impl<'c> Section<'c> {
    /// A head's section. `role` is ours.
    pub(crate) fn head(role: Role, config: &'c Config) -> Self {
        Self {
            role,
            config,
            count_max: config.limits.field_count_max,
            list_bytes_max: config.header_list_bytes_max as usize,
            room: usize::MAX,
            list_bytes: 0,
            count: 0,
            crumbs: 0,
            cookie: Vec::new(),
            regular: false,
            length: None,
            malformed: None,
            refused: None,
        }
    }

    /// The same, of which no more than `room` bytes are looked at.
    pub(crate) fn within(self, room: u64) -> Self {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        Self { room, ..self }
    }

    /// A trailer section.
    pub(crate) fn trailers(role: Role, config: &'c Config) -> Self {
        let list_bytes_max = config.limits.trailer_bytes_max;
        Self {
            count_max: config.limits.trailer_count_max,
            list_bytes_max: list_bytes_max.min(config.header_list_bytes_max as usize),
            ..Self::head(role, config)
        }
    }

    /// Counts a field; false if it is not to be looked at.
    #[inline]
    pub(crate) fn admit(&mut self, name: &[u8], value: &[u8]) -> bool {
        let cost = name.len() + value.len() + FIELD_OVERHEAD_BYTES;
        self.list_bytes = self.list_bytes.saturating_add(cost);
        if self.list_bytes > self.list_bytes_max {
            self.refuse(Code::FieldsTooLarge, "field section is too large");
        }
        self.malformed.is_none() && self.list_bytes <= self.list_bytes_max.min(self.room)
    }

    /// What the section came to (RFC 9113 §10.5.1), whether it was kept or not.
    pub(crate) fn bytes(&self) -> usize {
        self.list_bytes
    }

    /// Whether the section is no mistake but an attack.
    pub(crate) fn is_bomb(&self) -> bool {
        self.list_bytes / BOMB_TIMES > self.list_bytes_max
    }

    /// The `content-length`, if one came.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// RFC 9113 §8.3: whether a pseudo-header field may still come.
    pub(crate) fn only_pseudo(&self) -> bool {
        !self.regular
    }

    pub(crate) fn malform(&mut self, why: &'static str) {
        let code = self.code(Code::BadRequest);
        self.malformed.get_or_insert(Violation::stream(code, why));
    }

    pub(crate) fn refuse(&mut self, code: Code, why: &'static str) {
        let code = self.code(code);
        self.refused.get_or_insert(Violation::stream(code, why));
    }

    /// What an upstream did wrong is all the same to a client.
    fn code(&self, code: Code) -> Code {
        match self.role {
            Role::Server => code,
            Role::Client => Code::BadResponse,
        }
    }

    /// A field that is no pseudo-header field: judged, and appended to `fields`.
    /// `secret`: the peer sent it as never indexed.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8], secret: bool, fields: &mut Fields) {
        self.regular = true;
        // RFC 9113 §8.2.1, and what HTTP/1.1 could not say: a name is a token.
        if !octets::is_lower_token(name) {
            return self.malform("field name is not a lower-case token");
        }
        if !is_value(value) {
            return self.malform("field value has an octet that no value has");
        }
        let known = Name::from_bytes(name);
        if !self.count(known, name, value) {
            return;
        }
        match known {
            Name::Cookie if self.role == Role::Server => return self.crumb(value),
            Name::ContentLength => self.content_length(value),
            // RFC 9113 §8.2.2.
            Name::Te if value != b"trailers" => {
                return self.malform("TE has a value other than trailers");
            }
            Name::Other if self.role == Role::Server && !self.underscore(name) => return,
            _ if hop::is_connection_specific(known) => {
                return self.malform("connection-specific field");
            }
            _ => {}
        }
        fields.push_as(known, name, value);
        if secret {
            fields.seal();
        }
    }

    /// Whether there is room for one more.
    fn count(&mut self, known: Name, name: &[u8], value: &[u8]) -> bool {
        let (count, max) = if known == Name::Cookie {
            (&mut self.crumbs, CRUMBS_MAX)
        } else {
            (&mut self.count, self.count_max)
        };
        *count += 1;
        if *count > max {
            self.refuse(Code::FieldsTooLarge, "too many fields");
        } else if name.len() + value.len() + 2 > self.config.limits.field_bytes_max {
            self.refuse(Code::FieldsTooLarge, "a field is too large");
        }
        self.refused.is_none()
    }

    fn crumb(&mut self, value: &[u8]) {
        if !self.cookie.is_empty() {
            self.cookie.extend_from_slice(b"; ");
        }
        self.cookie.extend_from_slice(value);
    }

    fn content_length(&mut self, value: &[u8]) {
        match parse_length(value) {
            Ok(length) if self.length.is_none() => self.length = Some(length),
            Ok(_) => self.malform("more than one content-length"),
            Err(violation) => self.malform(violation.why),
        }
    }

    fn underscore(&mut self, name: &[u8]) -> bool {
        let underscore = self.config.limits.underscore;
        if underscore == Underscore::Allow {
            return true;
        }
        match check_underscore(name, underscore) {
            Ok(()) => true,
            Err(violation) => {
                self.refuse(violation.code, violation.why);
                false
            }
        }
    }

    /// Ends the section: the cookie is appended, or a fault given.
    pub(crate) fn finish(&mut self, fields: &mut Fields) -> Result<(), Fault> {
        if let Some(violation) = self.malformed {
            return Err(Fault::Malformed(violation));
        }
        if let Some(violation) = self.refused {
            return Err(Fault::Refused(violation));
        }
        if self.crumbs > 0 {
            fields.push_known(Name::Cookie, &self.cookie);
        }
        Ok(())
    }
}

/// RFC 9113 §8.2.1, and the controls that RFC 9110 §5.5 forbids.
fn is_value(value: &[u8]) -> bool {
    !matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) && octets::is_value(value)
}
