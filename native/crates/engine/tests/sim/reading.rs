//! Simulated clients read at their own pace, follow the protocol and check every byte.

use engine::clock::SECOND;
use engine::limits::EVENT_TAIL_BYTES_MAX;
use wire::h1::Event as Said;

use crate::answer::Got;
use crate::client::Tunnel;
use crate::oracle::method;
use crate::world::{Event, World};

impl World {
    pub(crate) fn client_readable(&mut self, c: usize, l: usize) {
        if self.clients[c].link != Some(l) {
            return;
        }
        match self.clients[c].slow {
            Some((_, interval)) => {
                if !std::mem::replace(&mut self.clients[c].reading, true) {
                    let interval = if self.calm {
                        interval.min(SECOND / 100)
                    } else {
                        interval
                    };
                    self.after(interval, Event::ClientRead(c, l));
                }
            }
            None => self.client_take(c, l, usize::MAX),
        }
    }

    pub(crate) fn client_read(&mut self, c: usize, l: usize) {
        if self.clients[c].link != Some(l) {
            return;
        }
        self.clients[c].reading = false;
        let most = match self.clients[c].slow {
            Some((bytes, _)) if !self.calm => bytes,
            _ => usize::MAX,
        };
        self.client_take(c, l, most);
        if self.clients[c].link == Some(l) && self.links[l].to_peer.arrived > 0 {
            self.client_readable(c, l);
        }
    }

    fn client_take(&mut self, c: usize, l: usize, most: usize) {
        let mut bytes = Vec::new();
        self.links[l].to_peer.take(most, &mut bytes);
        if !bytes.is_empty() {
            self.peer_took(l);
            self.client_parse(c, l, &bytes);
        }
        let pipe = &self.links[l].to_peer;
        if self.clients[c].link == Some(l) && pipe.fin_arrived && pipe.bytes.is_empty() {
            self.client_ended(c, l, false);
        }
    }

    fn client_parse(&mut self, c: usize, l: usize, mut bytes: &[u8]) {
        if self.clients[c].caller.is_some() {
            return self.caller_parse(c, l, bytes);
        }
        loop {
            let client = &mut self.clients[c];
            if client.tunnel.is_some() {
                return self.client_tunnel(c, l, bytes);
            }
            if client.got.is_none() {
                let over = client.served > 0 && client.sent.is_empty();
                if bytes.is_empty() || over {
                    // The tap watches what the proxy says unasked.
                    return;
                }
                let id = client
                    .sent
                    .pop_front()
                    .expect("a response follows a request");
                let spec = &self.specs[id as usize];
                client.reader.expect(method(spec.verb), spec.websocket());
                client.got = Some(Got::new(spec));
            }
            let said = client.reader.next(&mut bytes, &mut client.head);
            match said.expect("the proxy speaks HTTP") {
                None => return,
                Some(Said::Interim) => {
                    let id = client.got.as_ref().map(|g| g.id);
                    if client.head.status == 100
                        && let Some((_, rest)) = client.reserve.take_if(|r| Some(r.0) == id)
                    {
                        self.client_cut(c, &rest, true);
                        self.client_go_on(c, l);
                    }
                }
                Some(Said::Head) => self.client_head(c),
                Some(Said::Data(data)) => {
                    let got = client.got.as_mut().expect("set above");
                    got.data(data);
                }
                Some(Said::Trailers(_)) => {}
                Some(Said::End) => {
                    if !self.client_complete(c, l) {
                        return;
                    }
                }
            }
        }
    }

    fn client_head(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let got = client.got.as_mut().expect("an answer is under way");
        let spec = &self.specs[got.id as usize];
        got.begin(spec, client.head.status, &client.head.fields);
        client.last_keeps = client.head.keep_alive;
        let track = &mut self.tracks[got.id as usize];
        track.status = got.status;
        track.local = got.local;
        if spec.garbage {
            assert!(matches!(got.status, 400 | 408) && got.local && !client.head.keep_alive);
        }
        if got.status == 101 {
            let id = got.id;
            client.got = None;
            let mut asked = b"early".to_vec();
            asked.truncate(spec.pad);
            let mut message = spec.head();
            message.truncate(60);
            asked.extend_from_slice(&message);
            client.tunnel = Some(Tunnel {
                id,
                asked,
                heard: 0,
            });
            let l = client.link.expect("it reads");
            if !client.gone {
                self.peer_write(l, &message);
            }
        }
    }

