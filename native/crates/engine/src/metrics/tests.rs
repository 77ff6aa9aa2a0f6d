use std::collections::BTreeSet;

use super::*;
use crate::error::FAILURE_KINDS;
use crate::ids::WorkerId;
use crate::shared::{Charge, Shared};

fn labels(scope: Scope, values: &[&str]) -> Vec<(&'static str, String)> {
    let names = scope.label_names().iter();
    names
        .zip(values)
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

fn block(registry: &Registry, worker: u16, scope: Scope) -> std::sync::Arc<Cells> {
    registry.block(WorkerId(worker), scope, &labels(scope, &["x", "y"]))
}

/// Sum of all numbers, or the count of all histograms, of a metric.
fn total(families: &[Family], metric: Metric) -> f64 {
    let value = |sample: &Sample| match &sample.value {
        Value::Number(value) => *value,
        Value::Histogram { count, .. } => *count as f64,
    };
    families[metric as usize].samples.iter().map(value).sum()
}

#[test]
fn names_are_unique_and_say_their_unit() {
    let names: BTreeSet<_> = TABLE.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), TABLE.len());
    for row in TABLE {
        let counter = row.kind == Kind::Counter;
        assert_eq!(row.name.ends_with("_total"), counter, "{}", row.name);
        let base = row.name.trim_end_matches("_total");
        assert_eq!(
            base.ends_with("_seconds"),
            row.unit == Unit::Seconds,
            "{}",
            row.name
        );
        assert_eq!(
            base.ends_with("_bytes"),
            row.unit == Unit::Bytes,
            "{}",
            row.name
        );
        assert!(row.help.ends_with('.') && row.name.starts_with("fastproxy_"));
    }
}

#[test]
fn every_row_is_reachable_and_touches_nothing_else() {
    let rows = Metric::ALL
        .iter()
        .filter(|metric| metric.row().scope.has_cells());
    for &metric in rows {
        let registry = Registry::new(1);
        let cells = block(&registry, 0, metric.row().scope);
        match metric.row().kind {
            Kind::Counter => cells.inc(metric),
            Kind::Gauge => cells.set(metric, 1),
            Kind::Histogram(_) => cells.observe(metric, 0),
        }
        let families = registry.collect();
        for &other in Metric::ALL {
            let want = if other == metric { 1.0 } else { 0.0 };
            assert!(
                (total(&families, other) - want).abs() < 1e-9,
                "{metric:?} {other:?}"
            );
        }
    }
}

#[test]
fn rows_without_cells_come_from_the_shared_state() {
    let shared = Shared::new(1);
    shared.held_bytes.set_max(100);
    let mut charge = Charge::new(&shared.held_bytes);
    assert!(charge.try_take(7));
    shared.set_generation(3);
    let families = shared.collect(0);
    assert_eq!(families.len(), TABLE.len());
    assert!((total(&families, Metric::HeldBytes) - 7.0).abs() < 1e-9);
    assert!((total(&families, Metric::HeldBytesMax) - 100.0).abs() < 1e-9);
    assert!((total(&families, Metric::Generation) - 3.0).abs() < 1e-9);
}

#[test]
fn families_are_in_the_order_of_the_table() {
    for (at, family) in Registry::new(1).collect().iter().enumerate() {
        assert_eq!(family.name, TABLE[at].name);
        assert_eq!(Metric::ALL[at] as usize, at);
    }
}

#[test]
fn workers_are_merged() {
    let registry = Registry::new(3);
    for worker in 0..3 {
        let cells = block(&registry, worker, Scope::Pool);
        cells.add(Metric::Tokens, 10);
        cells.inc_at(Metric::Sheds, Shed::Hopeless as usize);
        cells.observe(
            Metric::FirstToken,
            u64::from(worker) * 100 * crate::clock::MS,
        );
        let worker_cells = block(&registry, worker, Scope::Worker);
        worker_cells.add(Metric::Streams, 5);
        worker_cells.sub(Metric::Streams, u64::from(worker));
    }
    let families = registry.collect();
    assert_eq!(families[Metric::Tokens as usize].samples.len(), 1);
    assert!((total(&families, Metric::Tokens) - 30.0).abs() < 1e-9);
    assert!((total(&families, Metric::Streams) - 12.0).abs() < 1e-9);
    let sheds = &families[Metric::Sheds as usize].samples;
    assert_eq!(sheds.len(), 4);
    assert_eq!(sheds[1].labels[2], ("reason", "hopeless".to_owned()));
    assert_eq!(sheds[1].value, Value::Number(3.0));
    let Value::Histogram { sum, count, .. } =
        &families[Metric::FirstToken as usize].samples[0].value
    else {
        panic!("a histogram")
    };
    assert!((sum - 0.3).abs() < 1e-9 && *count == 3);
}

