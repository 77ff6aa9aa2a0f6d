//! Metrics as they are shown: one family a row of the table, merged over workers.
//!
//! **Invariant:** bucket counts are cumulative and the last bound is infinity.

use super::{Kind, Row, Unit};
use crate::clock::SECOND;

/// All samples of one metric.
#[derive(Clone, Debug)]
pub struct Family {
    /// Full name.
    pub name: &'static str,
    /// For people.
    pub help: &'static str,
    /// What it is. Bounds of histograms are in the cells' unit; samples carry them converted.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// By labels.
    pub samples: Vec<Sample>,
}

/// One value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram {
        /// Upper bound and how many were at or below it.
        buckets: Vec<(f64, u64)>,
        /// Sum of all values.
        sum: f64,
        /// How many there were.
        count: u64,
    },
}

impl Family {
    /// A family without samples.
    pub(crate) fn new(row: &Row) -> Self {
        Self {
            name: row.name,
            help: row.help,
            kind: row.kind,
            unit: row.unit,
            samples: Vec::new(),
        }
    }

    /// Adds a number that is in the unit to be shown.
    pub(crate) fn push(&mut self, labels: &[(&'static str, String)], value: f64) {
        self.samples.push(Sample {
            labels: labels.to_vec(),
            value: Value::Number(value),
        });
    }

    /// Adds a row's samples from its cells, already summed over workers.
    pub(crate) fn extend(&mut self, row: &Row, labels: &[(&'static str, String)], cells: &[u64]) {
        if let Kind::Histogram(bounds) = row.kind {
            let value = histogram(bounds, row.unit, cells);
            self.samples.push(Sample {
                labels: labels.to_vec(),
                value,
            });
            return;
        }
        let Some((name, values)) = row.label else {
            return self.push(labels, shown(row.unit, cells[0]));
        };
        for (value, &cell) in values.iter().zip(cells) {
            let mut labels = labels.to_vec();
            labels.push((name, (*value).to_owned()));
            self.push(&labels, shown(row.unit, cell));
        }
    }
}

fn histogram(bounds: &[u64], unit: Unit, cells: &[u64]) -> Value {
    let (counts, sum) = cells.split_at(bounds.len() + 1);
    let bounds = bounds
        .iter()
        .map(|&bound| shown(unit, bound))
        .chain([f64::INFINITY]);
    let mut count = 0;
    let buckets = bounds
        .zip(counts)
        .map(|(bound, &n)| {
            count += n;
            (bound, count)
        })
        .collect();
    Value::Histogram {
        buckets,
        sum: shown(unit, sum[0]),
        count,
    }
}

fn shown(unit: Unit, cell: u64) -> f64 {
    match unit {
        Unit::Seconds => cell as f64 / SECOND as f64,
        Unit::Items | Unit::Bytes => cell as f64,
    }
}
