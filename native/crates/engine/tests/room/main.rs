//! The waiting room: its rules one by one, and any sequence of steps against a model.
#![cfg(not(loom))]
#![allow(missing_docs)]

mod model;
mod rules;

use std::sync::Arc;

use engine::ids::{ExchangeId, WorkerId};
use engine::shared::{Ask, Endpoint, Room, RoomConfig};
use engine::snapshot::plan::{Address, Balance, ChannelPlan, EjectPlan, EndpointPlan, RetryPlan};

fn config(concurrency: &[u32], capacity: u32) -> RoomConfig {
    let endpoint = |(n, &concurrency): (usize, &u32)| EndpointPlan {
        http2: engine::snapshot::Http2::default(),
        name: format!("http://e{n}"),
        address: Address::Tcp(([127, 0, 0, 1], 80).into()),
        authority: format!("e{n}"),
        path_prefix: String::new(),
        weight: 1,
        concurrency,
        tls: None,
    };
    RoomConfig {
        balance: Balance::LeastLoaded,
        endpoints: concurrency.iter().enumerate().map(endpoint).collect(),
        channel: ChannelPlan {
            capacity,
            bytes_max: 1_000,
            max_wait_ms: 2_000,
        },
        retry: RetryPlan {
            attempts_max: 3,
            budget_ratio: 0.2,
            budget_min_per_s: 1,
            statuses: vec![502],
        },
        eject: EjectPlan {
            consecutive: 3,
            base_ms: 1_000,
            max_ms: 8_000,
            max_percent: 50,
        },
    }
}

fn room(config: &RoomConfig) -> (Arc<Room>, Vec<Arc<Endpoint>>) {
    let room = Arc::new(Room::new("pool"));
    let endpoints = room.configure(config, 0);
    (room, endpoints)
}

fn id(index: u32) -> ExchangeId {
    ExchangeId {
        index,
        generation: 0,
    }
}

fn ask(index: u32, now_ns: u64) -> Ask<'static> {
    Ask {
        class: 1,
        excluded: &[],
        worker: WorkerId(0),
        exchange: id(index),
        held_bytes: 0,
        now_ns,
        sequence: None,
    }
}
