//! How much? Events, usage objects, first-token and inter-token marks; the reservation's settling.
//!
//! **Invariant:** constant work per event; nothing is kept of a response but counts and the last
//! bytes of a unary body, where its `usage` stands.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Exchange;
use crate::conn::Conn;
use crate::engine::Engine;
use crate::metrics::Metric;
use crate::scan::BodyScan;
use crate::shared::Outcome;
use crate::snapshot::Balance;

/// Moments of an exchange, monotonic nanoseconds; 0 = not yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) started_ns: u64,
    pub(crate) started_wall_ms: u64,
    pub(crate) admission_ns: u64,
    pub(crate) dispatched_ns: u64,
    pub(crate) head_ns: u64,
    pub(crate) first_token_ns: u64,
    pub(crate) last_token_ns: u64,
    /// The upstream last sent bytes, or became able to.
    pub(crate) last_byte_ns: u64,
    /// The client was last sent a heartbeat.
    pub(crate) heartbeat_ns: u64,
}

/// What a limit or a bill is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole requests.
    Requests,
    /// Tokens of the prompt.
    PromptTokens,
    /// Tokens of the answer.
    CompletionTokens,
    /// Milliseconds of audio.
    AudioMs,
    /// Bytes.
    Bytes,
    /// Millionths of the unit of account.
    MicroMoney,
}

/// Amounts by `Unit as usize`.
type Amounts = [u64; 6];

/// Amounts expected before dispatch and settled at the end. Limits will hang on it; the access log
/// shows how far the two are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    reserved: Amounts,
    used: Amounts,
}

/// Bytes of text per token while nothing better is known (the ratio that llm-d's picker uses).
const BYTES_PER_TOKEN: u64 = 4;

impl Reservation {
    /// What a request is expected to take: its prompt by its bytes, its answer by `max_tokens`.
    pub(crate) fn estimate(scan: &BodyScan) -> Self {
        let mut estimate = Self::default();
        estimate.reserved[Unit::Requests as usize] = 1;
        estimate.reserved[Unit::PromptTokens as usize] =
            scan.prompt_bytes().div_ceil(BYTES_PER_TOKEN);
        estimate.reserved[Unit::CompletionTokens as usize] = scan.max_tokens().unwrap_or(0);
        estimate
    }

    /// What it took: nothing but bytes if no endpoint `answered`. An endpoint that does not say how
    /// long the prompt was took what was expected.
    fn settle(&mut self, tally: &Tally, bytes: u64, answered: bool) {
        self.used[Unit::Bytes as usize] = bytes;
        if answered {
            self.used[Unit::Requests as usize] = self.reserved(Unit::Requests);
            self.used[Unit::PromptTokens as usize] = tally
                .prompt_tokens
                .unwrap_or(self.reserved(Unit::PromptTokens));
            self.used[Unit::CompletionTokens as usize] =
                tally.completion_tokens.unwrap_or(tally.tokens);
        }
    }

    /// The amount that was expected, in that unit.
    pub fn reserved(&self, unit: Unit) -> u64 {
        self.reserved[unit as usize]
    }

    /// The amount that was taken, in that unit; 0 before the end.
    pub fn used(&self, unit: Unit) -> u64 {
        self.used[unit as usize]
    }
}

/// Counts of an exchange.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Events that carry text.
    pub(crate) tokens: u64,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) completion_tokens: Option<u64>,
    /// The stream said that it is whole (`[DONE]`, `message_stop`).
    pub(crate) done: bool,
    pub(crate) queued: bool,
    pub(crate) retry_after_ms: u64,
    /// What the response says about its endpoint.
    pub(crate) outcome: Outcome,
    /// The end of a unary body.
    end: Vec<u8>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            tokens: 0,
            prompt_tokens: None,
            completion_tokens: None,
            done: false,
            queued: false,
            retry_after_ms: 0,
            outcome: Outcome::Neutral,
            end: Vec::new(),
        }
    }
}

/// Bytes of a unary body's end that are kept for its `usage` object.
const END_BYTES: usize = 512;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));

/// The keys of the counts: OpenAI's and Anthropic's for the prompt, then for the answer. Built
/// once: making a searcher costs more than the search.
static COUNTS: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
    [
        Finder::new("\"prompt_tokens\""),
        Finder::new("\"input_tokens\""),
        Finder::new("\"completion_tokens\""),
        Finder::new("\"output_tokens\""),
    ]
});

impl Tally {
    /// One complete event; `true` if it carries text (a token, as far as we can see).
    pub(crate) fn event(&mut self, event: &[u8]) -> bool {
        self.usage(event);
        let data = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii_start);
        match data {
            Some(data) if data.starts_with(b"[DONE]") => {
                self.done = true;
                false
            }
            Some(_) => true,
            None => self.named_event(event),
        }
    }

    /// Events that do not begin with their data: Anthropic names them first; comments have none.
    fn named_event(&mut self, event: &[u8]) -> bool {
        let (mut has_data, mut delta, mut named) = (false, false, false);
        for (key, value) in wire::sse::fields(event) {
            match key {
                wire::sse::Key::Event => {
                    named = true;
                    delta = value.ends_with(b"delta");
                    self.done |= value == b"message_stop";
                }
                wire::sse::Key::Data => has_data = true,
                _ => {}
            }
        }
        has_data && (delta || !named)
    }

    /// Bytes of a unary response.
    pub(crate) fn unary(&mut self, data: &[u8]) {
        if data.len() >= END_BYTES {
            self.end.clear();
            self.end.extend_from_slice(&data[data.len() - END_BYTES..]);
        } else {
            let excess = (self.end.len() + data.len()).saturating_sub(END_BYTES);
            self.end.drain(..excess);
            self.end.extend_from_slice(data);
        }
    }

    /// As new, with its buffer.
    pub(super) fn renew(&mut self) {
        let mut end = std::mem::take(&mut self.end);
        end.clear();
        *self = Self {
            end,
            ..Self::default()
        };
    }

    fn settle(&mut self) {
        if !self.end.is_empty() {
            let mut end = std::mem::take(&mut self.end);
            self.usage(&end);
            end.clear();
            self.end = end;
        }
    }

    /// Reads the counts behind `"usage"`.
    fn usage(&mut self, bytes: &[u8]) {
        let Some(at) = USAGE.find(bytes) else { return };
        let object = &bytes[at..];
        let [prompt, input, completion, output] = &*COUNTS;
        if let Some(n) = number(object, prompt).or_else(|| number(object, input)) {
            self.prompt_tokens = Some(n);
        }
        let completion = number(object, completion).or_else(|| number(object, output));
        if completion.is_some() {
            self.completion_tokens = completion;
        }
    }
}

