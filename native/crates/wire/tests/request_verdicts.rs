//! One row for every rule about a request's bytes: what comes in, which clause, what we say.
//!
//! Each row is read whole and byte by byte. `Ok` rows must end in a complete message.

use wire::fuzzing::{Cuts, Seen, read_requests};
use wire::{Code, Limits};

type Verdict = Result<(), Code>;
type Row = (&'static str, &'static [u8], Verdict);

const OK: Verdict = Ok(());
const BAD: Verdict = Err(Code::BadRequest);
const NOT_IMPLEMENTED: Verdict = Err(Code::NotImplemented);
const NOT_ALLOWED: Verdict = Err(Code::MethodNotAllowed);
const VERSION: Verdict = Err(Code::VersionNotSupported);
const EXPECTATION: Verdict = Err(Code::ExpectationFailed);

#[rustfmt::skip]
const LINES: &[Row] = &[
    ("RFC 9112 §2.2 plain", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §2.2 bare LF, request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.2 bare LF, field", b"GET / HTTP/1.1\r\nHost: a\n\r\n", BAD),
    ("RFC 9112 §2.2 bare LF, empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", BAD),
    ("RFC 9112 §2.2 bare CR, request line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.2 CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.2 bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", BAD),
    ("RFC 9112 §2.2 CR ends a field", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", BAD),
    ("RFC 9110 §5.5 NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", BAD),
    ("RFC 9110 §5.5 VT in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", BAD),
    ("RFC 9110 §5.5 ESC in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n", BAD),
    ("RFC 9110 §5.5 DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", BAD),
    ("RFC 9110 §5.5 HTAB in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n", OK),
    ("RFC 9110 §5.5 obs-text in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n", OK),
    ("RFC 9110 §5.5 empty value", b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", OK),
    ("RFC 9112 §2.2 one empty line first", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §2.2 two empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.2 bare LF first", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.2 bare CR first", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.2 TLS on a plain port", b"\x16\x03\x01", BAD),
    ("RFC 9112 §2.2 SP before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD),
    ("RFC 9112 §2.2 HTAB before the first field", b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", BAD),
    ("RFC 9112 §5.2 obs-fold SP", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", BAD),
    ("RFC 9112 §5.2 obs-fold HTAB", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", BAD),
    ("RFC 9112 §5.2 obs-fold, empty", b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", BAD),
    ("RFC 9112 §5.1 SP before colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", BAD),
    ("RFC 9112 §5.1 HTAB before colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", BAD),
    ("RFC 9110 §5.1 empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", BAD),
    ("RFC 9110 §5.1 no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", BAD),
    ("RFC 9110 §5.1 SP in name", b"GET / HTTP/1.1\r\nHost: a\r\nX Y: a\r\n\r\n", BAD),
    ("RFC 9110 §5.1 no token", b"GET / HTTP/1.1\r\nHost: a\r\nX(Y): a\r\n\r\n", BAD),
    ("RFC 9110 §5.1 NUL in name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n", BAD),
    ("RFC 9110 §5.1 0x80 in name", b"GET / HTTP/1.1\r\nHost: a\r\nX\x80: a\r\n\r\n", BAD),
    ("RFC 9110 §5.1 0xff in name", b"GET / HTTP/1.1\r\nHost: a\r\n\xff: a\r\n\r\n", BAD),
    ("underscore, harmless", b"GET / HTTP/1.1\r\nHost: a\r\nmy_field: a\r\n\r\n", OK),
    ("underscore, reserved", b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\n\r\n", BAD),
    ("underscore, identity", b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded_For: b\r\n\r\n", BAD),
    ("underscore, identity by prefix",
        b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_Q: b\r\n\r\n", BAD),
];

#[rustfmt::skip]
const REQUEST_LINES: &[Row] = &[
    ("RFC 9112 §3 HTAB", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3 HTAB before the version", b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3 two spaces first", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3 two spaces second", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3 trailing space", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3 leading space", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3 no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3 empty target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 no version", b"GET /\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 01.1", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 no minor", b"GET / HTTP/1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 letters", b"GET / HTTP/x.y\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 other protocol", b"GET / ICY/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §2.3 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", VERSION),
    ("RFC 9112 §2.3 1.9", b"GET / HTTP/1.9\r\nHost: a\r\n\r\n", VERSION),
    ("RFC 9112 §2.3 2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", VERSION),
    ("RFC 9113 §3.4 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION),
    ("RFC 9112 §2.3 3.0", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", VERSION),
    ("RFC 9110 §9.1 method no token", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9110 §9.1 method of 32",
        b"MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9110 §9.1 method of 33",
        b"MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\nHost: a\r\n\r\n", NOT_IMPLEMENTED),
    ("RFC 9110 §9 unknown method", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9110 §9.3.6 CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", NOT_ALLOWED),
    ("RFC 9110 §9.3.8 TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", NOT_ALLOWED),
    ("RFC 9112 §3.2.2 absolute-form", b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §3.2.2 absolute-form, case", b"GET HTTPS://A/x HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §3.2.2 absolute-form, no path", b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §3.2.2 other scheme", b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3.2.2 mismatch", b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3.2.2 mismatch, port", b"GET http://a:81/x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3.2.2 no Host", b"GET http://a/x HTTP/1.1\r\n\r\n", BAD),
    ("RFC 9110 §4.2.4 userinfo", b"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9110 §4.2.1 empty host", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3.2.4 OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §3.2.4 OPTIONS http://a", b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §3.2.4 GET *", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3.2.3 authority-form", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", BAD),
    ("RFC 9112 §3.2.1 no slash", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 §3.5 fragment", b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 CTL", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 DEL", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 0x80", b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 quote", b"GET /\" HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 <", b"GET /< HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 >", b"GET /> HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 backslash", b"GET /\\ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 caret", b"GET /^ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 backtick", b"GET /` HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 {", b"GET /{ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 |", b"GET /| HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("RFC 3986 } in the query", b"GET /?} HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("path %00", b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("path %0d", b"GET /%0d HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("path %0a", b"GET /%0A HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("path overlong", b"GET /%c0%ae HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("path bad %", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("path %5c", b"GET /%5c HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("path %2f", b"GET /v1/models/org%2Fname HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("path dots", b"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", OK),
];

#[rustfmt::skip]
const HOSTS: &[Row] = &[
    ("RFC 9112 §3.2 none", b"GET / HTTP/1.1\r\n\r\n", BAD),
    ("RFC 9112 §3.2 none, 1.0", b"GET / HTTP/1.0\r\n\r\n", OK),
    ("RFC 9112 §3.2 two equal", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BAD),
    ("RFC 9112 §3.2 two equal, 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", BAD),
    ("RFC 9112 §3.2 two different", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD),
    ("RFC 9112 §3.2 list", b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", BAD),
    ("RFC 9112 §3.2 path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD),
    ("RFC 9112 §3.2 userinfo", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BAD),
    ("RFC 9112 §3.2 empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", BAD),
    ("RFC 9112 §3.2 empty, 1.0", b"GET / HTTP/1.0\r\nHost: \r\n\r\n", BAD),
    ("RFC 9112 §3.2 port no number", b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", BAD),
    ("RFC 9112 §3.2 port too high", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", BAD),
    ("RFC 9112 §3.2 port", b"GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", OK),
    ("RFC 9112 §3.2 IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", OK),
];

#[rustfmt::skip]
const FRAMING: &[Row] = &[
    ("RFC 9110 §8.6 plain", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", OK),
    ("RFC 9110 §8.6 zero", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", OK),
    ("RFC 9110 §8.6 empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", BAD),
    ("RFC 9110 §8.6 +5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", BAD),
    ("RFC 9110 §8.6 -0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n", BAD),
    ("RFC 9110 §8.6 0x5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", BAD),
    ("RFC 9110 §8.6 1_0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", BAD),
    ("RFC 9110 §8.6 5.0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n", BAD),
    ("RFC 9110 §8.6 5e0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5e0\r\n\r\n", BAD),
    ("RFC 9110 §8.6 inner space",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 0\r\n\r\n", BAD),
    ("RFC 9110 §8.6 leading zero",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\n", BAD),
    ("RFC 9110 §8.6 2^63", b"POST / HTTP/1.1\r\nHost: a\r\n\
        Content-Length: 9223372036854775808\r\n\r\n", BAD),
    ("RFC 9110 §8.6 list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", BAD),
    ("RFC 9112 §6.3 two equal", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\
        Content-Length: 2\r\n\r\nhi", BAD),
    ("RFC 9112 §6.3 two different", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\
        Content-Length: 3\r\n\r\nhi", BAD),
    ("RFC 9112 §6.1 CL and TE", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §6.1 TE and CL", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
        Content-Length: 5\r\n\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §6.1 TE in 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\n", BAD),
    ("RFC 9112 §7 chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\n", OK),
    ("RFC 9112 §7 Chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
        0\r\n\r\n", OK),
    ("RFC 9112 §7 CHUNKED",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", BAD),
    ("RFC 9112 §6.3 xchunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", BAD),
    ("RFC 9112 §6.1 chunked twice", b"POST / HTTP/1.1\r\nHost: a\r\n\
        Transfer-Encoding: chunked, chunked\r\n\r\n", BAD),
    ("RFC 9112 §6.1 gzip, chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
        ", NOT_IMPLEMENTED),
    ("RFC 9112 §6.3 gzip", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", BAD),
    ("RFC 9112 §6.3 chunked, gzip",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n\
        ", BAD),
    ("RFC 9112 §7 ,chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", BAD),
    ("RFC 9112 §7 chunked;a=b",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n", BAD),
    ("RFC 9112 §7 identity",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", BAD),
    ("RFC 9112 §7 VT",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", BAD),
    ("RFC 9112 §7 FF",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n", BAD),
    ("RFC 9112 §7 NUL", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n", BAD),
    ("RFC 9112 §7 empty", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", BAD),
    ("RFC 9112 §6.1 two TE lines", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
        Transfer-Encoding: chunked\r\n\r\n", BAD),
    ("RFC 9112 §6.1 folded TE",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", BAD),
    ("RFC 9110 §9.3.1 GET with a body",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", OK),
    ("RFC 9110 §9.3.5 DELETE, chunked",
        b"DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        1\r\na\r\n0\r\n\r\n", OK),
];

#[rustfmt::skip]
const SEMANTICS: &[Row] = &[
    ("RFC 9110 §10.1.1 exact", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
        Expect: 100-continue\r\n\r\nx", OK),
    ("RFC 9110 §10.1.1 case", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
        Expect: 100-Continue \r\n\r\nx", EXPECTATION),
    ("RFC 9110 §10.1.1 other", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
        Expect: cake\r\n\r\nx", EXPECTATION),
    ("RFC 9110 §10.1.1 list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
        Expect: 100-continue, 100-continue\r\n\r\nx", EXPECTATION),
    ("RFC 9110 §10.1.1 twice", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
        Expect: 100-continue\r\nExpect: 100-continue\r\n\r\nx", EXPECTATION),
    ("RFC 9110 §10.1.1 empty", b"POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", EXPECTATION),
    ("RFC 9110 §10.1.1 1.0 ignores", b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\
        Expect: cake\r\n\r\nx", OK),
    ("RFC 9110 §7.6.1 plain", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Y\r\n\r\n", OK),
    ("RFC 9110 §7.6.1 lists Host", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", BAD),
    ("RFC 9110 §7.6.1 lists Content-Length",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, content-length\r\n\r\n\
        ", BAD),
    ("RFC 9110 §7.6.1 lists Content-X",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Content-X\r\n\r\n", BAD),
    ("RFC 9110 §7.6.1 lists Authorization",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: authorization\r\n\r\n", BAD),
    ("RFC 9110 §7.6.1 lists Cookie",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Cookie\r\n\r\n", BAD),
    ("RFC 9110 §7.6.1 lists X-Forwarded-For", b"GET / HTTP/1.1\r\nHost: a\r\n\
        Connection: close, X-Forwarded-For\r\n\r\n", BAD),
    ("RFC 9110 §7.6.1 lists a pseudo-field",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: :path\r\n\r\n", BAD),
    ("RFC 9110 §7.6.1 lists an identity",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Request-Id\r\n\r\n", BAD),
    ("RFC 9110 §7.8 h2c is ignored",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", OK),
    ("RFC 9112 §9.3.2 pipelined",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", OK),
    ("RFC 9112 §9.3.2 one empty line between",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /b HTTP/1.1\r\n\
        Host: a\r\n\r\n", OK),
    ("RFC 9112 §9.3.2 bad second",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n", BAD),
];

const CHUNKED_HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Behind `CHUNKED_HEAD`.
#[rustfmt::skip]
const CHUNKS: &[Row] = &[
    ("RFC 9112 §7.1 plain", b"5\r\nhello\r\n0\r\n\r\n", OK),
    ("RFC 9112 §7.1 upper, lower, zeros",
        b"A\r\n0123456789\r\n00a\r\n0123456789\r\n000\r\n\r\n", OK),
    ("RFC 9112 §2.2 bare LF, size", b"5\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §2.2 bare LF, data", b"5\r\nhello\n0\r\n\r\n", BAD),
    ("RFC 9112 §2.2 bare LF, last", b"5\r\nhello\r\n0\n\r\n", BAD),
    ("RFC 9112 §2.2 bare LF, trailers", b"0\r\nx: y\n\r\n", BAD),
    ("RFC 9112 §2.2 bare LF, end", b"0\r\n\n", BAD),
    ("RFC 9112 §7.1 empty size", b"\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 sign", b"+5\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 minus", b"-5\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 0x", b"0x5\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 _", b"1_0\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 leading space", b" 5\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 trailing space", b"5 \r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 trailing tab", b"5\t\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 16 digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n", OK),
    ("RFC 9112 §7.1 17 digits", b"00000000000000005\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 63 bits", b"8000000000000000\r\n", BAD),
    ("RFC 9112 §7.1 no letter", b"5g\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 token", b"5;a\r\nhello\r\n0\r\n\r\n", OK),
    ("RFC 9112 §7.1.1 token=token", b"5;a=b;c=d\r\nhello\r\n0;e\r\n\r\n", OK),
    ("RFC 9112 §7.1.1 quoted", b"5;a=\"b;\\\" c\"\r\nhello\r\n0\r\n\r\n", OK),
    ("RFC 9112 §7.1.1 ; alone", b"5;\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 = alone", b"5;=\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 no value", b"5;a=\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 BWS", b"5 ;a\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 BWS inside", b"5;a = b\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 bare LF", b"5;a\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 CTL", b"5;a=\"\x01\"\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 CR in quotes", b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1.1 behind quotes", b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 data too long", b"5\r\nhello!\r\n0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 no CRLF", b"5\r\nhello0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 CR X", b"5\r\nhello\rX0\r\n\r\n", BAD),
    ("RFC 9112 §7.1 size CR X", b"5\rXhello\r\n0\r\n\r\n", BAD),
    ("RFC 9110 §6.5 trailer", b"0\r\ngrpc-status: 0\r\n\r\n", OK),
    ("RFC 9110 §6.5 unknown trailer", b"0\r\nx-any: 0\r\n\r\n", OK),
    ("RFC 9110 §6.5.1 framing", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
    ("RFC 9110 §6.5.1 length", b"0\r\nContent-Length: 1\r\n\r\n", BAD),
    ("RFC 9110 §6.5.1 content", b"0\r\nContent-Anything: 1\r\n\r\n", BAD),
    ("RFC 9110 §6.5.1 host", b"0\r\nHost: b\r\n\r\n", BAD),
    ("RFC 9110 §6.5.1 authorization", b"0\r\nAuthorization: x\r\n\r\n", BAD),
    ("RFC 9110 §6.5.1 cookie", b"0\r\nCookie: x\r\n\r\n", BAD),
    ("RFC 9110 §6.5.1 identity", b"0\r\nX-Forwarded-For: x\r\n\r\n", BAD),
    ("RFC 9112 §5.2 folded trailer", b"0\r\nx: y\r\n z\r\n\r\n", BAD),
    ("RFC 9112 §5.1 malformed trailer", b"0\r\nx y\r\n\r\n", BAD),
    ("underscore in a trailer", b"0\r\ngrpc_status: 0\r\n\r\n", BAD),
];

fn verdict(limits: Limits, bytes: &[u8]) -> Verdict {
    let whole = read_requests(limits, [bytes]);
    let mut rest = bytes;
    let mut cuts = Cuts::new(0);
    let split = read_requests(limits, std::iter::from_fn(|| cuts.piece(&mut rest)));
    assert_eq!(whole, split, "{}", bytes.escape_ascii());
    match whole.last() {
        Some(Seen::Refused(violation)) => Err(violation.code),
        Some(Seen::End) => Ok(()),
        other => panic!("incomplete: {other:?} from {}", bytes.escape_ascii()),
    }
}

#[test]
fn every_row_gets_its_verdict() {
    for table in [LINES, REQUEST_LINES, HOSTS, FRAMING, SEMANTICS] {
        for (name, bytes, expected) in table {
            assert_eq!(verdict(Limits::DEFAULT, bytes), *expected, "{name}");
        }
    }
    for (name, bytes, expected) in CHUNKS {
        let bytes = [CHUNKED_HEAD, bytes].concat();
        assert_eq!(verdict(Limits::DEFAULT, &bytes), *expected, "{name}");
    }
}

/// Nothing behind a refused request is read, whatever it is.
#[test]
fn a_refusal_ends_the_connection() {
    let good: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, bytes, expected) in LINES.iter().chain(REQUEST_LINES).chain(HOSTS) {
        if expected.is_err() {
            let seen = read_requests(Limits::DEFAULT, [[good, bytes, good].concat().as_slice()]);
            let heads = seen
                .iter()
                .filter(|one| matches!(one, Seen::Request(_)))
                .count();
            assert_eq!(heads, 1, "{name}");
        }
    }
}

fn request(line: &str, fields: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[test]
fn sizes_at_the_limit_and_one_beyond() {
    const URI: Verdict = Err(Code::UriTooLong);
    const FIELDS: Verdict = Err(Code::FieldsTooLarge);
    let limits = Limits::DEFAULT;
    let line = |len: usize| format!("GET /{} HTTP/1.1", "x".repeat(len - 14));
    let max = limits.request_line_bytes_max;
    assert_eq!(
        verdict(limits, &request(&line(8_000), "")),
        OK,
        "RFC 9112 §3: at least 8,000"
    );
    assert_eq!(verdict(limits, &request(&line(max), "")), OK);
    assert_eq!(verdict(limits, &request(&line(max + 1), "")), URI);

    let field = |len: usize| format!("X: {}\r\n", "x".repeat(len - 3));
    let max = limits.field_bytes_max;
    assert_eq!(verdict(limits, &request("GET / HTTP/1.1", &field(max))), OK);
    assert_eq!(
        verdict(limits, &request("GET / HTTP/1.1", &field(max + 1))),
        FIELDS
    );

    let count = |count: usize| "x: y\r\n".repeat(count - 1);
    let max = limits.field_count_max;
    assert_eq!(verdict(limits, &request("GET / HTTP/1.1", &count(max))), OK);
    assert_eq!(
        verdict(limits, &request("GET / HTTP/1.1", &count(max + 1))),
        FIELDS
    );

    let head = |len: usize| {
        let fields = field(16_000).repeat(3) + &field(8_000);
        let rest = len - request("GET / HTTP/1.1", &fields).len() - 2;
        request("GET / HTTP/1.1", &(fields + &field(rest)))
    };
    let max = limits.head_bytes_max;
    assert_eq!(head(max).len(), max);
    assert_eq!(verdict(limits, &head(max)), OK);
    assert_eq!(verdict(limits, &head(max + 1)), FIELDS);
}

#[test]
fn chunked_sizes_at_the_limit_and_one_beyond() {
    let limits = Limits::DEFAULT;
    let body = |text: String| verdict(limits, &[CHUNKED_HEAD, text.as_bytes()].concat());
    let trailers = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert_eq!(body(trailers(limits.trailer_count_max)), OK);
    assert_eq!(
        body(trailers(limits.trailer_count_max + 1)),
        Err(Code::FieldsTooLarge)
    );
    let trailer = |len: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(len - 7));
    assert_eq!(body(trailer(limits.trailer_bytes_max)), OK);
    assert_eq!(
        body(trailer(limits.trailer_bytes_max + 1)),
        Err(Code::FieldsTooLarge)
    );

    let chunk = |extension: usize, data: usize| {
        let name = "e".repeat(extension - 1);
        format!("{data:x};{name}\r\n{}\r\n0\r\n\r\n", "d".repeat(data))
    };
    let max = limits.chunk_extension_bytes_max;
    assert_eq!(body(chunk(max, 4 * max)), OK);
    assert_eq!(body(chunk(max + 1, 4 * max)), BAD);
    let free = limits.chunk_extension_bytes_free;
    assert_eq!(body(chunk(free, 1)), OK, "a stray extension is ignored");
    assert_eq!(body(chunk(free + 1, 1)), BAD);
    assert_eq!(body(chunk(1_000, 2_000)), OK, "half of the body");
    assert_eq!(body(chunk(1_001, 2_000)), BAD);
}

#[test]
fn underscores_by_configuration() {
    use wire::Underscore;
    for (underscore, plain, reserved) in [
        (Underscore::Reserved, OK, BAD),
        (Underscore::Reject, BAD, BAD),
        (Underscore::Allow, OK, OK),
    ] {
        let limits = Limits {
            underscore,
            ..Limits::DEFAULT
        };
        assert_eq!(
            verdict(limits, &request("GET / HTTP/1.1", "a_b: c\r\n")),
            plain
        );
        assert_eq!(
            verdict(limits, &request("GET / HTTP/1.1", "content_type: c\r\n")),
            reserved
        );
    }
}
