//! One row for every rule about heads and trailers: what comes in, which clause, what we say.

mod h2_script;

use h2_script::*;
use wire::fuzzing::h2::{Seen, read};
use wire::h2::{Cause, Config, Connection, ErrorCode, Role};
use wire::{Body, Code, Limits, Method, Name, Version};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Malformed,
    Refused(Code),
}

use Verdict::{Good, Malformed, Refused};

const BAD: Verdict = Refused(Code::BadRequest);
const TOO_LARGE: Verdict = Refused(Code::FieldsTooLarge);

fn silent(_: &mut Connection, _: &Seen, _: &mut Vec<u8>) {}

/// Sends one head and gives what was said of it.
fn send(config: &Config, flags: u8, block: &[u8]) -> (Seen, Vec<u8>) {
    let script = [client_start(), long_headers(1, flags, block)].concat();
    let (mut seen, out, _) = run(Role::Server, config, &script, silent);
    (seen.pop().expect("an event"), out)
}

fn verdict(config: &Config, flags: u8, block: &[u8]) -> Verdict {
    let (seen, out) = send(config, flags, block);
    match seen {
        Seen::Request(1, head, end) => {
            assert_eq!((head.version, head.keep_alive), (Version::Http2, true));
            assert_eq!((resets(&out), end), (vec![], flags & END != 0));
            Good
        }
        Seen::Bad(1, violation, true) => {
            assert_eq!(resets(&out), [(1, 1)]);
            assert_eq!(violation.code, Code::BadRequest);
            Malformed
        }
        Seen::Bad(1, violation, false) => {
            assert_eq!(resets(&out), []);
            Refused(violation.code)
        }
        other => panic!("{other:?}"),
    }
}

type Row = (&'static str, Fields<'static>, Verdict);

