//! Accepting: one [`Acceptor`] per process, held by a thread of its own or, with one worker, by
//! that worker's driver.
//!
//! When descriptors run out, accepting pauses on a timer instead of spinning on a listener that
//! stays ready. A tenth of the limit is kept back for upstream connections, the log and the admin
//! listener; how near the limit is shows in the number of each new descriptor, because the system
//! gives out the lowest free one.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use engine::clock::MS;
use engine::ids::{ListenerId, WorkerId};
use engine::input::{Accepted, Mail};
use engine::snapshot::ListenerKind;
use rustix::io::Errno;
use socket2::Socket;

use crate::clock;
use crate::fleet::{Fleet, Letter};
use crate::limits::{ACCEPT_PAUSE_MS, ACCEPTS_MAX, DESCRIPTOR_RESERVE_PERCENT};
use crate::listener::Listening;
use crate::poller::{Key, Poller, Want};
use crate::process;

/// A new set of listeners, and mail for workers that must not overtake or be overtaken by sockets
/// of the old set: whoever holds the acceptor carries out both, in this order.
pub(crate) struct Orders {
    /// In the order of the plan. Listeners that are not named are closed.
    pub(crate) listeners: Vec<Order>,
    pub(crate) then: Vec<(WorkerId, Mail)>,
}

pub(crate) enum Order {
    /// A listener we have gets this id.
    Keep {
        serial: u32,
        id: ListenerId,
    },
    Add {
        serial: u32,
        listening: Listening,
    },
}

struct Entry {
    serial: u32,
    listening: Listening,
    ready: bool,
}

/// The listeners, and when to accept from them.
pub(crate) struct Acceptor {
    entries: Vec<Entry>,
    /// Descriptors from this number on are not for clients.
    reserve_from: u64,
    resume_at_ns: Option<u64>,
    /// Where the next look starts, so that no listener starves the others.
    start: usize,
}

impl Acceptor {
    pub(crate) fn new(descriptors_max: Option<u64>) -> Self {
        let limit = descriptors_max.unwrap_or_else(process::nofile_limit);
        let reserve_from = limit - limit.saturating_mul(DESCRIPTOR_RESERVE_PERCENT) / 100;
        Self {
            entries: Vec::new(),
            reserve_from,
            resume_at_ns: None,
            start: 0,
        }
    }

    /// Takes a new set of listeners. What clients have queued on a listener that goes is accepted
    /// first: the system would reset it.
    pub(crate) fn rearrange(
        &mut self,
        orders: Vec<Order>,
        poller: &Poller,
        mut give: impl FnMut(Socket, Accepted),
    ) -> io::Result<()> {
        let mut old = std::mem::take(&mut self.entries);
        for order in orders {
            match order {
                Order::Keep { serial, id } => {
                    if let Some(at) = old.iter().position(|entry| entry.serial == serial) {
                        let mut entry = old.swap_remove(at);
                        entry.listening.id = id;
                        self.entries.push(entry);
                    }
                }
                Order::Add { serial, listening } => {
                    poller.add(&listening.socket, Key::Listener(serial), Want::Read)?;
                    self.entries.push(Entry {
                        serial,
                        listening,
                        ready: true,
                    });
                }
            }
        }
        for entry in old {
            // A successor may hold the same socket: closing ours would not end the watching.
            let _ = poller.remove(&entry.listening.socket);
            for _ in 0..crate::limits::BACKLOG {
                let Ok((socket, accepted)) = accept(&entry.listening) else {
                    break;
                };
                give(socket, accepted);
            }
        }
        Ok(())
    }

    /// Hands everything over to the acceptor of another driver.
    pub(crate) fn surrender(&mut self, poller: &Poller) -> Vec<Order> {
        let given = std::mem::take(&mut self.entries).into_iter();
        given
            .map(|entry| {
                let _ = poller.remove(&entry.listening.socket);
                Order::Add {
                    serial: entry.serial,
                    listening: entry.listening,
                }
            })
            .collect()
    }

    pub(crate) fn note(&mut self, serial: u32) {
        for entry in &mut self.entries {
            entry.ready |= entry.serial == serial;
        }
    }

    /// There is something to accept now.
    pub(crate) fn ready(&self) -> bool {
        self.resume_at_ns.is_none() && self.entries.iter().any(|entry| entry.ready)
    }

