//! The body scan: reads what routing and accounting need out of a request body as its bytes
//! arrive, linear at any chunking, and keeps nothing but those values. A body is JSON, or a form
//! (see `multipart`).
//!
//! Of JSON it looks at the top level only (and at `stream_options.include_usage`). It never judges
//! what is inside strings (UTF-8, control bytes): the engine does that. But structure, numbers and
//! escapes are checked, so that it and the engine cannot see two different `model`s.
//! **Invariant:** the same bytes give the same answer however they are cut.

mod depth;
mod multipart;
mod number;
mod text;
mod violation;

pub use multipart::boundary;
pub use violation::ScanViolation;

use depth::Depth;
use multipart::FormScan;
use number::Number;
use text::Text;

/// Bytes of a decoded `model` at most.
pub const MODEL_BYTES_MAX: usize = 512;
/// Bytes of a decoded `service_tier` at most; a longer one is not one.
const TIER_BYTES_MAX: usize = 64;
/// Bytes of the longest key that means anything, and some more.
const KEY_BYTES_MAX: usize = 24;

/// What the scanner expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The opening brace of the body.
    Start,
    /// A key or the end of an object that just began.
    KeyOrEnd,
    /// A key behind a comma.
    Key,
    Colon,
    Value,
    /// A value or the end of an array that just began.
    ValueOrEnd,
    CommaOrEnd,
    /// Inside a key.
    KeyText,
    /// Inside a string value.
    ValueText,
    Number,
    /// Inside `true`, `false` or `null`: which, and how many bytes were seen.
    Literal(&'static [u8], u8),
    /// Behind the closing brace.
    Done,
    Failed,
}

/// The top-level member that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Model,
    Stream,
    Store,
    ServiceTier,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    StreamOptions,
    /// `stream_options.include_usage`.
    IncludeUsage,
    /// `messages`, `prompt`, `input`: their strings are counted.
    Content,
    Other,
}

impl Member {
    fn of(key: &[u8]) -> Self {
        match key {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"store" => Self::Store,
            b"service_tier" => Self::ServiceTier,
            b"max_tokens" => Self::MaxTokens,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"max_output_tokens" => Self::MaxOutputTokens,
            b"stream_options" => Self::StreamOptions,
            b"messages" | b"prompt" | b"input" => Self::Content,
            _ => Self::Other,
        }
    }
}

/// The scanner of one body. Reusable: `clear` keeps what is allocated.
#[derive(Debug)]
pub struct BodyScan {
    state: State,
    /// The body is a form.
    form: Option<Box<FormScan>>,
    depth: Depth,
    member: Member,
    key: Text,
    value: Text,
    number: Number,
    model: Option<String>,
    tier: Option<String>,
    stream: Option<bool>,
    store: Option<bool>,
    include_usage: Option<bool>,
    /// In the order `max_completion_tokens`, `max_output_tokens`, `max_tokens`.
    max_tokens: [Option<u64>; 3],
    model_seen: bool,
    stream_seen: bool,
    store_seen: bool,
    prompt_bytes: u64,
    violation: Option<ScanViolation>,
}

impl Default for BodyScan {
    fn default() -> Self {
        Self::new()
    }
}

impl BodyScan {
    /// A scanner before the first byte of a body.
    pub fn new() -> Self {
        Self {
            state: State::Start,
            form: None,
            depth: Depth::default(),
            member: Member::Other,
            key: Text::new(KEY_BYTES_MAX),
            value: Text::new(MODEL_BYTES_MAX),
            number: Number::default(),
            model: None,
            tier: None,
            stream: None,
            store: None,
            include_usage: None,
            max_tokens: [None; 3],
            model_seen: false,
            stream_seen: false,
            store_seen: false,
            prompt_bytes: 0,
            violation: None,
        }
    }

    /// Back to the first byte of a new body.
    pub fn clear(&mut self) {
        let key = std::mem::replace(&mut self.key, Text::new(0));
        let value = std::mem::replace(&mut self.value, Text::new(0));
        *self = Self {
            key,
            value,
            ..Self::new()
        };
        self.key.begin(false);
        self.value.begin(false);
    }

    /// Before its first byte: the body is multipart/form-data with that boundary.
    pub fn expect_form(&mut self, boundary: &[u8]) {
        self.form = Some(Box::new(FormScan::new(boundary)));
    }

    /// The model, with escapes decoded, as soon as its value is complete.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Whether a stream is asked for; `None` = not said, or not as a boolean.
    pub fn stream(&self) -> Option<bool> {
        self.stream
    }