#[test]
#[rustfmt::skip]
fn pseudo_header_fields() {
    const M: (&str, &str) = (":method", "GET");
    const S: (&str, &str) = (":scheme", "https");
    const A: (&str, &str) = (":authority", "a");
    const P: (&str, &str) = (":path", "/");
    const CONNECT: (&str, &str) = (":method", "CONNECT");
    const WEBSOCKET: (&str, &str) = (":protocol", "websocket");
    let rows: &[Row] = &[
        ("§8.3.1 all", &[M, S, A, P], Good),
        ("§8.3.1 any order", &[P, A, S, M], Good),
        ("§8.3.1 no :method", &[S, A, P], Malformed),
        ("§8.3.1 no :scheme", &[M, A, P], Malformed),
        ("§8.3.1 no :path", &[M, S, A], Malformed),
        ("§8.3.1 nothing", &[], Malformed),
        ("§8.3.1 :method twice", &[M, M, S, A, P], Malformed),
        ("§8.3.1 :scheme twice", &[M, S, S, A, P], Malformed),
        ("§8.3.1 :authority twice", &[M, S, A, A, P], Malformed),
        ("§8.3.1 :path twice", &[M, S, A, P, P], Malformed),
        ("§8.3 unknown", &[M, S, A, P, (":x", "y")], Malformed),
        ("§8.3 of a response", &[M, S, A, P, (":status", "200")], Malformed),
        ("§8.3 behind a field", &[M, S, A, ("x", "y"), P], Malformed),
        ("§8.3.1 :path empty", &[M, S, A, (":path", "")], Malformed),
        ("§8.3.1 :path without /", &[M, S, A, (":path", "x")], Malformed),
        ("§8.3.1 :path absolute", &[M, S, A, (":path", "http://a/")], Malformed),
        ("§8.3.1 :path *", &[M, S, A, (":path", "*")], Malformed),
        ("§8.3.1 OPTIONS *", &[(":method", "OPTIONS"), S, A, (":path", "*")], Good),
        ("§8.3.1 :path with SP", &[M, S, A, (":path", "/a b")], Malformed),
        ("§8.3.1 :path with #", &[M, S, A, (":path", "/#a")], Malformed),
        ("§8.3.1 :path with NUL", &[M, S, A, (":path", "/\0")], Malformed),
        ("path %00", &[M, S, A, (":path", "/%00")], BAD),
        ("path %2e%2e%2f", &[M, S, A, (":path", "/a/..%2fb")], BAD),
        ("§8.3.1 :scheme ftp", &[M, (":scheme", "ftp"), A, P], Malformed),
        ("§8.3.1 :scheme empty", &[M, (":scheme", ""), A, P], Malformed),
        ("§8.3.1 :method empty", &[(":method", ""), S, A, P], Malformed),
        ("§8.3.1 :method no token", &[(":method", "G T"), S, A, P], Malformed),
        ("§9.1 :method unknown", &[(":method", "BREW"), S, A, P], Good),
        ("§9 :method long", &[(":method", "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM"), S, A, P],
            Refused(Code::NotImplemented)),
        ("9110 §9.3.8 TRACE", &[(":method", "TRACE"), S, A, P], Refused(Code::MethodNotAllowed)),
        ("§8.5 CONNECT", &[CONNECT, A], Refused(Code::MethodNotAllowed)),
        ("§8.5 CONNECT with a path", &[CONNECT, S, A, P], Malformed),
        ("§8.5 CONNECT to nobody", &[CONNECT], Malformed),
        ("§8.3.1 :authority with userinfo", &[M, S, (":authority", "u@a"), P], Malformed),
        ("§8.3.1 :authority empty", &[M, S, (":authority", ""), P], Malformed),
        ("§8.3.1 :authority with a path", &[M, S, (":authority", "a/b"), P], BAD),
        ("§8.3.1 Host alone", &[M, S, P, ("host", "a:80")], Good),
        ("§8.3.1 Host, the same", &[M, S, A, P, ("host", "A")], Good),
        ("§8.3.1 Host, another", &[M, S, A, P, ("host", "b")], BAD),
        ("9112 §3.2 Host twice", &[M, S, P, ("host", "a"), ("host", "a")], BAD),
        ("9112 §3.2 Host that is none", &[M, S, P, ("host", "a,b")], BAD),
        ("9110 §7.2 nobody", &[M, S, P], BAD),
        ("8441 §4 websocket, ended", &[CONNECT, WEBSOCKET, S, A, P,
            ("sec-websocket-version", "13")], Malformed),
        ("8441 §4 :protocol without CONNECT", &[M, WEBSOCKET, S, A, P], Malformed),
        ("8441 §4 :protocol, no path", &[CONNECT, WEBSOCKET, S, A], Malformed),
        ("8441 §4 :protocol, no authority", &[CONNECT, WEBSOCKET, S, P, ("host", "a")], Malformed),
        ("8441 §4 :protocol unknown", &[CONNECT, (":protocol", "connect-udp"), S, A, P],
            Refused(Code::NotImplemented)),
    ];
    for (name, fields, expected) in rows {
        assert_eq!(verdict(&Config::DEFAULT, END, &block(fields)), *expected, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn fields() {
    let rows: &[Row] = &[
        ("§8.2.1 plain", &[("x-a", "b"), ("accept", "*/*"), ("x-a", "")], Good),
        ("§8.2.1 upper case", &[("X-a", "b")], Malformed),
        ("§8.2.1 upper case, known", &[("Accept", "b")], Malformed),
        ("§8.2.1 empty name", &[("", "b")], Malformed),
        ("§8.2.1 SP in name", &[("a b", "b")], Malformed),
        ("§8.2.1 colon in name", &[("a:b", "b")], Malformed),
        ("§8.2.1 NUL in name", &[("a\0", "b")], Malformed),
        ("§8.2.1 DEL in name", &[("a\x7f", "b")], Malformed),
        ("§8.2.1 above 0x7f in name", &[("\u{e9}", "b")], Malformed),
        ("9110 §5.1 no token", &[("a(b", "b")], Malformed),
        ("§8.2.1 NUL in value", &[("a", "b\0c")], Malformed),
        ("§8.2.1 CR in value", &[("a", "b\rc")], Malformed),
        ("§8.2.1 LF in value", &[("a", "b\nx: y")], Malformed),
        ("§8.2.1 SP before value", &[("a", " b")], Malformed),
        ("§8.2.1 HTAB behind value", &[("a", "b\t")], Malformed),
        ("9110 §5.5 control in value", &[("a", "b\x01c")], Malformed),
        ("9110 §5.5 obs-text", &[("a", "\u{e9}")], Good),
        ("§8.2.2 Connection", &[("connection", "close")], Malformed),
        ("§8.2.2 Keep-Alive", &[("keep-alive", "5")], Malformed),
        ("§8.2.2 Proxy-Connection", &[("proxy-connection", "close")], Malformed),
        ("§8.2.2 Transfer-Encoding", &[("transfer-encoding", "chunked")], Malformed),
        ("§8.2.2 Upgrade", &[("upgrade", "websocket")], Malformed),
        ("§8.2.2 TE trailers", &[("te", "trailers")], Good),
        ("§8.2.2 TE other", &[("te", "trailers, gzip")], Malformed),
        ("§8.1.1 content-length 0", &[("content-length", "0")], Good),
        ("§8.1.1 content-length without content", &[("content-length", "1")], Malformed),
        ("§8.1.1 content-length twice", &[("content-length", "0"), ("content-length", "0")],
            Malformed),
        ("9110 §8.6 content-length no number", &[("content-length", "+0")], Malformed),
        ("9110 §10.1.1 expectation", &[("expect", "100-continue")], Good),
        ("9110 §10.1.1 another", &[("expect", "100-Continue")],
            Refused(Code::ExpectationFailed)),
        ("9110 §10.1.1 twice", &[("expect", "100-continue"), ("expect", "100-continue")],
            Refused(Code::ExpectationFailed)),
        ("underscore, harmless", &[("a_b", "c")], Good),
        ("underscore, reserved", &[("content_length", "1")], BAD),
        ("malformed wins over refused", &[("expect", "x"), ("X", "y")], Malformed),
    ];
    for (name, fields, expected) in rows {
        let block = [block(GET), block(fields)].concat();
        assert_eq!(verdict(&Config::DEFAULT, END, &block), *expected, "{name}");
    }
}

#[test]
fn sizes() {
    let many = |count: usize, name: &str| {
        let name = name.to_owned();
        let fields = vec![(name.as_str(), "v"); count];
        [block(GET), block(&fields)].concat()
    };
    let long = |len: usize| [block(GET), block(&[("x", &"v".repeat(len))])].concat();
    let path = |len: usize| {
        let path = format!("/{}", "x".repeat(len - 1));
        let fields = [GET[0], GET[1], GET[2], (":path", path.as_str())];
        block(&fields)
    };
    let default = Config::DEFAULT;
    let small = Config {
        header_list_bytes_max: 400,
        ..default
    };
    let uri = Refused(Code::UriTooLong);
    // GET costs 4 * 32 and 28 + 12 bytes: 186 in all with its path and authority.
    for (config, block, expected) in [
        (default, many(100, "x"), Good),
        (default, many(101, "x"), TOO_LARGE),
        (default, many(100, "cookie"), Good),
        (default, many(101, "cookie"), TOO_LARGE),
        (
            default,
            [many(100, "x"), block(&[("cookie", "a")])].concat(),
            Good,
        ),
        (default, long(16_000), Good),
        (default, long(16_382), TOO_LARGE),
        (default, path(16_000), Good),
        (small, long(100), Good),
        (small, long(300), TOO_LARGE),
        (small, many(6, "x"), Good),
        (small, many(9, "x"), TOO_LARGE),
        (
            Config {
                limits: Limits {
                    request_line_bytes_max: 20,
                    ..Limits::DEFAULT
                },
                ..default
            },
            path(21),
            uri,
        ),
    ] {
        assert_eq!(verdict(&config, END, &block), expected);
    }
}

#[test]
fn a_request_is_what_http_1_would_have_read() {
    let fields: Fields<'_> = &[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "Example.com:8443"),
        (":path", "/a/./b%2Fc?d=e"),
        ("cookie", "a=b"),
        ("x-other", "1"),
        ("cookie", "c=d"),
        ("content-length", "5"),
        ("expect", "100-continue"),
        ("te", "trailers"),
    ];
    let (seen, _) = send(&Config::DEFAULT, 0, &block(fields));
    let Seen::Request(1, head, false) = seen else {
        panic!("{seen:?}");
    };
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.authority(), b"Example.com:8443");
    assert_eq!(
        (head.path(), head.query()),
        (&b"/a/b%2Fc"[..], Some(&b"d=e"[..]))
    );
    assert_eq!(head.body, Body::Length(5));
    assert!(head.expect_continue && !head.websocket);
    assert_eq!(head.fields.find(Name::Cookie), Some(&b"a=b; c=d"[..]));
    assert_eq!(head.fields.count(Name::Cookie), 1);
    assert!(wire::hop::accepts_trailers(&head.fields));
    let body = |flags, fields| match send(&Config::DEFAULT, flags, &block(fields)).0 {
        Seen::Request(_, head, _) => head.body,
        other => panic!("{other:?}"),
    };
    assert_eq!(body(0, POST), Body::Chunked);
    assert_eq!(body(END, POST), Body::None);
}

#[test]
fn extended_connect_is_a_websocket_and_a_tunnel() {
    let fields = |version| {
        block(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":authority", "a"),
            (":path", "/chat"),
            ("sec-websocket-version", version),
            ("sec-websocket-protocol", "x"),
        ])
    };
    let (seen, _) = send(&Config::DEFAULT, 0, &fields("13"));
    let Seen::Request(1, head, false) = seen else {
        panic!("{seen:?}");
    };
    assert_eq!((head.method, head.body), (Method::Get, Body::None));
    assert!(head.websocket && head.path() == b"/chat");
    assert_eq!(verdict(&Config::DEFAULT, 0, &fields("8")), BAD);
    let without = Config {
        connect_protocol: false,
        ..Config::DEFAULT
    };
    assert_eq!(verdict(&without, 0, &fields("13")), Malformed);
    // A tunnel has data both ways, and no trailers.
    let script = [
        client_start(),
        frame(HEADERS, WHOLE, 1, &fields("13")),
        data(1, 0, b"frames"),
        headers(1, END, &[("a", "b")]),
    ]
    .concat();
    let (seen, out, _) = run(Role::Server, &Config::DEFAULT, &script, silent);
    assert!(matches!(&seen[2], Seen::Data(1, bytes, 6, false) if bytes == b"frames"));
    assert_eq!(resets(&out), [(1, 1)]);
}

