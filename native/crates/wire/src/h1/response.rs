//! The client's side: an upstream's responses, each to a request that was announced.
//!
//! Every fault is [`Code::BadResponse`](crate::Code): an upstream whose framing is doubtful is not
//! used again. Bytes that nobody asked for are a fault too.

use crate::error::Violation;
use crate::h1::body::BodyReader;
use crate::h1::field_block;
use crate::h1::framing::Framing;
use crate::h1::lines::Bounds;
use crate::h1::section::{Complete, Section, split_start_line};
use crate::h1::{Event, Truncated, status_line, upgrade};
use crate::limits::{Limits, Underscore};
use crate::message::{Body, ResponseHead, Version};
use crate::method::Method;

/// Reads responses from one upstream connection.
#[derive(Debug)]
pub struct ResponseReader {
    limits: Limits,
    state: State,
    asked: Asked,
    /// Interim responses to the current request; `<= interim_count_max`.
    interim_count: usize,
    section: Section,
}

/// What of the request decides how its response is read.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    /// RFC 9110 §9.3.2: HEAD, whose response has no content.
    head: bool,
    /// RFC 9110 §9.3.6: CONNECT, where a 2xx is followed by a tunnel.
    connect: bool,
    /// Whether a 101 was asked for.
    upgrade: bool,
}

#[derive(Debug)]
enum State {
    /// No response is due.
    Idle,
    /// Before or in a head.
    Head,
    /// Behind a final head whose `End` was not yet given.
    Body(BodyReader),
    /// Behind a 101: what follows is not HTTP.
    Tunnel,
    /// A violation was given; it is given again.
    Failed(Violation),
}

