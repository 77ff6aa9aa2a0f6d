//! Session tickets (RFC 8446 §4.6.1, RFC 5077): a client carries its session itself, sealed with a
//! key that all workers share. No session is stored here.
//!
//! A key seals for six hours and opens for twelve more; then what was recorded on the way cannot
//! be opened any more, even with our memory in hand. A successor process takes the keys over, so
//! that an upgrade costs no full handshakes. **Invariant:** a ticket opens only on a listener with
//! the same demands on client certificates: it is sealed together with a digest of them, for a
//! resumed session is not asked for its certificate again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use super::files::now_s;

/// Seconds that a key seals.
const SEALS_S: i64 = 6 * 3600;
/// Keys kept: the one that seals, and two that only open.
const KEYS_MAX: usize = 3;
/// Seconds that a client is told to keep a ticket: one that it was given at the very end of a
/// key's time still opens then.
const LIFETIME_S: u32 = 12 * 3600;
const NAME_LEN: usize = 16;
const SECRET_LEN: usize = 32;
/// Length of an exported key: when it was made, its name, its secret.
const EXPORTED_LEN: usize = 8 + NAME_LEN + SECRET_LEN;
/// First byte of an export.
const FORMAT: u8 = 1;

struct Key {
    made_s: i64,
    name: [u8; NAME_LEN],
    secret: [u8; SECRET_LEN],
    seal: LessSafeKey,
}

impl Key {
    fn new(made_s: i64, name: [u8; NAME_LEN], secret: [u8; SECRET_LEN]) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, &secret).expect("the length is the cipher's");
        Self {
            made_s,
            name,
            secret,
            seal: LessSafeKey::new(unbound),
        }
    }

    fn random(made_s: i64) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_LEN], [0; SECRET_LEN]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Some(Self::new(made_s, name, secret))
    }
}

/// The keys of a process, shared by all its listeners and workers.
#[derive(Default)]
pub struct Tickets {
    /// The youngest first.
    keys: Mutex<Vec<Arc<Key>>>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// Bytes that are no export of ticket keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportError;

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not ticket keys of a version that this one knows")
    }
}

impl std::error::Error for ImportError {}

impl Tickets {
    /// No key yet: the first ticket makes one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys, for a successor process that takes over our listeners. **These are secrets**: who
    /// has them can resume and read sessions of the last hours. Pass them on by a socket that only
    /// the successor reads; never write them anywhere.
    pub fn export(&self) -> Vec<u8> {
        let keys = self.current(now_s());
        let mut out = Vec::with_capacity(1 + keys.len() * EXPORTED_LEN);
        out.push(FORMAT);
        for key in keys.iter() {
            out.extend_from_slice(&key.made_s.to_be_bytes());
            out.extend_from_slice(&key.name);
            out.extend_from_slice(&key.secret);
        }
        out
    }

    /// Takes a predecessor's keys. They open its tickets, and go on to seal until their time is up;
    /// keys of our own that were used already stay, for opening.
    pub fn import(&self, exported: &[u8]) -> Result<(), ImportError> {
        let Some((&FORMAT, keys)) = exported.split_first() else {
            return Err(ImportError);
        };
        if !keys.len().is_multiple_of(EXPORTED_LEN) || keys.len() > KEYS_MAX * EXPORTED_LEN {
            return Err(ImportError);
        }
        let mut imported = Vec::new();
        for key in keys.chunks_exact(EXPORTED_LEN) {
            let (made, rest) = key.split_at(8);
            let (name, secret) = rest.split_at(NAME_LEN);
            let made_s = i64::from_be_bytes(made.try_into().map_err(|_| ImportError)?);
            let name = name.try_into().map_err(|_| ImportError)?;
            let secret = secret.try_into().map_err(|_| ImportError)?;
            imported.push(Arc::new(Key::new(made_s, name, secret)));
        }
        let mut own = lock(&self.keys);
        for key in own.drain(..) {
            if imported.iter().all(|other| other.name != key.name) {
                imported.push(key);
            }
        }
        imported.sort_by_key(|key| std::cmp::Reverse(key.made_s));
        imported.truncate(KEYS_MAX);
        *own = imported;
        Ok(())
    }