    fn client_tunnel(&mut self, c: usize, l: usize, bytes: &[u8]) {
        let Some(tunnel) = &mut self.clients[c].tunnel else {
            return;
        };
        let asked = &tunnel.asked[tunnel.heard..];
        assert!(asked.starts_with(bytes), "the tunnel changed bytes");
        tunnel.heard += bytes.len();
        let whole = tunnel.heard == tunnel.asked.len();
        if whole && !self.clients[c].gone {
            self.tracks[self.clients[c].tunnel.as_ref().expect("a tunnel").id as usize].gone = true;
            self.client_hang_up(c, l);
        }
    }

    /// An answer is whole. False when the connection is over.
    fn client_complete(&mut self, c: usize, l: usize) -> bool {
        let client = &mut self.clients[c];
        let got = client.got.take().expect("an answer is under way");
        let spec = &self.specs[got.id as usize];
        got.is_whole(spec);
        let track = &mut self.tracks[got.id as usize];
        track.complete = true;
        track.error = got.is_error(spec);
        client.served += 1;
        let id = got.id;
        self.trace.line(self.now, || {
            format!("client {c} has the whole answer to {id}")
        });
        let client = &mut self.clients[c];
        if client.reserve.take_if(|r| r.0 == id).is_some() {
            assert!(
                !client.last_keeps,
                "nobody can tell where the next request begins"
            );
        }
        let over = !client.last_keeps || (client.to_send.is_empty() && client.sent.is_empty());
        if !over {
            if !client.gone {
                self.client_go_on(c, l);
            }
            return true;
        }
        if client.outgoing.is_empty() || client.last_keeps || self.chance(50) {
            self.client_hang_up(c, l);
            return false;
        }
        // It goes on sending its body to somebody who will not read it.
        self.clients[c].sent.clear();
        true
    }

    /// The connection ended at the client: by FIN behind all bytes, or by RST.
    pub(crate) fn client_ended(&mut self, c: usize, l: usize, reset: bool) {
        if self.clients[c].link != Some(l) {
            return;
        }
        if reset {
            // What had arrived can be read still.
            let mut bytes = Vec::new();
            self.links[l].to_peer.take(usize::MAX, &mut bytes);
            self.client_parse(c, l, &bytes);
            if self.clients[c].link != Some(l) {
                return;
            }
        }
        if self.clients[c].caller.is_some() {
            return self.caller_ended(c, l, reset);
        }
        let client = &mut self.clients[c];
        let end = if reset {
            Err(wire::h1::Truncated)
        } else {
            client.reader.close()
        };
        if client.got.is_some() && matches!(end, Ok(Some(Said::End))) {
            client.last_keeps = false;
            if !self.client_complete(c, l) {
                return;
            }
        }
        if let Some(tunnel) = &self.clients[c].tunnel
            && !reset
            && !self.clients[c].gone
        {
            let (id, heard, asked) = (tunnel.id, tunnel.heard, tunnel.asked.len());
            self.tunnel_over(id, heard, asked);
        }
        // A reset takes along what the network has: that is no fault of the proxy.
        let answering = self.clients[c].got.as_ref().map(|g| g.id);
        let lost = reset && answering.is_some_and(|id| self.was_sent(l, id));
        let client = &mut self.clients[c];
        if let Some(got) = client.got.take() {
            let track = &mut self.tracks[got.id as usize];
            track.cut = true;
            // Who stops reading is given up, be it behind its last answer.
            track.gone |= client.slow.is_some_and(|(_, interval)| interval > SECOND);
            track.gone |= lost;
            let loose = !client.gone
                && !got.scanner.at_boundary()
                && !got.tail.is_empty()
                && !reset
                && got.expected.len() < EVENT_TAIL_BYTES_MAX;
            assert!(
                !loose,
                "a stream ended in the middle of an event: {}",
                got.id
            );
        } else if let Some(&id) = client.sent.front() {
            // A first request is answered, unless the client itself broke off.
            let excused = client.gone || client.served > 0 || self.closing_down || reset;
            let unsent = !client.outgoing.is_empty() || !self.links[l].peer_out.is_empty();
            assert!(excused || unsent, "request {id} was never answered");
        }
        if !self.links[l].peer_gone {
            self.links[l].peer_gone = true;
            self.links[l].peer_fin = true;
            self.peer_pump(l);
        }
        self.client_next(c);
    }
}
