//! One answer as a client receives it, compared with what its request's number says.

use wire::Fields;
use wire::sse::Scanner;

use crate::oracle::number;
use crate::spec::{Answer, Spec, Verb};

/// An answer on its way in.
pub(crate) struct Got {
    pub(crate) id: u64,
    pub(crate) head: bool,
    pub(crate) status: u16,
    pub(crate) local: bool,
    pub(crate) events: bool,
    pub(crate) scanner: Scanner,
    pub(crate) tail: Vec<u8>,
    pub(crate) expected: Vec<u8>,
    pub(crate) at: usize,
    pub(crate) failed: bool,
    pub(crate) any: bool,
    /// `grpc-status`, in the head or behind the messages.
    pub(crate) verdict: Option<Vec<u8>>,
    /// The upstream's own last word came.
    pub(crate) last_word: bool,
}

impl Got {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self {
            id: spec.id,
            head: false,
            status: 0,
            local: false,
            events: false,
            scanner: Scanner::new(),
            tail: Vec::new(),
            expected: Vec::new(),
            at: 0,
            failed: false,
            any: false,
            verdict: None,
            last_word: false,
        }
    }

    /// A final head: whose is it, and what is to follow?
    pub(crate) fn begin(&mut self, spec: &Spec, status: u16, fields: &Fields) {
        assert!(!self.head, "a second head for {}", self.id);
        let served = number(fields, "x-sim-served");
        assert!(
            served.is_none_or(|id| id == self.id),
            "{served:?} was answered to {}",
            self.id
        );
        assert!(
            fields.find_str("keep-alive").is_none(),
            "a hop-by-hop field came through"
        );
        self.head = true;
        self.status = status;
        let kind = fields.find(wire::Name::ContentType).unwrap_or_default();
        self.events = kind.starts_with(b"text/event-stream");
        self.local = served.is_none() && !self.events && status != 101;
        if fields.find_str("x-sim-trouble").is_some() {
            self.expected = spec.trouble();
        } else if !self.local {
            self.expected = spec.answer_body();
        }
        let bare = spec.grpc() && status == 200 && fields.find_str("x-sim-trouble").is_some();
        if spec.verb == Verb::Head || bare {
            self.expected.clear();
        }
        self.note_verdict(fields);
    }

    /// What gRPC says last: in the head of an answer without messages, else in the trailers.
    pub(crate) fn note_verdict(&mut self, fields: &Fields) {
        if let Some(status) = fields.find_str("grpc-status") {
            assert!(self.verdict.is_none(), "two statuses for {}", self.id);
            self.verdict = Some(status.to_vec());
        }
        if let Some(id) = number(fields, "server-timing") {
            assert_eq!(id, self.id, "another's trailers");
            self.last_word = true;
        }
    }

    /// Whether the gateway says that it failed.
    pub(crate) fn is_error(&self, spec: &Spec) -> bool {
        if spec.grpc() && self.status == 200 {
            return !self.last_word;
        }
        self.local && self.status >= 400
    }

    pub(crate) fn data(&mut self, data: &[u8]) {
        assert!(self.head, "a body without a head");
        self.any = true;
        if self.local {
            return;
        }
        if !self.events {
            assert!(
                self.expected[self.at..].starts_with(data),
                "other bytes than {}'s",
                self.id
            );
            self.at += data.len();
            return;
        }
        let mut start = 0;
        let mut scanner = self.scanner;
        scanner.scan(data, |end| {
            self.tail.extend_from_slice(&data[start..end]);
            start = end;
            let event = std::mem::take(&mut self.tail);
            self.event(&event);
        });
        self.scanner = scanner;
        self.tail.extend_from_slice(&data[start..]);
    }

    pub(crate) fn event(&mut self, event: &[u8]) {
        assert!(
            !self.failed,
            "something behind the error event of {}",
            self.id
        );
        if event == b":\n\n" {
            return;
        }
        if event == b"\n:\n\n" && self.expected[self.at..].starts_with(b"\n") {
            // Behind the LF of a CRLF whose CR ended the event before.
            self.at += 1;
            return;
        }
        if self.expected[self.at..].starts_with(event) {
            self.at += event.len();
            return;
        }
        let text = String::from_utf8_lossy(event);
        let error = text.trim_start().starts_with("data: {\"error\"");
        assert!(
            error,
            "a strange event in the answer to {}: {text}",
            self.id
        );
        self.failed = true;
    }

    /// It looks whole: is it?
    pub(crate) fn is_whole(&self, spec: &Spec) {
        if spec.grpc() && self.status == 200 {
            return self.is_whole_call(spec);
        }
        if self.local {
            let local = matches!(spec.answer, Answer::Local) || self.status >= 400;
            assert!(
                local,
                "{} was answered by the gateway with {}",
                self.id, self.status
            );
            return;
        }
        assert!(
            !self.failed,
            "the answer to {} failed and looks whole",
            self.id
        );
        // The LF of a CRLF whose CR ended the last event.
        let rest = if self.scanner.at_boundary() {
            &self.tail[..]
        } else {
            b""
        };
        assert_eq!(
            &self.expected[self.at..],
            rest,
            "the answer to {} looks whole",
            self.id
        );
    }

    /// A call has a status; behind that of the upstream all its messages, behind one of ours whole
    /// ones.
    fn is_whole_call(&self, spec: &Spec) {
        let verdict = self.verdict.as_deref();
        assert!(verdict.is_some(), "no status for {}", self.id);
        if self.last_word {
            assert_eq!(self.at, self.expected.len(), "call {} looks whole", self.id);
            return;
        }
        assert_ne!(verdict, Some(&b"0"[..]), "call {} looks well", self.id);
        let mut end = 0;
        let whole = self.at == 0
            || spec.messages().iter().any(|message| {
                end += message.len();
                end == self.at
            });
        assert!(whole, "call {} ends within a message", self.id);
    }
}
