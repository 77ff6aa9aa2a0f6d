//! The configuration of a run, drawn from its seed.

use std::net::{Ipv4Addr, SocketAddr};

use engine::random::Random;
use engine::snapshot::Http2;
use engine::snapshot::plan::{
    Address, Balance, CertificatePlan, ChannelPlan, ClientTlsPlan, Commit, EjectPlan, EndpointPlan,
    HeaderPlan, HostPolicy, ListenerKind, ListenerPlan, MatchPlan, MinVersion, Plan, PoolPlan,
    RetryPlan, RoutePlan, ServerTlsPlan, TimeoutPlan,
};

use crate::secure::Agrees;

/// Endpoints there are; a plan uses some of them.
pub(crate) const UPSTREAMS: usize = 4;
pub(crate) const PLAIN: u32 = 0;
pub(crate) const HALF_CLOSE: u32 = 1;
pub(crate) const PROXY: u32 = 2;
pub(crate) const TLS: u32 = 3;
pub(crate) const TLS_HALF_CLOSE: u32 = 4;
pub(crate) const TLS_PROXY: u32 = 5;

/// What comes first on listeners with the PROXY protocol.
pub(crate) const PROXY_LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";

/// Whether a FIN behind a whole request is no goodbye there.
pub(crate) fn half_close(listener: u32) -> bool {
    matches!(listener, HALF_CLOSE | TLS_HALF_CLOSE)
}

/// Whether connections begin with a handshake there.
pub(crate) fn secure(listener: u32) -> bool {
    listener >= TLS
}

/// Whether they begin with a PROXY protocol header.
pub(crate) fn proxied(listener: u32) -> bool {
    matches!(listener, PROXY | TLS_PROXY)
}

pub(crate) fn address(upstream: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9000 + upstream as u16))
}

/// Which upstream listens there.
pub(crate) fn upstream_of(address: &Address) -> usize {
    match address {
        Address::Tcp(address) => usize::from(address.port() - 9000),
        Address::Unix(_) | Address::Name { .. } => {
            unreachable!("the simulator has addresses only")
        }
    }
}

/// Where a client connects.
pub(crate) fn listener_drawn(random: &mut Random) -> u32 {
    match random.below(12) {
        0 => HALF_CLOSE,
        1 => PROXY,
        2..5 => TLS,
        5 => TLS_HALF_CLOSE,
        6 => TLS_PROXY,
        _ => PLAIN,
    }
}