    /// When to look again after a pause.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.resume_at_ns
    }

    /// Accepts at most `ACCEPTS_MAX` sockets. Returns how many.
    pub(crate) fn accept(&mut self, now_ns: u64, mut give: impl FnMut(Socket, Accepted)) -> usize {
        let admin_only = match self.resume_at_ns {
            Some(at_ns) if now_ns < at_ns => return 0,
            Some(_) => self.scarce(),
            None => false,
        };
        self.resume_at_ns = None;
        let mut count = 0;
        let listeners = self.entries.len();
        for step in 0..listeners {
            let at = (self.start + step) % listeners;
            let entry = &mut self.entries[at];
            if admin_only && entry.listening.kind == ListenerKind::Data {
                self.pause(now_ns);
                continue;
            }
            while count < ACCEPTS_MAX && self.entries[at].ready {
                match accept(&self.entries[at].listening) {
                    Ok((socket, accepted)) => {
                        let scarce = socket.as_raw_fd() as u64 >= self.reserve_from;
                        give(socket, accepted);
                        count += 1;
                        if scarce && self.entries[at].listening.kind == ListenerKind::Data {
                            self.pause(now_ns);
                            break;
                        }
                    }
                    Err(error) => match Errno::from_io_error(&error) {
                        Some(Errno::AGAIN) => self.entries[at].ready = false,
                        // The client left while it was queued, or a signal came.
                        Some(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                        _ => {
                            self.pause(now_ns);
                            return count;
                        }
                    },
                }
            }
        }
        self.start = self.start.wrapping_add(1);
        count
    }

    /// Stops looking for a while; listeners stay marked as ready.
    pub(crate) fn pause(&mut self, now_ns: u64) {
        self.resume_at_ns = Some(now_ns + ACCEPT_PAUSE_MS * MS);
    }

    fn scarce(&self) -> bool {
        let Some(entry) = self.entries.first() else {
            return false;
        };
        match rustix::io::fcntl_dupfd_cloexec(&entry.listening.socket, 0) {
            Ok(fd) => fd.as_raw_fd() as u64 >= self.reserve_from,
            Err(_) => true,
        }
    }
}

fn accept(listening: &Listening) -> io::Result<(Socket, Accepted)> {
    // accept4 with CLOEXEC and NONBLOCK where there is one.
    #[cfg(target_os = "linux")]
    let (socket, peer) = {
        use rustix::net::{SocketFlags, acceptfrom_with};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, peer) = acceptfrom_with(&listening.socket, flags)?;
        let peer = peer.and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
        (Socket::from(fd), peer)
    };
    #[cfg(not(target_os = "linux"))]
    let (socket, peer) = {
        let (socket, peer) = listening.socket.accept()?;
        socket.set_nonblocking(true)?;
        (socket, peer.as_socket())
    };
    let (peer, local) = if listening.unix {
        (None, None)
    } else {
        let asked = || socket.local_addr().ok().and_then(|local| local.as_socket());
        (peer, listening.local.or_else(asked))
    };
    let accepted = Accepted {
        listener: listening.id,
        peer,
        local,
    };
    Ok((socket, accepted))
}

/// The loop of the acceptor's thread: sockets to the workers with the fewest live exchanges.
pub(crate) fn run(mut poller: Poller, fleet: &Arc<Fleet>, mut acceptor: Acceptor) {
    let mut inbox = VecDeque::new();
    loop {
        let now_ns = clock::mono_ns();
        let timeout_ns = match acceptor.deadline_ns() {
            Some(at_ns) => Some(at_ns.saturating_sub(now_ns)),
            None if acceptor.ready() => Some(0),
            None => None,
        };
        if poller.wait(timeout_ns).is_err() {
            // Without a poller there is no accepting; what runs goes on.
            fleet.count_bug();
            return;
        }
        for event in &poller.events {
            if let Key::Listener(serial) = Key::of(event.token()) {
                acceptor.note(serial);
            }
        }
        fleet.acceptor_mailbox().take(&mut inbox);
        while let Some(letter) = inbox.pop_front() {
            match letter {
                Letter::Listen(orders) => {
                    let give = |socket, accepted| fleet.place(socket, accepted);
                    if acceptor.rearrange(orders.listeners, &poller, give).is_err() {
                        fleet.count_bug();
                    }
                    for (worker, mail) in orders.then {
                        let _ = fleet.post(worker, Letter::Mail(mail));
                    }
                }
                Letter::Stop => return,
                Letter::Mail(_) | Letter::Socket(..) | Letter::Ended(..) => {}
            }
        }
        let now_ns = clock::mono_ns();
        if fleet.has_room() {
            acceptor.accept(now_ns, |socket, accepted| fleet.place(socket, accepted));
        } else {
            acceptor.pause(now_ns);
        }
    }
}