#[test]
fn a_dead_worker_keeps_its_counts_and_loses_its_gauges() {
    let registry = Registry::new(2);
    for worker in 0..2 {
        let cells = block(&registry, worker, Scope::Listener);
        cells.add(Metric::Connections, 3);
        cells.add(Metric::ClientOpen, 2);
    }
    registry.forget_worker(WorkerId(1));
    let families = registry.collect();
    assert!((total(&families, Metric::Connections) - 6.0).abs() < 1e-9);
    assert!((total(&families, Metric::ClientOpen) - 2.0).abs() < 1e-9);
}

#[test]
fn a_bound_belongs_to_its_bucket() {
    let registry = Registry::new(1);
    let cells = block(&registry, 0, Scope::Pool);
    for depth in [0, 1, 2, 3, 4, 1_024, 1_025, u64::MAX / 2] {
        cells.observe(Metric::ChannelDepth, depth);
    }
    let families = registry.collect();
    let Value::Histogram { buckets, count, .. } =
        &families[Metric::ChannelDepth as usize].samples[0].value
    else {
        panic!("a histogram")
    };
    let at = |bound: f64| buckets.iter().find(|(le, _)| *le >= bound).unwrap().1;
    assert_eq!(
        [at(0.0), at(1.0), at(2.0), at(4.0), at(8.0), at(1_024.0)],
        [1, 2, 3, 5, 5, 6]
    );
    assert_eq!(buckets.last().unwrap(), &(f64::INFINITY, 8));
    assert_eq!(*count, 8);
}

#[test]
fn times_are_shown_in_seconds() {
    let registry = Registry::new(1);
    block(&registry, 0, Scope::Worker).observe_n(Metric::TokenDelay, 30_000, 4);
    let families = registry.collect();
    let Value::Histogram {
        buckets,
        sum,
        count,
    } = &families[Metric::TokenDelay as usize].samples[0].value
    else {
        panic!("a histogram")
    };
    assert!((sum - 1.2e-4).abs() < 1e-12 && *count == 4);
    assert!((buckets[0].0 - 1e-6).abs() < 1e-12);
    let first = buckets.iter().find(|(_, n)| *n > 0).unwrap();
    assert!((first.0 - 3e-5).abs() < 1e-12);
}

#[test]
fn bounds_rise() {
    for row in TABLE {
        if let Kind::Histogram(bounds) = row.kind {
            assert!(
                bounds.windows(2).all(|pair| pair[0] < pair[1]),
                "{}",
                row.name
            );
            assert!(bounds.len() <= 24 && row.label.is_none(), "{}", row.name);
        }
    }
}

#[test]
fn the_same_labels_give_the_same_cells_and_counters_never_fall() {
    let registry = Registry::new(2);
    let first = block(&registry, 1, Scope::Route);
    first.inc(Metric::Requests);
    drop(first);
    // A reload asks again: what was counted is still there.
    let again = block(&registry, 1, Scope::Route);
    again.inc(Metric::Requests);
    assert!((total(&registry.collect(), Metric::Requests) - 2.0).abs() < 1e-9);
}

#[test]
fn label_sets_are_bounded() {
    let registry = Registry::new(1);
    let route = |n: usize| {
        registry.block(
            WorkerId(0),
            Scope::Route,
            &labels(Scope::Route, &[&n.to_string()]),
        )
    };
    for n in 0..crate::shared::cells::BLOCKS_MAX + 50 {
        route(n).inc(Metric::Requests);
    }
    let families = registry.collect();
    let samples = &families[Metric::Requests as usize].samples;
    assert_eq!(samples.len(), crate::shared::cells::BLOCKS_MAX + 1);
    let other = samples
        .iter()
        .find(|sample| sample.labels[0].1 == "other")
        .unwrap();
    assert_eq!(other.value, Value::Number(50.0));
    // Those that were there before still are.
    route(3).inc(Metric::Requests);
    assert!((total(&registry.collect(), Metric::Requests) - 10_051.0).abs() < 1e-9);
}

#[test]
fn label_values_match_their_enums() {
    let values = |metric: Metric| metric.row().label.unwrap().1;
    assert_eq!(values(Metric::LocalReplies).len(), FAILURE_KINDS.len());
    assert_eq!(values(Metric::Sheds)[Shed::MaxWait as usize], "max_wait");
    assert_eq!(
        values(Metric::Sheds)[Shed::NoEndpoint as usize],
        "no_endpoint"
    );
    assert_eq!(values(Metric::Timeouts)[Timeout::Total as usize], "total");
    assert_eq!(
        values(Metric::Violations)[wire::Code::BadResponse as usize],
        "bad_response"
    );
    assert_eq!(values(Metric::Responses)[code_class(429)], "4xx");
    assert_eq!([code_class(100), code_class(999), code_class(0)], [0, 4, 0]);
}
