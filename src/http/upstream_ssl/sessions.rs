//! Owns what a worker keeps for one way to speak TLS with upstreams: rustls's form of the settings, and
//! the sessions that can be resumed, a server's own.

use super::Settings;
use crate::net::Address;
use crate::tls::{Certificate, client};
use rustls::ClientConfig;
use rustls::client::Resumption;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Servers whose sessions are kept; when there are more, all are forgotten.
const MOST: usize = 1024;

/// The same for all configurations that say the same.
#[derive(Debug)]
pub struct Sessions {
    print: [u8; 32],
    config: Arc<ClientConfig>,
    reuse: bool,
    /// By the group and the address: a server of another group is another one.
    servers: RefCell<HashMap<(String, Address), Arc<ClientConfig>>>,
}

impl Sessions {
    /// For these settings; those from before stay if they are the same. `None` if they cannot be used,
    /// which was seen when the configuration was loaded.
    pub fn new(settings: &Settings, before: &[Option<Rc<Sessions>>]) -> Option<Rc<Sessions>> {
        let same = |old: &&Rc<Sessions>| old.print == settings.print && old.reuse == settings.reuse;
        if let Some(old) = before.iter().flatten().find(same) {
            return Some(old.clone());
        }
        let config = Arc::new(settings.client.config().ok()?);
        let (print, reuse) = (settings.print, settings.reuse);
        Some(Rc::new(Self { print, config, reuse, servers: RefCell::default() }))
    }

    /// For a connection to this server of a group.
    pub fn with(&self, group: &str, server: &Address) -> Arc<ClientConfig> {
        if !self.reuse {
            return self.config.clone();
        }
        let server = (group.to_owned(), server.clone());
        let mut servers = self.servers.borrow_mut();
        if let Some(known) = servers.get(&server) {
            return known.clone();
        }
        if servers.len() >= MOST {
            servers.clear();
        }
        let config = Arc::new(client::with_sessions(&self.config));
        servers.insert(server, config.clone());
        config
    }

    /// For a connection on which this certificate is shown. Nothing is resumed: a session would prove
    /// another one's right.
    pub fn showing(&self, certificate: &Certificate) -> Arc<ClientConfig> {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::disabled();
        client::show(&mut config, certificate);
        Arc::new(config)
    }
}
