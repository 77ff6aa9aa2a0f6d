//! Who says it? Everybody is anonymous until tenants exist; the type is here from the first day,
//! so that limits, residency and records have a place to read it from.

use std::sync::Arc;

use super::{Exchange, Phase, Step};
use crate::engine::Engine;

/// On whose behalf an exchange runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Position of the tenant; 0 is anonymous.
    pub tenant: u32,
    /// The highest class it may ask for: 0 = high.
    pub class: u8,
    /// Flow within the class, for fair queueing.
    pub flow: u32,
    /// Regions its bytes may go to, as a bitset; all by default. The dialer checks it.
    pub regions: Regions,
    /// Whom the client's certificate names; `None` without one.
    pub name: Option<Arc<str>>,
}

/// A set of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regions(pub u64);

impl Default for Regions {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

impl Engine {
    pub(crate) fn authenticate(&mut self, exchange: &mut Exchange) -> Step {
        // The name is the certificate's, noted with the head.
        exchange.principal = Principal {
            name: exchange.principal.name.take(),
            ..Principal::default()
        };
        self.name_request(exchange);
        Step::Next(Phase::Gate)
    }

    /// Gives the exchange its id: a trusted peer's own, else 128 random bits in hex.
    pub(crate) fn name_request(&mut self, exchange: &mut Exchange) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        const ID_BYTES_MAX: usize = 128;
        exchange.request_id.clear();
        if exchange.trusted
            && let Some(id) = exchange.head.fields.find(wire::Name::XRequestId)
            && (1..=ID_BYTES_MAX).contains(&id.len())
            && let Ok(id) = std::str::from_utf8(id)
        {
            exchange.request_id.push_str(id);
            return;
        }
        for _ in 0..2 {
            let mut bits = self.random.next_u64();
            for _ in 0..16 {
                exchange
                    .request_id
                    .push(char::from(HEX[(bits & 15) as usize]));
                bits >>= 4;
            }
        }
    }
}
