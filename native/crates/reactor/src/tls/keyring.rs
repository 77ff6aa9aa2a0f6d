//! All of TLS that a configuration needs, read from its files before anything is swapped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use engine::shared::CertificateView;
use engine::snapshot::plan::{ClientTlsPlan, Plan};

use super::client::{Client, Clients};
use super::server::Server;
use super::{Tickets, TlsError};

/// Listeners' and endpoints' TLS of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// By position of the listener.
    servers: Arc<[Option<Arc<Server>>]>,
    clients: Arc<Clients>,
}

impl Keyring {
    /// Reads every file that `plan` names. `earlier` is the configuration in force: sessions with
    /// endpoints outlive a reload that changes nothing about them.
    pub fn load(plan: &Plan, tickets: &Arc<Tickets>, earlier: &Self) -> Result<Self, TlsError> {
        let mut servers = Vec::with_capacity(plan.listeners.len());
        for listener in &plan.listeners {
            let server = match &listener.tls {
                Some(tls) => Some(Arc::new(Server::load(listener, tls, tickets)?)),
                None => None,
            };
            servers.push(server);
        }
        let mut clients = HashMap::new();
        let endpoints = plan.pools.iter().flat_map(|pool| &pool.endpoints);
        for tls in endpoints.filter_map(|endpoint| endpoint.tls.as_ref()) {
            if let Entry::Vacant(place) = clients.entry(key_of(tls)) {
                let client = Client::load(tls, earlier.clients.get(place.key()))?;
                place.insert(client);
            }
        }
        Ok(Self {
            servers: servers.into(),
            clients: Arc::new(clients),
        })
    }

    /// The certificates that listeners offer, for the metrics.
    pub fn certificates(&self) -> Vec<CertificateView> {
        let servers = self.servers.iter().flatten();
        servers
            .flat_map(|server| server.certificates.iter().cloned())
            .collect()
    }

    pub(crate) fn server(&self, listener: usize) -> Option<Arc<Server>> {
        self.servers.get(listener).cloned().flatten()
    }

    pub(crate) fn client(&self, plan: &ClientTlsPlan) -> Option<&Arc<Client>> {
        self.clients.get(&key_of(plan))
    }
}

/// The plan less what a dial may ask for in another way.
fn key_of(plan: &ClientTlsPlan) -> ClientTlsPlan {
    ClientTlsPlan {
        alpn: Vec::new(),
        ..plan.clone()
    }
}
