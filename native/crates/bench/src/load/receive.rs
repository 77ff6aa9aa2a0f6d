//! What is measured when bytes of an answer come, whichever version brings them.

use super::{
    answer::Answer,
    ledger::Ledger,
    link::Request,
    options::{AbortPhase, Options},
    outcome::Outcome,
};

/// Tokens after which a client leaves that leaves in the middle of an event.
const MID_EVENT_TOKENS: u32 = 3;

/// Gives bytes to an answer and takes down its first byte, its tokens and their delays.
pub(super) fn receive<T>(
    ledger: &mut Ledger,
    request: &mut Request,
    now_ns: u64,
    feed: impl FnOnce(&mut Answer, &mut dyn FnMut(Option<u64>)) -> T,
) -> T {
    let on = ledger.on();
    let tallies = &mut ledger.tallies;
    let since_ns = |then_ns: u64| now_ns.saturating_sub(then_ns);
    let Request {
        part,
        answer,
        tokens,
        last_token_ns,
        intended_ns,
        first_byte_seen,
        ..
    } = request;
    if !std::mem::replace(first_byte_seen, true) {
        tallies[*part].first_byte.record(since_ns(*intended_ns));
    }
    let before = *tokens;
    let fed = feed(answer, &mut |stamp_ns| {
        let tally = &mut tallies[on];
        if *tokens > 0 {
            tally.token_gap.record(since_ns(*last_token_ns));
        }
        if let Some(stamp_ns) = stamp_ns {
            tally.token_delay.record(since_ns(stamp_ns));
            tally.stamped_tokens += 1;
        }
        tally.tokens += 1;
        if *tokens == 0 {
            tallies[*part].first_token.record(since_ns(*intended_ns));
        }
        *tokens += 1;
        *last_token_ns = now_ns;
    });
    let new_tokens = u64::from(request.tokens - before);
    ledger.received(request, new_tokens, now_ns);
    fed
}

/// What a complete answer is worth.
pub(super) fn worth(ledger: &mut Ledger, request: &Request, options: &Options) -> Outcome {
    let answer = &request.answer;
    match answer.status {
        200..300 if answer.error_event => Outcome::StreamError,
        200..300 if answer.is_stream() && options.done_expected && !answer.done => {
            ledger.tallies[request.part].truncated_looks_complete += 1;
            Outcome::Truncated
        }
        200..300 => Outcome::Ok,
        429 => Outcome::Shed,
        _ => Outcome::HttpError,
    }
}

/// Whether this is the point where the client wanted to leave.
pub(super) fn leaves(request: &Request) -> bool {
    match request.leave.map(|leave| leave.at) {
        Some(AbortPhase::BeforeToken) => request.answer.head_seen() && request.tokens == 0,
        Some(AbortPhase::MidEvent) => request.tokens >= MID_EVENT_TOKENS,
        _ => false,
    }
}
