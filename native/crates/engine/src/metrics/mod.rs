//! Everything that is counted: one table, from which cells, exposition and documentation are made.
//!
//! A worker writes cells of its own (see `shared::cells`) and nobody else does; they are merged
//! when somebody looks. Labels come from the configuration only, never from a client.
//! **Invariant:** a counter never falls while the process lives, whatever is reloaded.

mod buckets;
mod family;
mod table;

pub use crate::shared::cells::{Cells, Registry};
pub use family::{Family, Sample, Value};
pub(crate) use table::RESOLUTIONS;
pub use table::{Metric, TABLE};

/// Whose labels a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// No labels; cells of a worker.
    Worker,
    /// By listener.
    Listener,
    /// By route.
    Route,
    /// By pool and modality.
    Pool,
    /// By pool and endpoint.
    Endpoint,
    /// No cells: read from the shared state when somebody looks.
    Process,
    /// As `Process`, with the label `pool`.
    Room,
    /// As `Process`, with the labels `pool` and `endpoint`.
    Slot,
    /// As `Process`, with the labels `listener` and `name`.
    Certificate,
}

/// How many scopes there are.
pub(crate) const SCOPES: usize = 9;

impl Scope {
    /// Names of the labels, in order.
    pub const fn label_names(self) -> &'static [&'static str] {
        match self {
            Self::Worker | Self::Process => &[],
            Self::Listener => &["listener"],
            Self::Route => &["route"],
            Self::Pool => &["pool", "modality"],
            Self::Room => &["pool"],
            Self::Endpoint | Self::Slot => &["pool", "endpoint"],
            Self::Certificate => &["listener", "name"],
        }
    }

    /// Whether workers have cells for it.
    pub const fn has_cells(self) -> bool {
        !matches!(
            self,
            Self::Process | Self::Room | Self::Slot | Self::Certificate
        )
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls; workers' values are summed.
    Gauge,
    /// Upper bounds of the buckets, in the metric's unit; above the last there is one more.
    Histogram(&'static [u64]),
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Items,
    /// Bytes.
    Bytes,
    /// Nanoseconds in cells, seconds when shown.
    Seconds,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// Full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Whose labels it has.
    pub scope: Scope,
    /// What it counts.
    pub unit: Unit,
    /// For people.
    pub help: &'static str,
    /// A further label with a fixed set of values, counted with `inc_at`.
    pub label: Option<(&'static str, &'static [&'static str])>,
}

impl Row {
    /// Cells that it takes in a block of its scope.
    const fn width(&self) -> usize {
        match (self.kind, self.label) {
            // One a bucket, the open one, and the sum. The count is the sum of the buckets.
            (Kind::Histogram(bounds), _) => bounds.len() + 2,
            (Kind::Counter | Kind::Gauge, Some((_, values))) => values.len(),
            (Kind::Counter | Kind::Gauge, None) => 1,
        }
    }
}

const fn layout() -> ([usize; TABLE.len()], [usize; SCOPES]) {
    let mut offsets = [0; TABLE.len()];
    let mut widths = [0; SCOPES];
    let mut at = 0;
    while at < TABLE.len() {
        let scope = TABLE[at].scope as usize;
        offsets[at] = widths[scope];
        widths[scope] += TABLE[at].width();
        at += 1;
    }
    (offsets, widths)
}

const LAYOUT: ([usize; TABLE.len()], [usize; SCOPES]) = layout();

impl Metric {
    /// Its row.
    #[inline]
    pub const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its first cell in a block of its scope.
    #[inline]
    pub(crate) const fn offset(self) -> usize {
        LAYOUT.0[self as usize]
    }

    /// Its family among those that `Registry::collect` gives: they are in the table's order.
    pub(crate) fn family(self, families: &mut [Family]) -> &mut Family {
        &mut families[self as usize]
    }
}

/// Cells of a block of `scope`.
pub(crate) const fn block_width(scope: Scope) -> usize {
    LAYOUT.1[scope as usize]
}

/// Positions of the `reason` label of [`Metric::Sheds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The channel was full.
    Full,
    /// The predicted wait was above `max_wait`.
    Hopeless,
    /// `max_wait` passed in the channel.
    MaxWait,
    /// No endpoint was available.
    NoEndpoint,
}

/// Positions of the `kind` label of [`Metric::Timeouts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Upstream dial.
    Connect,
    /// Upstream response head.
    Head,
    /// First event of a stream.
    FirstToken,
    /// Silence within a stream.
    InterToken,
    /// Whole exchange.
    Total,
}

/// Positions of the `family` label of [`Metric::DialAttempts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFamily {
    /// TCP over IPv4.
    Ipv4,
    /// TCP over IPv6.
    Ipv6,
    /// A unix socket.
    Unix,
}

/// Positions of the `outcome` label of [`Metric::Resolutions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The name has the addresses that it had.
    Same,
    /// It has others, or its first.
    Changed,
    /// None was found.
    Failed,
}

/// Position of a status in the `code_class` label of [`Metric::Responses`].
pub fn code_class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, 5) - 1
}

#[cfg(test)]
mod tests;
