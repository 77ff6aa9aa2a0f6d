//! One answer as a client receives it, compared with what its request's number says.

use wire::sse::Scanner;

use crate::spec::{Answer, Spec};

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
        }
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
}