/// A client that asked with `method` on stream 1, and what it says of the server's frames.
fn ask(method: &[u8], frames: &[Vec<u8>]) -> (Vec<Seen>, Vec<u8>) {
    let mut out = Vec::new();
    let mut client = Connection::new(Role::Client, &Config::DEFAULT, &mut out);
    let id = client.open().expect("a stream");
    let mut head = client.head(id, &mut out);
    head.request(method, b"http", b"a", b"/", None);
    head.finish(true);
    out.clear();
    let script = [server_start(), frames.concat()].concat();
    let seen = read(&mut client, &mut out, [script.as_slice()], silent);
    (seen, out)
}

#[test]
#[rustfmt::skip]
fn responses() {
    const OK: Fields<'_> = &[(":status", "200")];
    const LENGTH: Fields<'_> = &[(":status", "200"), ("content-length", "3")];
    let h = |flags, fields| headers(1, flags, fields);
    let abc = || data(1, END, b"abc");
    let interim = || h(0, &[(":status", "103")]);
    for (name, method, frames, good) in [
        ("§8.1 head and data", "GET", vec![h(0, OK), abc()], true),
        ("§8.1 head alone", "GET", vec![h(END, OK)], true),
        ("§8.1 interim", "GET", vec![interim(), interim(), h(END, OK)], true),
        ("§8.1 interim that ends", "GET", vec![h(END, &[(":status", "103")])], false),
        ("9110 §15.2 interims", "GET", vec![interim(); 9], false),
        ("§8.1 data before a head", "GET", vec![abc()], false),
        ("§8.1 trailers", "GET", vec![h(0, OK), abc()[..9].to_vec().replaced_end(),
            b"abc".to_vec(), h(END, &[("grpc-status", "0")])], true),
        ("§8.3.2 no :status", "GET", vec![h(END, &[("a", "b")])], false),
        ("§8.3.2 :status twice", "GET", vec![h(END, &[(":status", "200"), (":status", "200")])],
            false),
        ("§8.3.2 :status of two digits", "GET", vec![h(END, &[(":status", "20")])], false),
        ("§8.3.2 :status 600", "GET", vec![h(END, &[(":status", "600")])], false),
        ("§8.3.2 :status behind", "GET", vec![h(END, &[("a", "b"), (":status", "200")])], false),
        ("§8.3.2 of a request", "GET", vec![h(END, &[(":status", "200"), (":path", "/")])], false),
        ("§8.6 101", "GET", vec![h(0, &[(":status", "101")])], false),
        ("§8.2.2 Connection", "GET", vec![h(END, &[(":status", "200"), ("connection", "x")])],
            false),
        ("§8.1.1 content-length", "GET", vec![h(0, LENGTH), abc()], true),
        ("§8.1.1 content-length, ended", "GET", vec![h(END, LENGTH)], false),
        ("§8.1.1 content-length, more", "GET", vec![h(0, LENGTH), data(1, 0, b"abcd")], false),
        ("§8.1.1 HEAD with content-length", "HEAD", vec![h(END, LENGTH)], true),
        ("§8.1.1 HEAD, ended later", "HEAD", vec![h(0, LENGTH), data(1, END, b"")], true),
        ("§8.1.1 HEAD with content", "HEAD", vec![h(0, OK), abc()], false),
        ("§8.1.1 304 with content-length", "GET",
            vec![h(END, &[(":status", "304"), ("content-length", "3")])], true),
        ("§8.1.1 304 with content", "GET", vec![h(0, &[(":status", "304")]), abc()], false),
        ("9110 §8.6 204 with content-length", "GET",
            vec![h(END, &[(":status", "204"), ("content-length", "3")])], false),
        ("§8.1.1 204 with content", "GET", vec![h(0, &[(":status", "204")]), abc()], false),
    ] {
        let (seen, out) = ask(method.as_bytes(), &frames);
        let expected = if good { vec![] } else { vec![(1, 1)] };
        assert_eq!(resets(&out), expected, "{name}: {seen:?}");
        let reset = seen.iter().find_map(|one| match one {
            Seen::Reset(1, 1, Some(violation)) => Some(violation.code),
            _ => None,
        });
        assert_eq!(reset, (!good).then_some(Code::BadResponse), "{name}");
    }
}