/// The unsigned number behind a JSON key.
fn number(object: &[u8], key: &Finder<'_>) -> Option<u64> {
    let at = key.find(object)? + key.needle().len();
    let rest = object
        .get(at..)?
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 15 {
        return None;
    }
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

impl Engine {
    /// The response is an event stream, or is not: a later attempt may differ from an earlier one.
    pub(crate) fn note_stream(&self, exchange: &mut Exchange, sse: bool) {
        match (std::mem::replace(&mut exchange.response.sse, sse), sse) {
            (false, true) => self.cells.add(Metric::Streams, 1),
            (true, false) => self.cells.sub(Metric::Streams, 1),
            _ => {}
        }
    }

    /// Marks the first byte of an answer.
    pub(crate) fn first_token(&mut self, exchange: &mut Exchange) {
        let now_ns = self.now.mono_ns;
        exchange.marks.first_token_ns = now_ns;
        exchange.marks.last_token_ns = now_ns;
        let local = self.locals.local(exchange.local);
        if exchange.response.sse {
            let since_start = now_ns.saturating_sub(exchange.marks.started_ns);
            local.cells.observe(Metric::FirstToken, since_start);
        }
        if let (Some(pool), Some(attempt)) = (&exchange.pool, &exchange.attempt) {
            let (slot, elapsed_ns) = (
                attempt.endpoint.slot,
                now_ns.saturating_sub(attempt.started_ns),
            );
            if exchange.response.sse
                && let Some(cells) = self.locals.endpoint(exchange.local, slot)
            {
                cells.observe(Metric::EndpointFirstToken, elapsed_ns);
            }
            if pool.balance == Balance::PeakEwma {
                pool.room.first_token(slot, elapsed_ns, now_ns);
            }
        }
    }

    /// Marks tokens that arrived together.
    pub(crate) fn note_tokens(&mut self, exchange: &mut Exchange, tokens: u32) {
        if tokens == 0 {
            return;
        }
        let now_ns = self.now.mono_ns;
        let first = exchange.marks.first_token_ns == 0;
        let mut gaps = tokens;
        if first {
            self.first_token(exchange);
            self.arm(exchange);
            gaps -= 1;
        }
        let cells = &self.locals.local(exchange.local).cells;
        if gaps > 0 {
            let gap_ns = now_ns.saturating_sub(exchange.marks.last_token_ns);
            cells.observe(Metric::InterToken, gap_ns);
            for _ in 1..gaps {
                cells.observe(Metric::InterToken, 0);
            }
        }
        exchange.marks.last_token_ns = now_ns;
        exchange.tally.tokens += u64::from(tokens);
        cells.add(Metric::Tokens, u64::from(tokens));
        if let Some(conn) = self.conns.get_mut(exchange.client) {
            let conn: &mut Conn = conn;
            if conn.tokens_unsent == 0 {
                conn.tokens_since_ns = now_ns;
            }
            conn.tokens_unsent += tokens;
        }
    }

    /// The account at the end of an exchange.
    pub(crate) fn account(&mut self, exchange: &mut Exchange) {
        exchange.tally.settle();
        let answered = exchange.response.answered || exchange.marks.first_token_ns > 0;
        exchange
            .reservation
            .settle(&exchange.tally, exchange.response.bytes, answered);
        if exchange.pool.is_none() {
            return;
        }
        let cells = &self.locals.local(exchange.local).cells;
        if let Some(tokens) = exchange.tally.prompt_tokens {
            cells.add(Metric::PromptTokens, tokens);
        }
        if let Some(tokens) = exchange.tally.completion_tokens {
            cells.add(Metric::CompletionTokens, tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_the_last_event_and_from_unary_bodies() {
        let mut tally = Tally::default();
        assert!(tally.event(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"));
        let last =
            b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\": 7,\"completion_tokens\":3}}\n\n";
        tally.event(last);
        assert_eq!(
            (tally.prompt_tokens, tally.completion_tokens),
            (Some(7), Some(3))
        );
        assert!(!tally.event(b"data: [DONE]\n\n"));
        assert!(tally.done);

        let mut unary = Tally::default();
        for part in
            br#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":34}}"#.chunks(5)
        {
            unary.unary(part);
        }
        unary.settle();
        assert_eq!(
            (unary.prompt_tokens, unary.completion_tokens),
            (Some(12), Some(34))
        );
    }

    #[test]
    fn comments_are_no_tokens_and_anthropic_deltas_are() {
        let mut tally = Tally::default();
        assert!(!tally.event(b": ping\n\n"));
        assert!(!tally.event(b"event: message_start\ndata: {}\n\n"));
        assert!(tally.event(b"event: content_block_delta\ndata: {}\n\n"));
        assert!(!tally.event(b"event: message_stop\ndata: {}\n\n"));
        assert!(tally.done);
    }
}
