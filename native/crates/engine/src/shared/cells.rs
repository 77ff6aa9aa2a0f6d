//! Metric cells: each worker writes its own, whoever looks reads all of them.
//!
//! A cell has one writer, so an increment is a relaxed load and a relaxed store, not a locked
//! instruction. **Invariant:** a block is never removed and never given to two workers; there are
//! at most [`BLOCKS_MAX`] sets of labels, then one more per scope for all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::ids::WorkerId;
use crate::metrics::{Family, Kind, Metric, Scope, block_width};

/// Sets of labels in all scopes. Ten thousand endpoints would be 20 MB a worker.
pub const BLOCKS_MAX: usize = 10_000;

/// Label value of everything beyond [`BLOCKS_MAX`].
const OTHER: &str = "other";

/// One worker's cells for one set of labels.
#[derive(Debug)]
pub struct Cells {
    scope: Scope,
    cells: Box<[AtomicU64]>,
}

impl Cells {
    fn new(scope: Scope) -> Self {
        let cells = (0..block_width(scope)).map(|_| AtomicU64::new(0)).collect();
        Self { scope, cells }
    }

    /// Counts one.
    #[inline]
    pub fn inc(&self, metric: Metric) {
        self.bump(metric, 0, 1);
    }

    /// Counts one under the `index`-th value of the metric's own label.
    #[inline]
    pub fn inc_at(&self, metric: Metric, index: usize) {
        debug_assert!(
            metric
                .row()
                .label
                .is_some_and(|(_, values)| index < values.len())
        );
        self.bump(metric, index, 1);
    }

    /// Counts `n`; raises a gauge.
    #[inline]
    pub fn add(&self, metric: Metric, n: u64) {
        self.bump(metric, 0, n);
    }

    /// Lowers a gauge.
    #[inline]
    pub fn sub(&self, metric: Metric, n: u64) {
        debug_assert_eq!(metric.row().kind, Kind::Gauge);
        if let Some(cell) = self.cell(metric, 0) {
            let value = cell.load(Ordering::Relaxed);
            debug_assert!(value >= n, "{metric:?} below zero");
            cell.store(value.saturating_sub(n), Ordering::Relaxed);
        }
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, metric: Metric, value: u64) {
        debug_assert_eq!(metric.row().kind, Kind::Gauge);
        if let Some(cell) = self.cell(metric, 0) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Takes a value into a histogram, in the metric's unit (nanoseconds for times).
    #[inline]
    pub fn observe(&self, metric: Metric, value: u64) {
        self.observe_n(metric, value, 1);
    }

    /// Takes the same value `n` times.
    #[inline]
    pub fn observe_n(&self, metric: Metric, value: u64, n: u64) {
        let Kind::Histogram(bounds) = metric.row().kind else {
            debug_assert!(false, "{metric:?} is no histogram");
            return;
        };
        self.bump(metric, bounds.partition_point(|&bound| bound < value), n);
        self.bump(metric, bounds.len() + 1, value.saturating_mul(n));
    }

    #[inline]
    fn bump(&self, metric: Metric, at: usize, n: u64) {
        if let Some(cell) = self.cell(metric, at) {
            // One writer: nothing can come between.
            let value = cell.load(Ordering::Relaxed);
            cell.store(value.wrapping_add(n), Ordering::Relaxed);
        }
    }

    #[inline]
    fn cell(&self, metric: Metric, at: usize) -> Option<&AtomicU64> {
        let row = metric.row();
        debug_assert_eq!(row.scope, self.scope, "{metric:?} belongs elsewhere");
        if row.scope != self.scope {
            return None;
        }
        self.cells.get(metric.offset() + at)
    }
}

type Key = (Scope, Vec<String>);

/// By worker; a worker that never asked has none.
type Block = Vec<Option<Arc<Cells>>>;

/// All cells of the process.
#[derive(Debug)]
pub struct Registry {
    workers: u16,
    blocks: Mutex<BTreeMap<Key, Block>>,
}

impl Registry {
    /// Cells for `workers` workers.
    pub fn new(workers: u16) -> Self {
        Self {
            workers: workers.max(1),
            blocks: Mutex::new(BTreeMap::new()),
        }
    }

    /// The cells of one worker for one set of labels: the same ones for the same labels. The names
    /// must be those of [`Scope::label_names`], in order.
    pub fn block(
        &self,
        worker: WorkerId,
        scope: Scope,
        labels: &[(&'static str, String)],
    ) -> Arc<Cells> {
        debug_assert!(scope.has_cells());
        debug_assert!(labels.iter().map(|(name, _)| name).eq(scope.label_names()));
        let mut key = (
            scope,
            labels.iter().map(|(_, value)| value.clone()).collect(),
        );
        let mut blocks = lock(&self.blocks);
        if blocks.len() >= BLOCKS_MAX && !blocks.contains_key(&key) {
            key.1 = vec![OTHER.to_owned(); labels.len()];
        }
        let block = blocks.entry(key).or_default();
        let at = usize::from(worker.0.min(self.workers - 1));
        if block.len() <= at {
            block.resize(at + 1, None);
        }
        let cells = block[at].get_or_insert_with(|| Arc::new(Cells::new(scope)));
        Arc::clone(cells)
    }

    /// A dead worker's gauges show nothing any more; what it counted stays. Nobody writes its cells
    /// now, so that the rule of one writer holds.
    pub(crate) fn forget_worker(&self, worker: WorkerId) {
        for ((scope, _), block) in lock(&self.blocks).iter() {
            let Some(Some(cells)) = block.get(usize::from(worker.0)) else {
                continue;
            };
            let gauges = Metric::ALL.iter().filter(|metric| {
                let row = metric.row();
                row.scope == *scope && row.kind == Kind::Gauge
            });
            for metric in gauges {
                cells.set(*metric, 0);
            }
        }
    }

    /// One family a row of the table, in its order, merged over workers. Rows without cells have
    /// no samples here.
    pub fn collect(&self) -> Vec<Family> {
        let mut families: Vec<_> = Metric::ALL.iter().map(|m| Family::new(m.row())).collect();
        for ((scope, values), block) in lock(&self.blocks).iter() {
            let sums = merged(*scope, block);
            let names = scope.label_names().iter().copied();
            let labels: Vec<_> = names.zip(values.iter().cloned()).collect();
            for metric in Metric::ALL.iter().filter(|m| m.row().scope == *scope) {
                let cells = &sums[metric.offset()..];
                metric
                    .family(&mut families)
                    .extend(metric.row(), &labels, cells);
            }
        }
        families
    }
}

/// The cells of one set of labels, summed over workers.
fn merged(scope: Scope, block: &Block) -> Vec<u64> {
    let mut sums = vec![0_u64; block_width(scope)];
    for cells in block.iter().flatten() {
        for (sum, cell) in sums.iter_mut().zip(&cells.cells) {
            *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
        }
    }
    sums
}
