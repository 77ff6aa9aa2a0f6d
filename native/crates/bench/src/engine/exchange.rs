//! One answer of the model: its time plan and how far it has come.

use super::{
    answer::{self, Dialect},
    fault::Fault,
    reply::{Home, Reply},
};

/// Where an exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    Running,
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: u64,
    /// Where the answer goes.
    pub(crate) home: Home,
    pub(crate) dialect: Dialect,
    pub(crate) place: Place,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) model: String,
    pub(crate) created_s: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) inputs: u32,
    /// 0 <= `tokens_sent` <= `tokens`
    pub(crate) tokens_sent: u32,
    pub(crate) tokens: u32,
    /// From the slot to the first token, or to the whole unary answer.
    pub(crate) service_ns: u64,
    pub(crate) gap_ns: u64,
    /// When the next thing happens.
    pub(crate) due_ns: u64,
    /// Emits in the engine's common step.
    pub(crate) aligned: bool,
    pub(crate) head_sent: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) event_prefix: Vec<u8>,
}

/// What a step of an exchange came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to come.
    More,
    /// Everything is written.
    Done,
    /// A fault has ended it.
    Faulted,
    /// It will never do anything again.
    Stalled,
}

impl Step {
    /// The exchange is gone.
    pub(crate) fn over(self) -> bool {
        matches!(self, Self::Done | Self::Faulted)
    }
}

impl Exchange {
    /// It has no slot yet.
    pub(crate) fn waits(&self) -> bool {
        self.place == Place::Waiting
    }

    /// True when a fault is to strike before the next token.
    fn strikes(&self) -> bool {
        self.fault
            .and_then(Fault::after)
            .is_some_and(|after| self.tokens_sent >= after)
    }

    /// Writes the next token of a stream, or the fault that comes in its place.
    pub(crate) fn emit(
        &mut self,
        reply: &mut Reply<'_>,
        vocabulary: &[Vec<u8>],
        now_ns: u64,
    ) -> Step {
        if !self.head_sent {
            self.head_sent = true;
            reply.stream_head();
        }
        if self.strikes() {
            return self.strike(reply);
        }
        if self.tokens_sent == 0 {
            answer::preamble(reply, self);
        }
        let last = self.tokens_sent + 1 >= self.tokens;
        let text = &vocabulary[self.tokens_sent as usize % vocabulary.len()];
        answer::token(reply, self, text, last, now_ns);
        self.tokens_sent += 1;
        if !last {
            return Step::More;
        }
        if self.strikes() {
            return self.strike(reply);
        }
        answer::ending(reply, self);
        Step::Done
    }

    /// Writes a whole answer, or the fault that comes in its place.
    pub(crate) fn complete(
        &mut self,
        reply: &mut Reply<'_>,
        vocabulary: &[Vec<u8>],
        bytes_min: usize,
        scratch: &mut Vec<u8>,
    ) -> Step {
        let fault = self.fault.and_then(|fault| fault.after().map(|_| fault));
        self.tokens_sent = self.tokens;
        scratch.clear();
        match fault {
            Some(Fault::Stall(_)) => return Step::Stalled,
            Some(Fault::Reset(_)) => {
                reply.reset();
                return Step::Faulted;
            }
            Some(Fault::Malformed(_)) => {
                reply.garble_head();
                return Step::Faulted;
            }
            Some(Fault::Error(_)) => {
                answer::error(reply, 500, "simulated", 0);
                return Step::Faulted;
            }
            _ => {}
        }
        answer::model_body(scratch, self, vocabulary, bytes_min);
        if let Some(Fault::Eof(_)) = fault {
            reply.half("application/json", scratch);
            return Step::Faulted;
        }
        reply.whole(200, "application/json", None, scratch);
        Step::Done
    }

    fn strike(&mut self, reply: &mut Reply<'_>) -> Step {
        match self.fault {
            Some(Fault::Stall(_)) => return Step::Stalled,
            Some(Fault::Reset(_)) => reply.reset(),
            Some(Fault::Malformed(_)) => reply.garble(),
            Some(Fault::Error(_)) => answer::error_ending(reply, self),
            Some(Fault::Cut(_)) => reply.end(),
            _ => reply.close(),
        }
        Step::Faulted
    }
}