    /// The keys as of now: the first one seals.
    fn current(&self, now_s: i64) -> MutexGuard<'_, Vec<Arc<Key>>> {
        let mut keys = lock(&self.keys);
        // Also when the clock was set back, so that no key lives for ever.
        let stale = keys
            .first()
            .is_none_or(|key| !(0..SEALS_S).contains(&(now_s - key.made_s)));
        if stale && let Some(key) = Key::random(now_s) {
            keys.insert(0, Arc::new(key));
            keys.truncate(KEYS_MAX);
        }
        keys.retain(|key| now_s - key.made_s < SEALS_S * KEYS_MAX as i64);
        keys
    }

    fn sealing(&self, now_s: i64) -> Option<Arc<Key>> {
        self.current(now_s).first().map(Arc::clone)
    }

    fn opening(&self, name: &[u8], now_s: i64) -> Option<Arc<Key>> {
        let keys = self.current(now_s);
        keys.iter().find(|key| key.name == name).map(Arc::clone)
    }
}

/// The tickets of one listener.
#[derive(Debug)]
pub(crate) struct Ticketer {
    tickets: Arc<Tickets>,
    /// Digest of what the listener wants of client certificates.
    demands: [u8; 32],
}

impl Ticketer {
    /// `demands` is whatever must not change between a session and its resumption.
    pub(crate) fn new(tickets: Arc<Tickets>, demands: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, demands);
        let mut bound = [0; 32];
        bound.copy_from_slice(digest.as_ref());
        Self {
            tickets,
            demands: bound,
        }
    }

    fn seal(&self, plain: &[u8], now_s: i64) -> Option<Vec<u8>> {
        let key = self.tickets.sealing(now_s)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.demands);
        key.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now_s: i64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let key = self.tickets.opening(name, now_s)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = key
            .seal
            .open_in_place(nonce, Aad::from(self.demands), &mut sealed);
        let length = plain.ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now_s())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now_s())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_800_000_000;

    fn ticketer(tickets: &Arc<Tickets>, demands: &[u8]) -> Ticketer {
        Ticketer::new(Arc::clone(tickets), demands)
    }

    #[test]
    fn a_ticket_opens_for_as_long_as_it_promised() {
        let tickets = Arc::new(Tickets::new());
        let one = ticketer(&tickets, b"");
        let sealed = one.seal(b"session", NOON).unwrap();
        for hours in [0, 5, 12, 17] {
            let later = NOON + hours * 3600;
            assert_eq!(one.open(&sealed, later).unwrap(), b"session", "{hours} h");
            one.seal(b"another", later).unwrap();
        }
        assert_eq!(one.open(&sealed, NOON + 18 * 3600), None);
        assert!(lock(&tickets.keys).len() <= KEYS_MAX);
    }

    #[test]
    fn a_ticket_of_other_demands_does_not_open() {
        let tickets = Arc::new(Tickets::new());
        let sealed = ticketer(&tickets, b"anyone").seal(b"x", NOON).unwrap();
        assert_eq!(ticketer(&tickets, b"mutual").open(&sealed, NOON), None);
        assert!(ticketer(&tickets, b"anyone").open(&sealed, NOON).is_some());
    }

    #[test]
    fn bent_tickets_do_not_open() {
        let one = ticketer(&Arc::new(Tickets::new()), b"");
        let sealed = one.seal(b"session", NOON).unwrap();
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(one.open(&bent, NOON), None, "byte {at}");
            assert_eq!(one.open(&sealed[..at], NOON), None, "{at} bytes");
        }
    }

    #[test]
    fn a_successor_opens_and_seals_with_the_same_keys() {
        let (old, new) = (Arc::new(Tickets::new()), Arc::new(Tickets::new()));
        let now = now_s();
        let before = ticketer(&old, b"").seal(b"before", now).unwrap();
        new.import(&old.export()).unwrap();
        assert_eq!(ticketer(&new, b"").open(&before, now).unwrap(), b"before");
        let after = ticketer(&new, b"").seal(b"after", now).unwrap();
        assert_eq!(ticketer(&old, b"").open(&after, now).unwrap(), b"after");
    }

    #[test]
    fn only_exports_are_imported() {
        let tickets = Tickets::new();
        let good = Tickets::new().export();
        assert_eq!(tickets.import(b""), Err(ImportError));
        assert_eq!(tickets.import(&[9; 57]), Err(ImportError));
        assert_eq!(tickets.import(&good[..good.len() - 1]), Err(ImportError));
        let many = [&good[..], &good[1..], &good[1..], &good[1..]].concat();
        assert_eq!(tickets.import(&many), Err(ImportError));
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let tickets = Arc::new(Tickets::new());
        let shown = format!("{tickets:?} {:?}", ticketer(&tickets, b"x"));
        let secret = lock(&tickets.keys).first().map(|key| key.secret);
        assert!(shown.len() < 300 && secret.is_none_or(|s| !shown.contains(&format!("{s:?}"))));
    }
}