trait ReplacedEnd {
    /// The same frame header without END_STREAM.
    fn replaced_end(self) -> Self;
}

impl ReplacedEnd for Vec<u8> {
    fn replaced_end(mut self) -> Self {
        self[4] = 0;
        self
    }
}

#[test]
fn connection_errors_of_a_server() {
    for (name, bad, cause) in [
        (
            "§8.4 PUSH_PROMISE",
            frame(PUSH_PROMISE, WHOLE, 1, b"\0\0\0\x02"),
            Cause::Protocol,
        ),
        (
            "§5.1.1 a stream of the server's",
            headers(2, END, &[(":status", "200")]),
            Cause::Protocol,
        ),
        (
            "§5.1 idle",
            headers(3, END, &[(":status", "200")]),
            Cause::Protocol,
        ),
        ("§6.5.2 ENABLE_PUSH", settings(&[(2, 1)]), Cause::Protocol),
        (
            "9218 §7.1",
            frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"),
            Cause::Protocol,
        ),
    ] {
        let (seen, _) = ask(b"GET", &[bad]);
        let Some(Seen::Closed(closing)) = seen.last() else {
            panic!("{name}: {seen:?}");
        };
        assert_eq!(
            (closing.code, closing.cause),
            (ErrorCode::ProtocolError, cause),
            "{name}"
        );
    }
}