impl ResponseReader {
    /// A reader before its first response.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Idle,
            asked: Asked::default(),
            interim_count: 0,
            section: Section::default(),
        }
    }

    /// Announces the response to a request of this method; `upgrade`: that request asked for one.
    /// To be called before each response, when the one before has ended.
    pub fn expect(&mut self, request_method: Method, upgrade: bool) {
        debug_assert!(matches!(self.state, State::Idle), "one response at a time");
        if matches!(self.state, State::Idle) {
            self.state = State::Head;
        }
        self.asked = Asked {
            head: request_method == Method::Head,
            connect: request_method == Method::Connect,
            upgrade,
        };
        self.interim_count = 0;
    }

    /// Takes bytes from the front of `input` and gives the next event.
    ///
    /// `None`: all of `input` was taken and more is needed. `head` is filled when the event is
    /// [`Event::Head`] or [`Event::Interim`]. A 101 gives `Head` and no `End`: from there on this
    /// takes nothing and gives `None`, for the bytes belong to the tunnel.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        head: &mut ResponseHead,
    ) -> Result<Option<Event<'a>>, Violation> {
        let result = match &mut self.state {
            State::Idle if input.is_empty() => Ok(None),
            State::Idle => Err(Violation::bad_response("bytes that no request asked for")),
            State::Head => self.head(input, head),
            State::Body(body) => {
                let result = body.next(input, &mut self.section, &self.limits);
                if matches!(result, Ok(Some(Event::End))) {
                    self.state = State::Idle;
                }
                result
            }
            State::Tunnel => Ok(None),
            State::Failed(violation) => Err(*violation),
        };
        result.map_err(|violation| {
            let violation = violation.by_upstream();
            self.state = State::Failed(violation);
            violation
        })
    }

    /// The upstream sent its FIN, and all that came before it was read. Ends a body that only the
    /// FIN could end. A connection lost in any other way is a truncation: do not call this then.
    pub fn close(&mut self) -> Result<Option<Event<'static>>, Truncated> {
        match &self.state {
            State::Idle | State::Tunnel => Ok(None),
            State::Head if self.interim_count == 0 && self.section.is_fresh() => Ok(None),
            State::Body(BodyReader::UntilClose | BodyReader::Done) => {
                self.state = State::Idle;
                Ok(Some(Event::End))
            }
            // RFC 9112 §8: everything else is an incomplete message.
            State::Head | State::Body(_) | State::Failed(_) => Err(Truncated),
        }
    }

    /// Whether no byte of a response was seen since the last one ended.
    pub fn idle(&self) -> bool {
        match self.state {
            State::Idle => true,
            State::Head => self.interim_count == 0 && self.section.is_fresh(),
            State::Body(_) | State::Tunnel | State::Failed(_) => false,
        }
    }

    /// Whether no response is due: the last one's `End` was given, or none was ever announced.
    pub fn at_message_end(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    fn head<'a>(
        &mut self,
        input: &mut &'a [u8],
        head: &mut ResponseHead,
    ) -> Result<Option<Event<'a>>, Violation> {
        // Known from the first byte, however long the rest takes.
        match input.first() {
            // RFC 8446 §5.1: the alert of one who was spoken to in clear.
            Some(0x15) if self.section.is_fresh() => {
                let why = "response is TLS, not HTTP: is the endpoint's port one for https?";
                return Err(Violation::bad_response(why));
            }
            Some(byte) if self.section.is_fresh() && *byte != b'H' => {
                return Err(Violation::bad_response("response does not start with HTTP"));
            }
            _ => {}
        }
        let bounds = Bounds {
            start_line_max: Some(self.limits.request_line_bytes_max),
            line_max: self.limits.field_bytes_max,
            section_max: self.limits.head_bytes_max,
            count_max: self.limits.field_count_max,
        };
        let check = |line: &[u8]| status_line::parse(line).map(|_| ());
        let Some(complete) = self.section.take(input, &bounds, check)? else {
            return Ok(None);
        };
        fill(&complete, head)?;
        self.enter(head)
    }

    /// What follows this head: RFC 9112 §6.3.
    fn enter<'a>(&mut self, head: &mut ResponseHead) -> Result<Option<Event<'a>>, Violation> {
        let framing = Framing::read(&head.fields)?;
        let body = framing.body(head.version)?;
        let keep_alive = framing.keep_alive(head.version);
        let success = (200..300).contains(&head.status);
        if head.status == 101 {
            // RFC 9110 §15.2.2: 101 answers an Upgrade, and names what it switches to.
            if !self.asked.upgrade || body.is_some() || !upgrade::is_granted(&framing) {
                return Err(Violation::bad_response("101 that was not asked for"));
            }
            self.state = State::Tunnel;
            return Ok(Some(Event::Head));
        }
        if self.asked.connect && success {
            self.state = State::Tunnel;
            return Ok(Some(Event::Head));
        }
        if head.status < 200 || head.status == 204 {
            // RFC 9112 §6.1 and RFC 9110 §8.6: these have neither; an upstream that announces
            // content here and sends it would have it read as the next response.
            if !matches!(body, None | Some(Body::Length(0))) {
                return Err(Violation::bad_response("content announced with 1xx or 204"));
            }
        }
        if head.status < 200 {
            self.interim_count += 1;
            if self.interim_count > self.limits.interim_count_max {
                return Err(Violation::bad_response("too many interim responses"));
            }
            return Ok(Some(Event::Interim));
        }
        head.body = match body {
            _ if self.asked.head || matches!(head.status, 204 | 304) => Body::None,
            Some(body) => body,
            None => Body::UntilClose,
        };
        head.keep_alive = keep_alive && head.body != Body::UntilClose;
        self.state = State::Body(BodyReader::new(head.body));
        Ok(Some(Event::Head))
    }
}

/// Fills status, version and fields from a complete head.
fn fill(complete: &Complete<'_>, head: &mut ResponseHead) -> Result<(), Violation> {
    head.clear();
    let (line, block) = split_start_line(&complete.bytes);
    (head.version, head.status) = status_line::parse(line)?;
    if head.version == Version::Http10 && head.status < 200 {
        // RFC 9110 §15.2: HTTP/1.0 defined no 1xx.
        return Err(Violation::bad_response("interim response in HTTP/1.0"));
    }
    field_block::read(block, complete.count, Underscore::Allow, &mut head.fields)
}
