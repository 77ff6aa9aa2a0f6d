//! Properties over drawn messages: chunking invariance, encode and parse agree, nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::fuzzing::{self, Cuts, Seen, read_requests, read_responses, write};
use wire::h1::encode;
use wire::{Body, Fields, Limits, Method, RequestHead, ResponseHead};

/// What a message carries.
#[derive(Debug, Clone)]
enum Content {
    Nothing,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>, Vec<(String, String)>),
}

#[derive(Debug, Clone)]
struct Message {
    method: String,
    segments: Vec<String>,
    query: Option<String>,
    status: u16,
    fields: Vec<(String, String)>,
    content: Content,
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    // Values with inner whitespace and obs-text; they never begin or end with whitespace.
    vec(
        (
            "x-[a-z0-9!#$%&'*+.^`|~-]{0,12}",
            "([!-~]([ -~\t\u{e9}]{0,20}[!-~])?)?",
        ),
        0..6,
    )
}

fn content() -> impl Strategy<Value = Content> {
    let bytes = |max: usize| vec(any::<u8>(), 1..max);
    prop_oneof![
        Just(Content::Nothing),
        bytes(300).prop_map(Content::Length),
        (vec(bytes(60), 0..6), fields())
            .prop_map(|(data, trailers)| { Content::Chunked(data, trailers) }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (
        "GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|[A-Z-]{8,32}",
        vec(
            "[a-zA-Z0-9_~!$&'()*+,;=:@-][a-zA-Z0-9._~-]{0,8}(%2F|%20|%e2%82%ac)?",
            0..4,
        ),
        proptest::option::of("[a-z0-9=&%?/.-]{0,20}"),
        prop_oneof![200..204_u16, 205..304_u16, 305..600_u16],
        fields(),
        content(),
    )
        .prop_map(
            |(method, segments, query, status, fields, content)| Message {
                method,
                segments,
                query,
                status,
                fields,
                content,
            },
        )
}

fn push_all(to: &mut Fields, from: &[(String, String)]) {
    for (name, value) in from {
        to.push(name.as_bytes(), value.as_bytes());
    }
}

impl Message {
    fn body(&self) -> Body {
        match &self.content {
            Content::Nothing => Body::None,
            Content::Length(data) => Body::Length(data.len() as u64),
            Content::Chunked(..) => Body::Chunked,
        }
    }

    fn add_fields(&self, to: &mut Fields) {
        push_all(to, &self.fields);
        match &self.content {
            Content::Nothing => {}
            Content::Length(data) => {
                to.push(b"content-length", data.len().to_string().as_bytes());
            }
            Content::Chunked(..) => {
                to.push(b"transfer-encoding", b"chunked");
            }
        }
    }

    fn add_content(&self, to: &mut Vec<Seen>) {
        match &self.content {
            Content::Nothing => {}
            Content::Length(data) => to.push(Seen::Data(data.clone())),
            Content::Chunked(data, trailers) => {
                if !data.is_empty() {
                    to.push(Seen::Data(data.concat()));
                }
                if !trailers.is_empty() {
                    let mut fields = Fields::new();
                    push_all(&mut fields, trailers);
                    to.push(Seen::Trailers(fields));
                }
            }
        }
        to.push(Seen::End);
    }

    /// What a reader must see.
    fn request(&self) -> Vec<Seen> {
        let mut head = RequestHead::new();
        head.method = Method::from_bytes(self.method.as_bytes()).expect("a token");
        let path = self.segments.join("/");
        let target = match &self.query {
            Some(query) => format!("/{path}?{query}"),
            None => format!("/{path}"),
        };
        head.set_target(target.as_bytes()).expect("a good target");
        head.set_authority(b"example.com:80")
            .expect("a good authority");
        head.fields.push(b"host", b"example.com:80");
        self.add_fields(&mut head.fields);
        head.body = self.body();
        head.keep_alive = true;
        let mut seen = vec![Seen::Request(Box::new(head))];
        self.add_content(&mut seen);
        seen
    }

    fn response(&self) -> Vec<Seen> {
        let mut head = ResponseHead::new();
        head.status = self.status;
        self.add_fields(&mut head.fields);
        head.body = self.body();
        if head.body == Body::None {
            head.fields.push(b"content-length", b"0");
            head.body = Body::Length(0);
        }
        head.keep_alive = true;
        let mut seen = vec![Seen::Response(Box::new(head))];
        self.add_content(&mut seen);
        seen
    }
}

fn cut(bytes: &[u8], seed: u32) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut cuts = Cuts::new(seed);
    std::iter::from_fn(|| cuts.piece(&mut rest)).collect()
}

/// A change that a careless or hostile peer would make.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(u8),
    Insert(u8),
    Remove,
    Repeat,
    Cut,
}