    /// Whether the engine shall keep the answer; `None` = not said once and as a boolean.
    pub fn store(&self) -> Option<bool> {
        self.store
    }

    /// Tokens to generate at most. The newer spellings win over `max_tokens`.
    pub fn max_tokens(&self) -> Option<u64> {
        self.max_tokens.iter().copied().flatten().next()
    }

    /// The service tier that is asked for.
    pub fn service_tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// `stream_options.include_usage`.
    pub fn include_usage(&self) -> Option<bool> {
        self.include_usage
    }

    /// Bytes of the strings below `messages`, `prompt` and `input`, as they stand in the body.
    pub fn prompt_bytes(&self) -> u64 {
        self.prompt_bytes
    }

    /// What is wrong with the body, if anything. Nothing is read behind it.
    pub fn violation(&self) -> Option<ScanViolation> {
        self.violation
    }

    /// Whether the whole object or form was read. White space may follow.
    pub fn finished(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.form.is_some() {
            return self.feed_form(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() && self.state != State::Failed {
            let taken = match self.state {
                State::KeyText => self.key_text(rest),
                State::ValueText => self.value_text(rest),
                State::Number => self.number(rest),
                State::Literal(word, seen) => self.literal(word, seen, rest[0]),
                _ => {
                    self.structure(rest[0]);
                    1
                }
            };
            rest = &rest[taken..];
        }
    }

    fn feed_form(&mut self, bytes: &[u8]) {
        let Some(form) = &mut self.form else { return };
        form.feed(bytes);
        if let Some(model) = form.take_model() {
            self.model = Some(model);
        }
        self.stream = form.stream();
        self.violation = form.violation();
        if form.ended() {
            self.state = State::Done;
        }
    }

    fn fail(&mut self, violation: ScanViolation) {
        self.violation = Some(violation);
        self.state = State::Failed;
    }

    /// One byte outside of strings, numbers and literals.
    fn structure(&mut self, byte: u8) {
        // RFC 8259 §2: these four are white space, everywhere between tokens.
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return;
        }
        match (self.state, byte) {
            (State::Start, b'{') => self.open(true),
            (State::Start, _) => self.fail(ScanViolation::NotJson),
            (State::KeyOrEnd | State::Key, b'"') => {
                self.key.begin(self.keeps_keys());
                self.state = State::KeyText;
            }
            (State::KeyOrEnd, b'}') | (State::ValueOrEnd, b']') => self.close(),
            (State::CommaOrEnd, b'}') if self.depth.in_object() => self.close(),
            (State::CommaOrEnd, b']') if !self.depth.in_object() => self.close(),
            (State::CommaOrEnd, b',') => {
                self.state = if self.depth.in_object() {
                    State::Key
                } else {
                    State::Value
                };
            }
            (State::Colon, b':') => self.state = State::Value,
            (State::Value | State::ValueOrEnd, _) => self.begin_value(byte),
            _ => self.fail(ScanViolation::Malformed),
        }
    }

    /// Whether the keys of the present object mean something.
    fn keeps_keys(&self) -> bool {
        self.depth.level() == 1
            || (self.depth.level() == 2
                && matches!(self.member, Member::StreamOptions | Member::IncludeUsage))
    }

    /// Whether a value that begins here is the member's own, not one inside of it.
    fn at_member(&self) -> bool {
        match self.member {
            Member::IncludeUsage => self.depth.level() == 2,
            _ => self.depth.level() == 1,
        }
    }

    fn begin_value(&mut self, byte: u8) {
        if self.member == Member::Model && self.at_member() && byte != b'"' {
            return self.fail(ScanViolation::ModelNotString);
        }
        match byte {
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'"' => {
                let kept = matches!(self.member, Member::Model | Member::ServiceTier);
                self.value.begin(kept && self.at_member());
                self.state = State::ValueText;
            }
            b't' => self.state = State::Literal(b"true", 1),
            b'f' => self.state = State::Literal(b"false", 1),
            b'n' => self.state = State::Literal(b"null", 1),
            b'-' | b'0'..=b'9' => {
                self.number = Number::begin(byte);
                self.state = State::Number;
            }
            _ => self.fail(ScanViolation::Malformed),
        }
    }

    fn open(&mut self, object: bool) {
        if !self.depth.push(object) {
            return self.fail(ScanViolation::TooDeep);
        }
        self.state = if object {
            State::KeyOrEnd
        } else {
            State::ValueOrEnd
        };
    }

    fn close(&mut self) {
        self.depth.pop();
        self.state = if self.depth.level() == 0 {
            State::Done
        } else {
            State::CommaOrEnd
        };
    }

    fn key_text(&mut self, bytes: &[u8]) -> usize {
        let (taken, end) = self.key.feed(bytes);
        match end {
            text::End::More => {}
            text::End::Malformed => self.fail(ScanViolation::Malformed),
            text::End::Closed => {
                self.state = State::Colon;
                self.key_done();
            }
        }
        taken
    }

    fn key_done(&mut self) {
        if !self.keeps_keys() {
            return;
        }
        let key = self.key.decoded().unwrap_or_default();
        if self.depth.level() == 2 {
            self.member = Member::StreamOptions;
            // Inside `stream_options` one key counts; its value is read as a member's own.
            if key == b"include_usage" {
                self.member = Member::IncludeUsage;
                self.include_usage = None;
            }
            return;
        }
        self.member = Member::of(key);
        match self.member {
            Member::Model if self.key.had_escapes() => self.fail(ScanViolation::EscapedModelKey),
            Member::Model if self.model_seen => self.fail(ScanViolation::DuplicateModel),
            Member::Model => self.model_seen = true,
            Member::Stream if self.stream_seen => self.fail(ScanViolation::DuplicateStream),
            Member::Stream => self.stream_seen = true,
            // Which one counts is the engine's choice: then it is not said.
            Member::Store if self.store_seen => {
                self.store = None;
                self.member = Member::Other;
            }
            Member::Store => self.store_seen = true,
            // The last one counts, as in every JSON library.
            Member::StreamOptions => self.include_usage = None,
            Member::MaxCompletionTokens => self.max_tokens[0] = None,
            Member::MaxOutputTokens => self.max_tokens[1] = None,
            Member::MaxTokens => self.max_tokens[2] = None,
            Member::ServiceTier => self.tier = None,
            Member::IncludeUsage | Member::Content | Member::Other => {}
        }
    }

    fn value_text(&mut self, bytes: &[u8]) -> usize {
        let (taken, end) = self.value.feed(bytes);
        let closed = end == text::End::Closed;
        if self.member == Member::Content {
            self.prompt_bytes += (taken - usize::from(closed)) as u64;
        }
        match end {
            text::End::More => {}
            text::End::Malformed => self.fail(ScanViolation::Malformed),
            text::End::Closed => {
                self.state = State::CommaOrEnd;
                if self.at_member() {
                    self.string_done();
                }
            }
        }
        taken
    }

    fn string_done(&mut self) {
        match (self.member, self.value.decoded()) {
            (Member::Model, None) => self.fail(ScanViolation::ModelTooLong),
            (Member::Model, Some(bytes)) => match std::str::from_utf8(bytes) {
                Ok(model) => self.model = Some(model.to_owned()),
                Err(_) => self.fail(ScanViolation::ModelNotString),
            },
            (Member::ServiceTier, Some(bytes)) if bytes.len() <= TIER_BYTES_MAX => {
                self.tier = std::str::from_utf8(bytes).ok().map(str::to_owned);
            }
            _ => {}
        }
    }

    fn number(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes
            .iter()
            .take_while(|&&byte| self.number.push(byte))
            .count();
        if taken == bytes.len() {
            return taken;
        }
        self.state = State::CommaOrEnd;
        if !self.number.complete() {
            self.fail(ScanViolation::Malformed);
        } else if self.at_member() {
            let value = self.number.whole();
            match self.member {
                Member::MaxCompletionTokens => self.max_tokens[0] = value,
                Member::MaxOutputTokens => self.max_tokens[1] = value,
                Member::MaxTokens => self.max_tokens[2] = value,
                _ => {}
            }
        }
        taken
    }

    fn literal(&mut self, word: &'static [u8], seen: u8, byte: u8) -> usize {
        if word[usize::from(seen)] != byte {
            self.fail(ScanViolation::Malformed);
        } else if usize::from(seen) + 1 < word.len() {
            self.state = State::Literal(word, seen + 1);
        } else {
            self.state = State::CommaOrEnd;
            let flag = (word != b"null").then_some(word == b"true");
            match self.member {
                Member::Stream if self.at_member() => self.stream = flag,
                Member::Store if self.at_member() => self.store = flag,
                Member::IncludeUsage if self.at_member() => self.include_usage = flag,
                _ => {}
            }
        }
        1
    }
}

#[cfg(test)]
mod tests;