fn listener(name: &str, kind: ListenerKind) -> ListenerPlan {
    ListenerPlan {
        http2: true,
        gather_max_us: 50,
        name: name.to_owned(),
        address: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
        kind,
        trusted_peers: Vec::new(),
        trust_unix: false,
        proxy_protocol: name.ends_with("proxy"),
        half_close: name.ends_with("half"),
        cors: None,
        connections_max: 1000,
        connections_per_source_max: 0,
        idle_ms: 4000,
        head_ms: 3000,
        requests_max: 0,
        tls: name.starts_with("tls").then(|| ServerTlsPlan {
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

/// What stays the same over the reloads of one run.
pub(crate) struct Mood {
    pub(crate) held_body: u64,
    pub(crate) held: u64,
    pub(crate) heartbeat_ms: u64,
    pub(crate) commit: Commit,
    pub(crate) attempts_max: u32,
    pub(crate) capacity: u32,
    pub(crate) concurrency: u32,
    /// How each upstream is spoken to.
    pub(crate) http2: [Http2; UPSTREAMS],
    /// Which upstreams want TLS.
    pub(crate) secure: [bool; UPSTREAMS],
    /// What each agrees to then.
    pub(crate) agrees: [Agrees; UPSTREAMS],
}

impl Mood {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let pick = |random: &mut Random, of: &[u64]| of[random.below(of.len() as u64) as usize];
        Self {
            held_body: pick(random, &[20_000, 70_000, 1 << 20]),
            held: pick(random, &[30_000, 150_000, 4 << 20]),
            heartbeat_ms: pick(random, &[0, 0, 60, 300]),
            commit: if random.below(4) == 0 {
                Commit::Head
            } else {
                Commit::FirstEvent
            },
            attempts_max: pick(random, &[1, 2, 3]) as u32,
            capacity: pick(random, &[0, 1, 3, 16]) as u32,
            concurrency: pick(random, &[1, 2, 4, 64]) as u32,
            http2: std::array::from_fn(|_| version(random)),
            secure: std::array::from_fn(|_| random.below(3) == 0),
            agrees: std::array::from_fn(|_| Agrees::draw(random)),
        }
    }
}

fn version(random: &mut Random) -> Http2 {
    [Http2::Always, Http2::Always, Http2::Auto, Http2::Never][random.below(4) as usize]
}

pub(crate) fn draw(mood: &Mood, random: &mut Random) -> Plan {
    let pools = vec![pool("one", mood, random), pool("two", mood, random)];
    let route = |name: &str, model: &str, pool: u32, body_bytes_max: u64| RoutePlan {
        name: name.to_owned(),
        matches: MatchPlan {
            models: vec![model.to_owned()],
            ..MatchPlan::default()
        },
        pool,
        class: 1,
        class_header: Some("x-class".to_owned()),
        dialect: None,
        body_bytes_max,
        expose: false,
        websocket: true,
    };
    Plan {
        via: "sim".to_owned(),
        listeners: vec![
            listener("plain", ListenerKind::Data),
            listener("half", ListenerKind::Data),
            listener("proxy", ListenerKind::Data),
            listener("tls", ListenerKind::Data),
            listener("tls half", ListenerKind::Data),
            listener("tls proxy", ListenerKind::Data),
        ],
        pools,
        routes: vec![
            route("alpha", "alpha", 0, 1 << 20),
            route("beta", "bet*", 1, 60_000),
        ],
        default_pool: Some(0),
        held_bytes_max: mood.held,
        held_body_bytes_max: mood.held_body,
        access_log: Some("-".to_owned()),
        log_fields: vec!["x-sim-id".to_owned()],
    }
}

fn tls_to(upstream: usize, http2: Http2) -> ClientTlsPlan {
    let alpn: &[&str] = match http2 {
        Http2::Always => &["h2"],
        Http2::Auto => &["h2", "http/1.1"],
        Http2::Never => &["http/1.1"],
    };
    ClientTlsPlan {
        server_name: format!("up{upstream}"),
        ca: None,
        certificate: None,
        verify: true,
        min_version: MinVersion::V12,
        alpn: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
    }
}

fn pool(name: &str, mood: &Mood, random: &mut Random) -> PoolPlan {
    let count = 1 + random.below(3) as usize;
    let first = random.below(UPSTREAMS as u64) as usize;
    let endpoints = (0..count)
        .map(|at| {
            let upstream = (first + at) % UPSTREAMS;
            let http2 = if random.below(20) == 0 {
                version(random)
            } else {
                mood.http2[upstream]
            };
            EndpointPlan {
                http2,
                name: format!("up{upstream}"),
                address: Address::Tcp(address(upstream)),
                authority: format!("up{upstream}"),
                path_prefix: String::new(),
                weight: 1 + random.below(3) as u32,
                concurrency: mood.concurrency,
                tls: mood.secure[upstream].then(|| tls_to(upstream, http2)),
            }
        })
        .collect();
    let balances = [Balance::LeastLoaded, Balance::Weighted, Balance::PeakEwma];
    PoolPlan {
        name: name.to_owned(),
        modality: "chat".to_owned(),
        balance: balances[random.below(3) as usize],
        endpoints,
        channel: ChannelPlan {
            capacity: mood.capacity,
            bytes_max: 200_000,
            max_wait_ms: 400,
        },
        timeouts: TimeoutPlan {
            connect_ms: 200,
            head_ms: if random.below(2) == 0 { 0 } else { 1500 },
            first_token_ms: 1000,
            inter_token_ms: 1000,
            unary_total_ms: 8000,
            stream_total_ms: if random.below(4) == 0 { 3000 } else { 0 },
            client_stall_ms: 2000,
        },
        retry: RetryPlan {
            attempts_max: mood.attempts_max,
            budget_ratio: 0.2,
            budget_min_per_s: 1 + random.below(3) as u32,
            statuses: vec![502, 503, 504],
        },
        eject: EjectPlan {
            consecutive: 3,
            base_ms: 300,
            max_ms: 1000,
            max_percent: 50,
        },
        headers: HeaderPlan::default(),
        host: HostPolicy::Endpoint,
        strip_prefix: String::new(),
        connections_max: mood.concurrency,
        idle_ms: 1500,
        heartbeat_ms: mood.heartbeat_ms,
        commit: mood.commit,
        models: Vec::new(),
    }
}
