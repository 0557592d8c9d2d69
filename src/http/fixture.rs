//! Owns what unit tests of modules stand on: a configuration from text, and a request under it.
//!
//! Must not be used outside of tests.

use super::client::Client;
use super::draft::Scope;
use super::finish;
use super::live::Live;
use super::request::{Request, Start};
use super::snapshot::Snapshot;
use crate::conf::{Contexts, Disk, Env, Error, Span, World, parse};
use crate::log::{ErrorLog, Level, LogFile};
use crate::net::Peer;
use crate::zone::keyed::{Holder, Keyed, Spec};
use crate::zone::{Counters, Gates};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// A server with its files in a directory of its own.
pub struct Site {
    pub dir: TempDir,
    pub snapshot: Arc<Snapshot>,
    pub live: Rc<Live>,
    /// What an operator would open and close.
    pub gates: Gates,
    /// Sockets belong to it; nothing runs on it.
    runtime: Runtime,
}

impl Site {
    /// Reads directives of the `http` and the `server` level; panics on the first error.
    pub fn new(http: &str, server: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["logs", "html"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (snapshot, errors, _) = load(dir.path(), http, server);
        let snapshot = Arc::new(snapshot.unwrap_or_else(|| panic!("{errors:?}")));
        let open =
            |path: &std::path::PathBuf| Arc::new(LogFile::open(dir.path().join(path)).unwrap());
        let files = snapshot.needs.log_files.iter().map(open).collect();
        let errors = ErrorLog::single(open(&"error.log".into()), Level::Debug);
        let slot = Counters::create().unwrap().1.slot(0).unwrap();
        let me = Holder::worker(0, std::process::id());
        let zone = |spec: &Spec| Rc::new(Keyed::create(spec, me).unwrap().1);
        let zones = snapshot.needs.zones.iter().map(zone).collect();
        let gates = Gates::create().unwrap().1;
        let door = gates.door(0).unwrap();
        let live = Rc::new(Live::new(&snapshot, None, files, zones, errors, slot, door));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir, snapshot, live, gates, runtime }
    }

    /// A GET of `/`, on a connection from 127.0.0.1:40000 to 127.0.0.1:80, at the server's own level.
    pub fn request(&self) -> Request {
        let _inside = self.runtime.enter();
        let (stream, _) = UnixStream::pair().unwrap();
        let peer = Peer::Inet(([127, 0, 0, 1], 40000).into());
        let bound = crate::net::Address::Inet(std::net::SocketAddr::from(([127, 0, 0, 1], 80)));
        let client = Rc::new(Client::new(7, stream.into(), peer, bound.into()));
        let (snapshot, live) = (self.snapshot.clone(), self.live.clone());
        let location = snapshot.servers[0].root;
        let mut req = Request::new(Start { client, snapshot, live, server: 0, location });
        req.head.line = b"GET / HTTP/1.1".to_vec();
        req.uri = b"/".to_vec();
        req
    }

    /// What a file of the site holds; empty when there is none.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

/// The sentences that a configuration is refused with.
pub fn errors(http: &str, server: &str) -> Vec<String> {
    load(Path::new("/nowhere"), http, server).1
}

/// A configuration that may have servers of its own in `http`, and its warnings; panics on errors.
pub fn snapshot(http: &str, server: &str) -> (Snapshot, Vec<String>) {
    let (snapshot, errors, warnings) = load(Path::new("/nowhere"), http, server);
    (snapshot.unwrap_or_else(|| panic!("{errors:?}")), warnings)
}

/// The two texts as files, a resolver that knows two names, and the disk for everything else.
struct Texts<'a> {
    http: &'a str,
    server: &'a str,
}

impl World for Texts<'_> {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/test/http") => Ok(self.http.into()),
            Some("/test/server") => Ok(self.server.into()),
            _ => Disk.read(path),
        }
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        Disk.glob(pattern)
    }

    fn resolve(&mut self, name: &str) -> io::Result<Vec<IpAddr>> {
        match name {
            "one" => Ok(vec![[10, 0, 0, 1].into()]),
            "two" => Ok(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn load(prefix: &Path, http: &str, server: &str) -> (Option<Snapshot>, Vec<String>, Vec<String>) {
    let mut world = Texts { http, server };
    let mut env = Env::new(&mut world, prefix, prefix);
    let mut scope = read(Contexts::HTTP, "/test/http", &mut env);
    let server = read(Contexts::SERVER, "/test/server", &mut env);
    scope.servers.push(server);
    let snapshot = env.errors.is_empty().then(|| finish::finish(scope, &mut env)).flatten();
    let sentences = |list: &[Error]| list.iter().map(|error| error.message.clone()).collect();
    (snapshot, sentences(&env.errors), sentences(&env.warnings))
}

fn read(context: Contexts, path: &str, env: &mut Env) -> Scope {
    let directives = parse(env, Path::new(path));
    let mut scope = Scope::new(context, Span::NOWHERE);
    scope.read(&directives, env);
    scope
}
