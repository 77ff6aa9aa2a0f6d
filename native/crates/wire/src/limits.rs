//! Every bound on what a peer may make us read, with its unit, its default and the reason.

/// What to do with a `_` in a field name. It is legal, but CGI-like upstreams fold `-` and `_`
/// together, so `content_length` can become a second `content-length` behind our back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Underscore {
    /// Refuse a name that equals a name we know once `_` is read as `-`. The default.
    #[default]
    Reserved,
    /// Refuse every name with `_`.
    Reject,
    /// Take them as they are.
    Allow,
}

/// The most fields that any configuration may allow in one head: the tokeniser's stack array.
pub(crate) const FIELD_COUNT_CEILING: usize = 256;
/// A method is kept inline; a longer one is refused whatever the configuration says.
pub(crate) const METHOD_BYTES_CEILING: usize = 32;
/// RFC 9110 §8.6 sets no bound on `Content-Length`; beyond this no peer of ours can count.
pub(crate) const CONTENT_LENGTH_MAX: u64 = i64::MAX as u64;
/// A DNS name has at most 253 bytes (RFC 1035 §2.3.4), an IP literal fewer.
pub(crate) const HOST_BYTES_MAX: usize = 255;
/// PROXY protocol v1: "a receiver may use a 108-byte buffer", with its final NUL.
pub(crate) const PROXY_V1_BYTES_MAX: usize = 107;
/// PROXY protocol v2: 16 bytes of header and at most 520 of addresses and TLVs.
pub(crate) const PROXY_V2_BYTES_MAX: usize = 536;

/// Bounds on one HTTP/1 connection's input. Defaults are those of `Limits::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the start line without its CRLF; 16 KiB. RFC 9112 §3 asks for 8,000 at least, and
    /// a longer one is 414.
    pub request_line_bytes_max: usize,
    /// Bytes of one whole head, from the first of the start line to the last of the empty line;
    /// 64 KiB. It is also the most that a reader buffers.
    pub head_bytes_max: usize,
    /// Field lines in one head; 100, as hyper and Envoy have. At most 256 are ever taken.
    pub field_count_max: usize,
    /// Bytes of one field line without its CRLF; 16 KiB: a large cookie or token fits.
    pub field_bytes_max: usize,
    /// Bytes of a method; 32. RFC 9110 names none longer than 16. At most 32 are ever taken.
    pub method_bytes_max: usize,
    /// Bytes of one trailer section with its empty line; 16 KiB.
    pub trailer_bytes_max: usize,
    /// Field lines in one trailer section; 32.
    pub trailer_count_max: usize,
    /// Bytes of chunk extensions in one body; 16 KiB. Nobody reads them.
    pub chunk_extension_bytes_max: usize,
    /// Bytes of chunk extensions that are free; beyond them extensions may be at most half of the
    /// body's bytes (CVE-2023-39326). 256: a stray one on a tiny chunk must be ignored, RFC 9112
    /// §7.1.1.
    pub chunk_extension_bytes_free: usize,
    /// Hexadecimal digits of a chunk size; 16, which is 64 bits.
    pub chunk_size_digits_max: usize,
    /// Interim responses before one final response; 8.
    pub interim_count_max: usize,
    /// What to do with a `_` in a request's field name.
    pub underscore: Underscore,
}

impl Limits {
    /// The defaults, usable in constants.
    pub const DEFAULT: Self = Self {
        request_line_bytes_max: 16 * 1024,
        head_bytes_max: 64 * 1024,
        field_count_max: 100,
        field_bytes_max: 16 * 1024,
        method_bytes_max: METHOD_BYTES_CEILING,
        trailer_bytes_max: 16 * 1024,
        trailer_count_max: 32,
        chunk_extension_bytes_max: 16 * 1024,
        chunk_extension_bytes_free: 256,
        chunk_size_digits_max: 16,
        interim_count_max: 8,
        underscore: Underscore::Reserved,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = assert!(Limits::DEFAULT.request_line_bytes_max >= 8_000);
const _: () = assert!(Limits::DEFAULT.request_line_bytes_max < Limits::DEFAULT.head_bytes_max);
const _: () = assert!(Limits::DEFAULT.field_bytes_max < Limits::DEFAULT.head_bytes_max);
const _: () = assert!(Limits::DEFAULT.field_count_max <= FIELD_COUNT_CEILING);
const _: () = assert!(Limits::DEFAULT.trailer_count_max <= FIELD_COUNT_CEILING);
const _: () = assert!(Limits::DEFAULT.chunk_size_digits_max <= 16);
const _: () = assert!(PROXY_V1_BYTES_MAX < PROXY_V2_BYTES_MAX);
