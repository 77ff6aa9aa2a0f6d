//! The body of one message, whichever way it is delimited.

use crate::error::Violation;
use crate::h1::Event;
use crate::h1::chunked::Chunked;
use crate::h1::section::Section;
use crate::limits::Limits;
use crate::message::Body;

/// What of the body is still to come.
#[derive(Debug)]
pub(crate) enum BodyReader {
    /// Nothing: `End` is the next event.
    Done,
    /// So many bytes, not 0.
    Length(u64),
    /// What the chunks say.
    Chunked(Chunked),
    /// Everything until the peer closes.
    UntilClose,
}

impl BodyReader {
    pub(crate) fn new(body: Body) -> Self {
        match body {
            Body::None | Body::Length(0) => Self::Done,
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunked(Chunked::default()),
            Body::UntilClose => Self::UntilClose,
        }
    }

    /// The next event of the body; `End` is the last.
    #[inline]
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        section: &mut Section,
        limits: &Limits,
    ) -> Result<Option<Event<'a>>, Violation> {
        match self {
            Self::Done => Ok(Some(Event::End)),
            Self::Length(left) => {
                let data = take(input, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(data_event(data))
            }
            Self::Chunked(chunked) => match chunked.next(input, section, limits)? {
                Some(last @ (Event::Trailers(_) | Event::End)) => {
                    *self = Self::Done;
                    Ok(Some(last))
                }
                event => Ok(event),
            },
            Self::UntilClose => Ok(data_event(take(input, u64::MAX))),
        }
    }
}

/// Takes at most `max` bytes from the front of `input`.
#[inline]
pub(super) fn take<'a>(input: &mut &'a [u8], max: u64) -> &'a [u8] {
    let len = usize::try_from(max).unwrap_or(usize::MAX).min(input.len());
    let (data, rest) = input.split_at_checked(len).unwrap_or((*input, &[]));
    *input = rest;
    data
}

#[inline]
pub(super) fn data_event(data: &[u8]) -> Option<Event<'_>> {
    if data.is_empty() {
        None
    } else {
        Some(Event::Data(data))
    }
}
