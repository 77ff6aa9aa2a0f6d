//! Which address of a name next, and when? The order of a dial by name (RFC 8305 §5), as a state
//! machine without a socket and without a clock.
//!
//! The first address is tried at once; another joins when `limits::ATTEMPT_DELAY_NS` has passed
//! without an answer, or as soon as one fails. **Invariant:** each address is tried at most once,
//! and `failed` says that all is lost exactly once.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::input::DialError;

use crate::limits::ATTEMPT_DELAY_NS;

/// A dial by name. Its first success ends it: then it is thrown away.
#[derive(Debug)]
pub(crate) struct Race {
    addresses: Arc<[SocketAddr]>,
    /// Position of the address to begin with; the others follow in their order.
    first: usize,
    /// Addresses tried so far.
    started: usize,
    /// Attempts that have not failed yet.
    running: usize,
    /// When the next address joins.
    next_ns: u64,
    error: Option<DialError>,
}

impl Race {
    /// A race that has not begun. `first` is a position in `addresses`.
    pub(crate) fn new(addresses: Arc<[SocketAddr]>, first: usize) -> Self {
        debug_assert!(first < addresses.len());
        Self {
            addresses,
            first,
            started: 0,
            running: 0,
            next_ns: 0,
            error: None,
        }
    }

    /// The address whose turn it is, if its time has come. It counts as an attempt under way.
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<SocketAddr> {
        if now_ns < self.next_ns {
            return None;
        }
        let at = match self.started {
            0 => self.first,
            n if n <= self.first => n - 1,
            n => n,
        };
        let address = *self.addresses.get(at)?;
        self.started += 1;
        self.running += 1;
        self.next_ns = now_ns + ATTEMPT_DELAY_NS;
        Some(address)
    }

    /// An attempt came to nothing: the next address may join at once. The answer is given when
    /// there is none and nothing is under way.
    pub(crate) fn failed(&mut self, error: DialError, now_ns: u64) -> Option<DialError> {
        debug_assert!(self.running > 0);
        self.running = self.running.saturating_sub(1);
        self.next_ns = now_ns;
        let worst = match self.error {
            Some(known) if rank(known) >= rank(error) => known,
            _ => error,
        };
        self.error = Some(worst);
        (self.running == 0 && self.over()).then_some(worst)
    }

    /// When `next` will have something to say; `None` when every address was tried.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        (!self.over()).then_some(self.next_ns)
    }

    fn over(&self) -> bool {
        self.started == self.addresses.len()
    }
}

/// How much an error says about the endpoint: of several the one that says most is told. A family
/// without a route says nothing of an engine that refuses on the other.
fn rank(error: DialError) -> u8 {
    match error {
        DialError::Unresolved => 0,
        DialError::Unreachable => 1,
        DialError::TimedOut => 2,
        DialError::Refused => 3,
        // Not of an address: it comes after the race.
        DialError::Exhausted | DialError::Tls(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(addresses: usize, first: usize) -> Race {
        let list = (0..addresses).map(|n| SocketAddr::from(([127, 0, 0, 1], 1000 + n as u16)));
        Race::new(list.collect(), first)
    }

    fn next(race: &mut Race, now_ns: u64) -> Option<u16> {
        race.next(now_ns).map(|address| address.port() - 1000)
    }

    #[test]
    fn an_address_joins_each_quarter_of_a_second() {
        let mut race = race(3, 0);
        assert_eq!(race.deadline_ns(), Some(0));
        assert_eq!(next(&mut race, 7), Some(0));
        assert_eq!(next(&mut race, 7), None);
        assert_eq!(race.deadline_ns(), Some(7 + ATTEMPT_DELAY_NS));
        assert_eq!(next(&mut race, 6 + ATTEMPT_DELAY_NS), None);
        assert_eq!(next(&mut race, 7 + ATTEMPT_DELAY_NS), Some(1));
        // A turn that comes late does not make up for it.
        assert_eq!(next(&mut race, 7 + 9 * ATTEMPT_DELAY_NS), Some(2));
        assert_eq!(race.deadline_ns(), None);
        assert_eq!(next(&mut race, u64::MAX), None);
    }

    #[test]
    fn a_failure_lets_the_next_one_go_at_once() {
        let mut race = race(2, 0);
        assert_eq!(next(&mut race, 0), Some(0));
        assert_eq!(race.failed(DialError::Refused, 5), None);
        assert_eq!(race.deadline_ns(), Some(5));
        assert_eq!(next(&mut race, 5), Some(1));
        assert_eq!(race.failed(DialError::Refused, 9), Some(DialError::Refused));
    }

    #[test]
    fn all_is_lost_only_when_nothing_is_under_way() {
        let mut race = race(2, 0);
        assert_eq!(next(&mut race, 0), Some(0));
        assert_eq!(next(&mut race, ATTEMPT_DELAY_NS), Some(1));
        assert_eq!(race.failed(DialError::Refused, ATTEMPT_DELAY_NS), None);
        let last = race.failed(DialError::Unreachable, 2 * ATTEMPT_DELAY_NS);
        assert_eq!(last, Some(DialError::Refused));
    }

    #[test]
    fn it_begins_where_it_is_told_and_goes_through_the_rest_in_order() {
        for first in 0..4 {
            let mut race = race(4, first);
            let order: Vec<_> = (0..4)
                .map(|n| next(&mut race, n * ATTEMPT_DELAY_NS).unwrap())
                .collect();
            let mut expected: Vec<u16> = (0..4).filter(|n| usize::from(*n) != first).collect();
            expected.insert(0, first as u16);
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn the_error_that_says_most_is_told() {
        let mut race = race(3, 0);
        for _ in 0..3 {
            assert!(next(&mut race, 0).is_some());
            race.next_ns = 0;
        }
        assert_eq!(race.failed(DialError::TimedOut, 0), None);
        assert_eq!(race.failed(DialError::Refused, 0), None);
        let last = race.failed(DialError::Unreachable, 0);
        assert_eq!(last, Some(DialError::Refused));
    }
}