fn mutation() -> impl Strategy<Value = (prop::sample::Index, Mutation)> {
    let octet = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\r\n\0\t :;,=\"%/.0aZ_\x7f\xff".to_vec()),
    ];
    let kind = prop_oneof![
        octet.clone().prop_map(Mutation::Replace),
        octet.prop_map(Mutation::Insert),
        Just(Mutation::Remove),
        Just(Mutation::Repeat),
        Just(Mutation::Cut),
    ];
    (any::<prop::sample::Index>(), kind)
}

fn mutate(mut bytes: Vec<u8>, mutations: Vec<(prop::sample::Index, Mutation)>) -> Vec<u8> {
    for (index, mutation) in mutations {
        if bytes.is_empty() {
            break;
        }
        let at = index.index(bytes.len());
        match mutation {
            Mutation::Replace(octet) => bytes[at] = octet,
            Mutation::Insert(octet) => bytes.insert(at, octet),
            Mutation::Remove => {
                bytes.remove(at);
            }
            Mutation::Repeat => {
                let end = (at + 30).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            Mutation::Cut => bytes.truncate(at),
        }
    }
    bytes
}

fn every_target(data: &[u8]) {
    fuzzing::h1_request(data);
    fuzzing::h1_response(data);
    fuzzing::chunked(data);
    fuzzing::sse(data);
    fuzzing::proxy_protocol(data);
    fuzzing::reparse(data);
    fuzzing::hpack(data);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn requests_round_trip_at_any_chunking(
        messages in vec(message(), 1..4),
        seed in any::<u32>(),
    ) {
        let expected: Vec<_> = messages.iter().flat_map(Message::request).collect();
        let bytes = write(&expected);
        prop_assert_eq!(&read_requests(Limits::DEFAULT, [bytes.as_slice()]), &expected);
        prop_assert_eq!(&read_requests(Limits::DEFAULT, cut(&bytes, seed)), &expected);
        prop_assert_eq!(&read_requests(Limits::DEFAULT, cut(&bytes, 0)), &expected);
    }

    #[test]
    fn responses_round_trip_at_any_chunking(
        messages in vec(message(), 1..4),
        seed in any::<u32>(),
    ) {
        let expected: Vec<_> = messages.iter().flat_map(Message::response).collect();
        let bytes = write(&expected);
        let read = |pieces: Vec<_>| read_responses(Limits::DEFAULT, Method::Get, false, pieces);
        prop_assert_eq!(&read(vec![bytes.as_slice()]), &expected);
        prop_assert_eq!(&read(cut(&bytes, seed)), &expected);
        prop_assert_eq!(&read(cut(&bytes, 0)), &expected);
    }

    #[test]
    fn mutated_messages_break_no_promise(
        message in message(),
        mutations in vec(mutation(), 1..6),
        steering in any::<u8>(),
    ) {
        for seen in [message.request(), message.response()] {
            let mut data = vec![steering];
            data.extend(mutate(write(&seen), mutations.clone()));
            every_target(&data);
        }
    }

    #[test]
    fn arbitrary_bytes_break_no_promise(data in vec(any::<u8>(), 0..400)) {
        every_target(&data);
    }

    #[test]
    fn event_ends_are_right_at_any_chunking(
        data in vec(prop::sample::select(b"\n\r\n\ra:\xef\xbb\xbf".to_vec()), 0..60),
    ) {
        fuzzing::sse(&data);
    }

    #[test]
    fn the_serialiser_writes_what_is_read_or_refuses(
        name in vec(any::<u8>(), 0..12),
        value in vec(any::<u8>(), 0..24),
    ) {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        let written = encode::field(&mut bytes, &name, &value);
        prop_assert_eq!(written.is_err(), bytes.ends_with(b"OK\r\n"));
        if written.is_ok() {
            encode::end_of_head(&mut bytes);
            let seen = read_responses(Limits::DEFAULT, Method::Get, false, [bytes.as_slice()]);
            match seen.first() {
                Some(Seen::Response(head)) => {
                    prop_assert_eq!(head.fields.len(), 1);
                    let field = head.fields.iter().next().expect("one");
                    prop_assert!(field.name.eq_ignore_ascii_case(&name) && field.value == value);
                }
                // Names that mean something to the reader may mean a refusal.
                other => prop_assert!(matches!(other, Some(Seen::Refused(_)))),
            }
        }
    }
}
