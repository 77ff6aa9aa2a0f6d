//! TLS as the engine sees it: handshakes that succeed, fail, never end or are left, what they agree
//! on, and connections whose end nobody announced.

use engine::clock::MS;
use engine::input::{Alpn, Closed, Connected, DialError, Input, Secured, TlsFault, TlsVersion};
use engine::output::Dial;
use engine::random::Random;

use crate::link::Link;
use crate::node::Inbound;
use crate::plan;
use crate::world::{Event, World};

/// What TLS is on one connection.
pub(crate) struct Tls {
    /// The handshake is under way: no byte behind it is read.
    shaking: bool,
    /// Bytes of a PROXY protocol header that come before it and were not read.
    ahead: usize,
    /// What is agreed on.
    alpn: Alpn,
    version: TlsVersion,
    resumed: bool,
    /// Whom the client's certificate names.
    principal: Option<String>,
    /// The only protocol that was offered was HTTP/2.
    wants_h2: bool,
}

/// What an endpoint agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agrees {
    Both,
    H2,
    Http11,
    /// It does not know ALPN.
    Nothing,
}

impl Agrees {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let all = [
            Self::Both,
            Self::Both,
            Self::H2,
            Self::Http11,
            Self::Nothing,
        ];
        all[random.below(5) as usize]
    }
}

impl Link {
    /// A handshake is under way, and this many bytes may be read before it.
    pub(crate) fn shaking(&self) -> Option<usize> {
        let tls = self.tls.as_ref().filter(|tls| tls.shaking);
        tls.map(|tls| tls.ahead)
    }

    /// Bytes were read: perhaps those of a PROXY protocol header.
    pub(crate) fn read_ahead(&mut self, bytes: usize) {
        if let Some(tls) = &mut self.tls {
            tls.ahead = tls.ahead.saturating_sub(bytes);
        }
    }

    /// What its log lines say of it.
    pub(crate) fn secured(&self) -> (Option<TlsVersion>, Option<&str>) {
        let tls = self.tls.as_ref();
        (
            tls.map(|tls| tls.version),
            tls.and_then(|tls| tls.principal.as_deref()),
        )
    }

    /// What the first bytes to an upstream must be, if the handshake says so.
    pub(crate) fn speaks_h2(&self) -> Option<bool> {
        let tls = self.tls.as_ref()?;
        Some(match tls.alpn {
            Alpn::H2 => true,
            Alpn::Http11 => false,
            Alpn::None => tls.wants_h2,
        })
    }
}

impl World {
    // ---- clients -------------------------------------------------------------------------------

    /// A client comes to a listener with TLS; `h2`: it is to speak HTTP/2.
    pub(crate) fn client_secures(&mut self, c: usize, l: usize, h2: bool) {
        let listener = self.links[l].listener;
        if !plan::secure(listener) {
            return;
        }
        let random = &mut self.random;
        let unsaid = random.below(4) == 0;
        let alpn = match (unsaid, h2) {
            (true, _) => Alpn::None,
            (false, true) => Alpn::H2,
            (false, false) => Alpn::Http11,
        };
        let ahead = if listener == plan::TLS_PROXY {
            plan::PROXY_LINE.len()
        } else {
            0
        };
        self.links[l].tls = Some(Tls {
            shaking: true,
            ahead,
            alpn,
            version: [TlsVersion::V12, TlsVersion::V13][random.below(2) as usize],
            resumed: random.below(3) == 0,
            principal: (random.below(2) == 0).then(|| format!("spiffe://sim/{c}/{l}")),
            wants_h2: false,
        });
        self.handshakes += 1;
        let trouble = !self.calm && self.chance(self.faults.leave / 6);
        if trouble && self.chance(25) {
            // It never ends. Who takes part in it hears nothing.
            *self.seen.entry("handshake without end").or_default() += 1;
            self.client_is_lost(c);
            return;
        }
        let closed = trouble.then(|| match self.random.below(8) {
            0 => Closed::Eof,
            1 => Closed::Truncated,
            2 => Closed::Reset,
            3 => Closed::TimedOut,
            _ => Closed::Tls(TlsFault::ALL[self.random.below(6) as usize]),
        });
        let delay = self.delay() + self.random.below(20 * MS);
        self.after(delay, Event::Handshake(c, l, closed));
    }

    /// The client of this connection is not to be answered.
    fn client_is_lost(&mut self, c: usize) {
        let client = &mut self.clients[c];
        client.gone = true;
        for id in client.to_send.drain(..) {
            self.tracks[id as usize].gone = true;
        }
    }

    /// A handshake comes to its end.
    pub(crate) fn handshake(&mut self, c: usize, l: usize, closed: Option<Closed>) {
        let link = &self.links[l];
        if link.rst.is_some() || link.proxy_gone || link.closing.is_some() {
            return;
        }
        if link.conn.is_none() || link.shaking() != Some(0) {
            // The socket waits to be accepted, or the PROXY header to be read.
            if link.shaking().is_some() {
                self.after(5 * MS, Event::Handshake(c, l, closed));
            }
            return;
        }
        let Some(closed) = closed else {
            let w = link.worker;
            return self.post(w, Inbound::Secured(l));
        };
        self.trace
            .line(self.now, || format!("handshake of link {l}: {closed:?}"));
        *self.seen.entry("handshake failed").or_default() += 1;
        self.links[l].rst = Some(closed);
        self.links[l].peer_gone = true;
        self.links[l].peer_out.clear();
        self.links[l].to_proxy.bytes.clear();
        self.links[l].to_proxy.arrived = 0;
        if self.clients[c].link == Some(l) {
            self.client_is_lost(c);
            self.client_next(c);
        }
        self.list(l);
    }

