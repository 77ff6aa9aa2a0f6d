//! What happened, as a hash always and as lines when somebody replays a seed.

/// FNV-1a over everything that happens: two runs of one seed must agree.
pub(crate) struct Trace {
    hash: u64,
    pub(crate) print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            print,
        }
    }

    pub(crate) fn note(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn line(&mut self, now_ns: u64, text: impl FnOnce() -> String) {
        if self.print {
            println!("{:>14.6} ms  {}", now_ns as f64 / 1e6, text());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
