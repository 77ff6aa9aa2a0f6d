//! A log-linear histogram: three significant digits over the whole range of `u64`, mergeable.
//!
//! Values below 2,048 have a bucket each; above, every power of two has 1,024 buckets, so that a
//! bucket is at most 1/1,024 of its value wide. Memory grows with the largest value seen:
//! 8 KiB a power of two, 0.3 MiB for an hour of nanoseconds. Recording is an index and an add.

const LINEAR: u64 = 2048;
const HALF: u64 = 1024;
const HALF_BITS: u32 = 10;

/// Counts of values, to three digits.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

fn index(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let shift = u64::from(value.ilog2() - HALF_BITS);
    (LINEAR + (shift - 1) * HALF + (value >> shift) - HALF) as usize
}

/// The largest value that falls into a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < LINEAR {
        return index;
    }
    let shift = (index - LINEAR) / HALF + 1;
    let step = (index - LINEAR) % HALF + HALF;
    (step << shift) | ((1 << shift) - 1)
}

impl Histogram {
    /// An empty one; takes no memory until the first value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        let index = index(value);
        if index >= self.counts.len() {
            self.grow(index);
        }
        self.counts[index] += 1;
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
    }

    #[cold]
    fn grow(&mut self, index: usize) {
        let length = (index + 1).next_multiple_of(HALF as usize);
        self.counts.resize(length, 0);
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest value, exactly; 0 when empty.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The largest value, exactly; 0 when empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, exactly; 0 when empty.
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }

    /// The value at or below which `quantile` (0 to 1) of all values lie, to three digits and never
    /// above the maximum; 0 when empty.
    pub fn quantile(&self, quantile: f64) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let rank = ((quantile * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max);
            }
        }
        self.max
    }

    /// How many values lie above `value`, to the width of a bucket.
    pub fn above(&self, value: u64) -> u64 {
        self.counts.iter().skip(index(value) + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_contiguous() {
        for value in (0..100_000).chain([u64::MAX - 1, u64::MAX]) {
            let index = index(value);
            assert!(upper(index) >= value);
            assert!(index == 0 || upper(index - 1) < value);
        }
    }

    proptest! {
        #[test]
        fn quantiles_match_a_sorted_vector(
            mut values in proptest::collection::vec(0u64..4_000_000_000_000, 1..400),
            split in 0usize..400,
            quantile in 0.0f64..=1.0,
        ) {
            let split = split.min(values.len());
            let (mut left, mut right) = (Histogram::new(), Histogram::new());
            values[..split].iter().for_each(|value| left.record(*value));
            values[split..].iter().for_each(|value| right.record(*value));
            left.merge(&right);
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let got = left.quantile(quantile);
            prop_assert!(got >= exact && got - exact <= exact / 1024 + 1, "{got} for {exact}");
            prop_assert_eq!(left.count(), values.len() as u64);
            prop_assert_eq!(left.max(), values[values.len() - 1]);
            prop_assert_eq!(left.min(), values[0]);
        }
    }
}
