//! Configurations that differ in what an operation may meet.

use std::net::{Ipv4Addr, SocketAddr};

use crate::snapshot::Http2;
use crate::snapshot::plan::{
    Address, Balance, CertificatePlan, ChannelPlan, ClientTlsPlan, Commit, EjectPlan, EndpointPlan,
    HeaderPlan, HostPolicy, ListenerKind, ListenerPlan, MatchPlan, MinVersion, Plan, PoolPlan,
    RetryPlan, RoutePlan, ServerTlsPlan, TimeoutPlan,
};

fn bit(variant: u8, n: u8) -> bool {
    variant >> n & 1 == 1
}

fn listener(name: &str, variant: u8) -> ListenerPlan {
    ListenerPlan {
        http2: true,
        gather_max_us: if bit(variant, 6) { 0 } else { 50 },
        name: name.to_owned(),
        address: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 80))),
        kind: ListenerKind::Data,
        trusted_peers: Vec::new(),
        trust_unix: false,
        proxy_protocol: name == "proxy",
        half_close: name == "half",
        cors: None,
        connections_max: 15,
        connections_per_source_max: 10,
        idle_ms: 60_000,
        head_ms: 10_000,
        requests_max: if bit(variant, 7) { 2 } else { 0 },
        tls: (name == "tls").then(|| ServerTlsPlan {
            certificates: vec![CertificatePlan {
                cert: "/c".into(),
                key: "/k".into(),
            }],
            client_ca: Some("/ca".into()),
            client_optional: true,
            min_version: MinVersion::V12,
            alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        }),
    }
}

fn pool(name: &str, first: u16, variant: u8) -> PoolPlan {
    PoolPlan {
        name: name.to_owned(),
        modality: "chat".to_owned(),
        balance: if bit(variant, 0) {
            Balance::LeastLoaded
        } else {
            Balance::Weighted
        },
        endpoints: (first..first + 1 + u16::from(bit(variant, 1)))
            .map(|port| EndpointPlan {
                http2: if variant.count_ones() % 2 == 1 {
                    Http2::Always
                } else {
                    Http2::Auto
                },
                name: format!("e{port}"),
                address: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
                authority: "e".to_owned(),
                path_prefix: String::new(),
                weight: 1,
                concurrency: if bit(variant, 2) { 1 } else { 3 },
                tls: (bit(variant, 3) != bit(variant, 4)).then(|| tls(name)),
            })
            .collect(),
        channel: ChannelPlan {
            capacity: 3,
            bytes_max: 100_000,
            max_wait_ms: 1000,
        },
        timeouts: TimeoutPlan {
            connect_ms: 2000,
            head_ms: 30_000,
            first_token_ms: 20_000,
            inter_token_ms: 10_000,
            unary_total_ms: 60_000,
            stream_total_ms: 120_000,
            client_stall_ms: 30_000,
        },
        retry: RetryPlan {
            attempts_max: 2,
            budget_ratio: 0.5,
            budget_min_per_s: 1,
            statuses: vec![503],
        },
        eject: EjectPlan {
            consecutive: 2,
            base_ms: 1000,
            max_ms: 4000,
            max_percent: 50,
        },
        headers: HeaderPlan::default(),
        host: HostPolicy::Client,
        strip_prefix: String::new(),
        connections_max: 3,
        idle_ms: 3000,
        heartbeat_ms: if bit(variant, 3) { 500 } else { 0 },
        commit: if bit(variant, 4) {
            Commit::Head
        } else {
            Commit::FirstEvent
        },
        models: Vec::new(),
    }
}

/// TLS towards an endpoint: of one pool either version, of the other HTTP/1.1 alone.
fn tls(pool: &str) -> ClientTlsPlan {
    let alpn: &[&str] = if pool == "one" {
        &["h2", "http/1.1"]
    } else {
        &["http/1.1"]
    };
    ClientTlsPlan {
        server_name: "e".to_owned(),
        ca: None,
        certificate: None,
        verify: true,
        min_version: MinVersion::V12,
        alpn: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
    }
}

/// A plan that differs by the bits of `variant`.
pub(super) fn plan(variant: u8) -> Plan {
    Plan {
        via: "fuzz".to_owned(),
        listeners: ["plain", "half", "proxy", "tls"]
            .map(|name| listener(name, variant))
            .to_vec(),
        pools: vec![
            pool("one", 9000 + u16::from(bit(variant, 5)), variant),
            pool("two", 9002, variant),
        ],
        routes: vec![RoutePlan {
            name: "m".to_owned(),
            matches: MatchPlan {
                models: vec!["m*".to_owned()],
                ..MatchPlan::default()
            },
            pool: 0,
            class: 1,
            class_header: None,
            dialect: None,
            body_bytes_max: 200_000,
            expose: bit(variant, 6),
            websocket: true,
        }],
        default_pool: Some(1),
        held_bytes_max: 100_000,
        held_body_bytes_max: 40_000,
        access_log: Some("-".to_owned()),
        log_fields: Vec::new(),
    }
}
