//! The server's side: one request after another out of a client's bytes.
//!
//! A head that lies whole in the input is parsed where it lies; only one that came in pieces is
//! gathered, in at most `head_bytes_max` bytes. An idle reader holds no buffer.

use crate::error::{Code, Violation};
use crate::fields::Fields;
use crate::h1::Event;
use crate::h1::body::BodyReader;
use crate::h1::field_block;
use crate::h1::framing::Framing;
use crate::h1::lines::Bounds;
use crate::h1::request_line::RequestLine;
use crate::h1::section::{Complete, Section, split_start_line};
use crate::h1::upgrade;
use crate::limits::Limits;
use crate::message::{Body, RequestHead, Version};
use crate::octets;

/// Reads requests from one client connection.
#[derive(Debug)]
pub struct RequestReader {
    limits: Limits,
    state: State,
    lead: Lead,
    section: Section,
}

#[derive(Debug)]
enum State {
    /// Before or in a head.
    Start,
    /// Behind a head whose `End` was not yet given.
    Body(BodyReader),
    /// A violation was given; it is given again.
    Failed(Violation),
}

/// RFC 9112 §2.2: the empty line that may precede a request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    Unseen,
    Cr,
    Seen,
}

impl RequestReader {
    /// A reader before its first request.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start,
            lead: Lead::Unseen,
            section: Section::default(),
        }
    }

    /// Takes bytes from the front of `input` and gives the next event.
    ///
    /// `None`: all of `input` was taken and more is needed. `head` is filled when the event is
    /// [`Event::Head`] and may hold anything after a violation; otherwise it is not touched, so a
    /// caller may lend any head at any call. After a violation nothing more can be read.
    ///
    /// Behind [`Event::End`] the next call starts on the next request: a caller that serves in
    /// order does not call before it wants one, and after a WebSocket request it does not call
    /// before it knows that the upgrade was declined.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        head: &mut RequestHead,
    ) -> Result<Option<Event<'a>>, Violation> {
        let result = match &mut self.state {
            State::Start => self.start(input, head),
            State::Body(body) => {
                let result = body.next(input, &mut self.section, &self.limits);
                if matches!(result, Ok(Some(Event::End))) {
                    self.state = State::Start;
                }
                result
            }
            State::Failed(violation) => Err(*violation),
        };
        if let Err(violation) = result {
            self.state = State::Failed(violation);
        }
        result
    }

    /// Whether no byte of a next message was seen: the connection may be closed without a loss.
    pub fn idle(&self) -> bool {
        matches!(self.state, State::Start) && self.section.is_fresh() && self.lead != Lead::Cr
    }

    /// Whether the reader stands between two messages: everything of the last one was given, its
    /// `End` included. Bytes of the next head may have been seen.
    pub fn at_message_end(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// Whether a head was given and its `End` was not: unread bytes of a body lie ahead.
    pub fn in_body(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    fn start<'a>(
        &mut self,
        input: &mut &'a [u8],
        head: &mut RequestHead,
    ) -> Result<Option<Event<'a>>, Violation> {
        if self.section.is_fresh() && !self.skip_lead(input)? {
            return Ok(None);
        }
        let bounds = Bounds {
            start_line_max: Some(self.limits.request_line_bytes_max),
            line_max: self.limits.field_bytes_max,
            section_max: self.limits.head_bytes_max,
            count_max: self.limits.field_count_max,
        };
        let method_bytes_max = self.limits.method_bytes_max;
        let check = |line: &[u8]| RequestLine::parse(line, method_bytes_max).map(|_| ());
        let Some(complete) = self.section.take(input, &bounds, check)? else {
            return Ok(None);
        };
        self.lead = Lead::Unseen;
        fill(&complete, head, &self.limits)?;
        self.state = State::Body(BodyReader::new(head.body));
        Ok(Some(Event::Head))
    }

    /// Takes the empty line; gives whether a request follows in `input`.
    fn skip_lead(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        while let Some((&byte, rest)) = input.split_first() {
            self.lead = match (self.lead, byte) {
                // RFC 9112 §2.2: a server SHOULD ignore at least one CRLF. One is what we ignore.
                (Lead::Unseen, b'\r') => Lead::Cr,
                (Lead::Cr, b'\n') => Lead::Seen,
                (Lead::Unseen | Lead::Seen, byte) if octets::is_token_octet(byte) => {
                    return Ok(true);
                }
                _ => {
                    return Err(Violation::bad_request(
                        "request does not start with a method",
                    ));
                }
            };
            *input = rest;
        }
        Ok(false)
    }
}

/// Fills `head` from a complete head.
fn fill(complete: &Complete<'_>, head: &mut RequestHead, limits: &Limits) -> Result<(), Violation> {
    head.clear();
    let (line, block) = split_start_line(&complete.bytes);
    RequestLine::parse(line, limits.method_bytes_max)?.store(head)?;
    // Out of the head for a moment: what is judged is borrowed while the verdicts are stored.
    let mut fields = std::mem::take(&mut head.fields);
    let result = field_block::read(block, complete.count, limits.underscore, &mut fields)
        .and_then(|()| judge(&fields, head));
    head.fields = fields;
    result
}

fn judge(fields: &Fields, head: &mut RequestHead) -> Result<(), Violation> {
    let framing = Framing::read(fields)?;
    store_host(framing.host, head)?;
    head.body = framing.body(head.version)?.unwrap_or(Body::None);
    head.keep_alive = framing.keep_alive(head.version);
    // RFC 9110 §10.1.1: a 1.0 client cannot wait for a 100; another expectation fails.
    if head.version == Version::Http11
        && let Some(expect) = framing.expect
    {
        if expect != b"100-continue" {
            return Err(Violation::connection(
                Code::ExpectationFailed,
                "Expect is not 100-continue",
            ));
        }
        // RFC 9110 §10.1.1: without content there is nothing to wait for.
        head.expect_continue = !matches!(head.body, Body::None | Body::Length(0));
    }
    head.websocket = upgrade::is_asked(head, fields, &framing);
    Ok(())
}

fn store_host(host: Option<&[u8]>, head: &mut RequestHead) -> Result<(), Violation> {
    match host {
        Some(host) if head.authority().is_empty() => head.set_authority(host),
        // RFC 9112 §3.2.2 has the target win over Host; a client that sends two different ones
        // hopes that somebody reads the other.
        Some(host) if !host.eq_ignore_ascii_case(head.authority()) => Err(Violation::bad_request(
            "Host differs from the target's authority",
        )),
        // RFC 9112 §3.2: 1.1 without Host is 400, whatever the form of the target.
        None if head.version == Version::Http11 => Err(Violation::bad_request("no Host")),
        _ => Ok(()),
    }
}
