//! Owns what a configuration can tell of doors without serving: which switches the requests for a
//! host meet, and tokens for those who are to pass.
//!
//! Must not be on a request's way.

use super::request::Captures;
use super::route::ServerNames;
use super::slots::Slots;
use super::snapshot::Snapshot;
use crate::token;

impl Snapshot {
    /// The names of the switches that requests for this host can meet, at whatever address they
    /// come in; none if no `server` has such a name.
    pub fn switches_of(&self, host: &str) -> Vec<String> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let mut names = Vec::new();
        for endpoint in self.endpoints.all() {
            let slots = Slots::new(self.slots);
            let find =
                |names: &ServerNames| names.find(host.as_bytes(), &mut Captures::default(), &slots);
            let found = find(&endpoint.names).or_else(|| find(&endpoint.lone));
            for at in found.map(|server| self.switches_in(server)).unwrap_or_default() {
                let name = self.needs.switches.get(at).map(|needed| needed.name.clone());
                names.extend(name.filter(|name| !names.contains(name)));
            }
        }
        names
    }

    /// The numbers of the switches of a server.
    fn switches_in(&self, server: usize) -> Vec<usize> {
        let Some(server) = self.servers.get(server) else { return Vec::new() };
        let inside = self.locations.get(server.locations.clone()).unwrap_or_default();
        let Some((root, others)) = inside.split_last() else { return Vec::new() };
        // Where every request finds a location, none stays at the server's own level.
        let root = Some(root).filter(|root| !root.inner.has_prefix(b"/"));
        others.iter().chain(root).filter_map(|level| level.conf.maintenance.joined()).collect()
    }

    /// A token that lets somebody past the door of a switch; the error is a sentence.
    pub fn bypass_token(
        &self,
        switch: &str,
        who: &str,
        until: u64,
        epoch: u64,
    ) -> Result<String, String> {
        if !token::is_name(who) {
            return Err("a token needs a name of at most 64 letters, digits and \"_-.@+\"".into());
        }
        let joined = |at: usize| self.needs.switches.get(at).is_some_and(|one| one.name == switch);
        let mut confs = self.locations.iter().map(|level| &level.conf.maintenance);
        let token = confs.find_map(|conf| {
            conf.joined().filter(|at| joined(*at)).and_then(|_| conf.token(who, until, epoch))
        });
        token.ok_or_else(|| {
            format!("no \"maintenance_bypass_cookie\" where the switch \"{switch}\" is joined")
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::Site;

    #[test]
    fn a_host_has_the_switches_of_its_locations() {
        let site = Site::new(
            "server { listen 1; server_name a.example *.wild.example ~^re; maintenance a;
                location / { return 200; } location /b { maintenance b; }
                location /off { maintenance off; } }
             server { listen 1; server_name c.example; location /c { maintenance c; } }
             server { listen 2; server_name a.example; maintenance d; location / { return 200; } }",
            "listen 3;",
        );
        let of = |host: &str| {
            let mut names = site.snapshot.switches_of(host);
            names.sort();
            names
        };
        assert_eq!(of("A.example"), ["a", "b", "d"]);
        assert_eq!(of("x.wild.example"), ["a", "b"]);
        assert_eq!(of("regular"), ["a", "b"]);
        assert_eq!(of("c.example."), ["c", "default"], "what is in no location is at the server");
        assert!(of("other").is_empty());
    }
}