    /// The engine is told that a handshake is complete.
    pub(crate) fn secure(&mut self, w: usize, l: usize) {
        let link = &mut self.links[l];
        let (Some(conn), Some(tls)) = (link.conn, &mut link.tls) else {
            return;
        };
        tls.shaking = false;
        let secured = Secured {
            alpn: tls.alpn,
            server_name: Some("sim.example".to_owned()),
            principal: tls.principal.as_deref().map(Into::into),
            version: tls.version,
            resumed: tls.resumed,
        };
        let silent = self.nodes[w].engine.pending(conn).is_empty();
        assert!(silent, "something was said before the handshake's end");
        self.trace
            .line(self.now, || format!("link {l} is secured: {secured:?}"));
        let kind = match secured.alpn {
            Alpn::H2 => "client agreed on h2",
            Alpn::Http11 => "client agreed on http/1.1",
            Alpn::None => "client agreed on nothing",
        };
        *self.seen.entry(kind).or_default() += 1;
        let input = Input::Secured(conn, Box::new(secured));
        self.nodes[w].engine.handle(input);
        self.list(l);
    }

    /// What the end of a connection's bytes is told as.
    pub(crate) fn fin_means(&mut self, l: usize) -> Closed {
        let link = &self.links[l];
        let announced = match (&link.tls, link.cut) {
            (None, _) => true,
            (Some(_), Some(cut)) => !cut,
            (Some(_), None) => self.random.below(2) == 0,
        };
        if announced {
            return Closed::Eof;
        }
        *self.seen.entry("truncated").or_default() += 1;
        Closed::Truncated
    }

    /// What a connection dies of.
    pub(crate) fn death(&mut self, l: usize) -> Closed {
        let secured = self.links[l].tls.is_some();
        match self.random.below(8) {
            0 => Closed::TimedOut,
            1 | 2 if secured => Closed::Tls(TlsFault::Broken),
            _ => Closed::Reset,
        }
    }

    // ---- upstreams -----------------------------------------------------------------------------

    /// Shakes hands with an endpoint, if it is to be: what comes of a dial that succeeded.
    pub(crate) fn upstream_secures(
        &mut self,
        upstream: usize,
        to: &Dial,
    ) -> Result<Connected, DialError> {
        let Some(tls) = &to.tls else {
            return Ok(Connected::default());
        };
        let faulty = !self.calm && self.chance(self.faults.dial / 3);
        if faulty {
            return Err(DialError::Tls("a simulated fault"));
        }
        let offers = |protocol: &str| tls.alpn.iter().any(|offered| offered == protocol);
        let (h2, http11) = (offers("h2"), offers("http/1.1"));
        let agrees = if self.chance(5) {
            // It was set up anew.
            Agrees::draw(&mut self.random)
        } else {
            self.mood.agrees[upstream]
        };
        let alpn = match agrees {
            Agrees::Nothing => Alpn::None,
            _ if tls.alpn.is_empty() => Alpn::None,
            Agrees::Both | Agrees::H2 if h2 => Alpn::H2,
            Agrees::Both | Agrees::Http11 if http11 => Alpn::Http11,
            _ => return Err(DialError::Tls("no protocol in common")),
        };
        let version = [TlsVersion::V12, TlsVersion::V13][self.random.below(2) as usize];
        Ok(Connected {
            peer: None,
            alpn,
            tls: Some((version, self.random.below(2) == 0)),
        })
    }

    /// A connection to an upstream stands.
    pub(crate) fn upstream_secured(&mut self, l: usize, connected: Connected, wants_h2: bool) {
        let Some((version, resumed)) = connected.tls else {
            return;
        };
        let kind = match connected.alpn {
            Alpn::H2 => "upstream agreed on h2",
            Alpn::Http11 => "upstream agreed on http/1.1",
            Alpn::None => "upstream agreed on nothing",
        };
        *self.seen.entry(kind).or_default() += 1;
        self.links[l].tls = Some(Tls {
            shaking: false,
            ahead: 0,
            alpn: connected.alpn,
            version,
            resumed,
            principal: None,
            wants_h2,
        });
    }

    /// The first bytes to an upstream tell which version the proxy speaks there.
    pub(crate) fn speaks(&self, l: usize, h2: bool) {
        if let Some(agreed) = self.links[l].speaks_h2() {
            assert_eq!(h2, agreed, "link {l}: another version than was agreed on");
        }
    }

    /// A request's forwarding fields tell of the client's connection.
    pub(crate) fn forwarded(&self, id: u64, proto: Option<&[u8]>) {
        let asked = self.tracks[id as usize].link;
        let secured = asked.is_some_and(|l| self.links[l].tls.is_some());
        let expected: &[u8] = if secured { b"https" } else { b"http" };
        assert_eq!(proto, Some(expected), "request {id} came over {asked:?}");
    }

    /// Every handshake is counted once.
    pub(crate) fn judge_handshakes(&self) {
        let families = self.shared.collect(self.now);
        let family = &families[engine::metrics::Metric::TlsHandshakes as usize];
        let counted: f64 = family
            .samples
            .iter()
            .map(|sample| match sample.value {
                engine::metrics::Value::Number(value) => value,
                engine::metrics::Value::Histogram { .. } => unreachable!("a counter"),
            })
            .sum();
        let begun = self.handshakes as f64;
        assert!(
            (counted - begun).abs() < 0.5,
            "{counted} of {begun} counted"
        );
    }

    /// Nothing is written before a handshake's end.
    pub(crate) fn watch_handshakes(&self, w: usize) {
        for (l, link) in self.links.iter().enumerate() {
            if let Some(conn) = link.conn.filter(|_| link.worker == w)
                && link.shaking().is_some()
            {
                let silent = self.nodes[w].engine.pending(conn).is_empty();
                assert!(silent, "link {l}: in clear");
            }
        }
    }
}
