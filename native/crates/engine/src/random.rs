//! A small seeded random source: xoshiro256++ (Blackman, Vigna 2019), seeded by splitmix64.
//!
//! It spreads load and jitters delays; it never makes a secret. **Invariant:** the same seed gives
//! the same sequence on every machine, so that a simulated run can be replayed.

/// A random source of one worker.
#[derive(Clone, Debug)]
pub struct Random {
    /// Never all zero: splitmix64 cannot give four zeros in a row.
    state: [u64; 4],
}

impl Random {
    /// A source that will always give the same sequence for `seed`.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let mut split = || {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = mixed;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        Self {
            state: [split(), split(), split(), split()],
        }
    }

    /// 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let c = c ^ a;
        let d = d ^ b;
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0. The bias is below `bound / 2^64`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `0.0..1.0`.
    #[inline]
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// `base` moved by at most `ratio` of itself in either direction (`ratio` 0 to 1).
    pub fn jitter(&mut self, base: u64, ratio: f64) -> u64 {
        let ratio = ratio.clamp(0.0, 1.0);
        let factor = 1.0 + ratio * (2.0 * self.unit_f64() - 1.0);
        (base as f64 * factor) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_algorithm() {
        // Reference: xoshiro256plusplus.c with the state 1, 2, 3, 4.
        let mut random = Random {
            state: [1, 2, 3, 4],
        };
        let got: Vec<u64> = (0..4).map(|_| random.next_u64()).collect();
        assert_eq!(
            got,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn below_is_uniform_and_bounded() {
        let mut random = Random::new(7);
        let mut seen = [0_u32; 10];
        for _ in 0..100_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(
            seen.iter().all(|&n| (9_500..10_500).contains(&n)),
            "{seen:?}"
        );
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn jitter_stays_within_its_ratio() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let value = random.jitter(1_000, 0.2);
            assert!((800..=1_200).contains(&value), "{value}");
        }
        assert_eq!(random.jitter(0, 0.2), 0);
        assert_eq!(random.jitter(50, 0.0), 50);
    }

    #[test]
    fn unit_is_in_the_half_open_interval() {
        let mut random = Random::new(3);
        assert!(
            (0..10_000)
                .map(|_| random.unit_f64())
                .all(|x| (0.0..1.0).contains(&x))
        );
    }
}
