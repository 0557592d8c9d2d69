//! Owns a request under a configuration, without a server: what routes and templates are timed on.
//! Must not be needed by what is sans-io.

use proxyd::conf::{Contexts, Disk, Env, Span, parse, render};
use proxyd::http::client::Client;
use proxyd::http::draft::Scope;
use proxyd::http::finish;
use proxyd::http::h1::Progress;
use proxyd::http::h1::request::{Limits, RequestParser};
use proxyd::http::live::Live;
use proxyd::http::request::{Request, Start};
use proxyd::http::snapshot::Snapshot;
use proxyd::log::{ErrorLog, Level, LogFile};
use proxyd::net::Peer;
use proxyd::zone::gates::{Order, State};
use proxyd::zone::{Counters, Gates};
use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// A server with its files.
pub struct Site {
    snapshot: Arc<Snapshot>,
    live: Rc<Live>,
    gates: Gates,
    runtime: Runtime,
    _dir: TempDir,
}

impl Site {
    /// Reads the directives of one `server`.
    pub fn new(server: &str) -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let snapshot = Arc::new(load(dir.path(), server)?);
        let log = Arc::new(LogFile::open(dir.path().join("error.log"))?);
        let files = snapshot.needs.log_files.iter().map(|_| log.clone()).collect();
        let slot = Counters::create()?.1.slot(0).ok_or("no slot of counters")?;
        let errors = ErrorLog::single(log, Level::Emerg);
        let gates = Gates::create()?.1;
        let door = gates.door(0).ok_or("no door")?;
        let live = Rc::new(Live::new(&snapshot, None, files, Vec::new(), errors, slot, door));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { snapshot, live, gates, runtime, _dir: dir })
    }

    /// Closes it for maintenance.
    pub fn close(&self) {
        let order = Order { state: State::Closed, ..Order::default() };
        self.gates.set(self.gates.default_switch(), &order);
    }

    /// A request as it is when its head has been read.
    pub fn request(&self, head: &[u8]) -> Result<Request, Box<dyn Error>> {
        let _inside = self.runtime.enter();
        let (stream, _) = UnixStream::pair()?;
        let peer = Peer::Inet(([127, 0, 0, 1], 40000).into());
        let bound = proxyd::net::Address::Inet(std::net::SocketAddr::from(([127, 0, 0, 1], 80)));
        let client = Rc::new(Client::new(7, stream.into(), peer, bound.into()));
        let (snapshot, live) = (self.snapshot.clone(), self.live.clone());
        let location = snapshot.servers.first().ok_or("no server")?.root;
        let mut req = Request::new(Start { client, snapshot, live, server: 0, location });
        let progress = RequestParser::new().feed(&Limits::default(), head, &mut req.head)?;
        if progress == Progress::Partial {
            return Err("the head is not complete".into());
        }
        req.take_target();
        Ok(req)
    }
}

fn load(prefix: &Path, server: &str) -> Result<Snapshot, Box<dyn Error>> {
    let mut disk = Disk;
    let mut env = Env::new(&mut disk, prefix, prefix);
    let mut http = Scope::new(Contexts::HTTP, Span::NOWHERE);
    let mut scope = Scope::new(Contexts::SERVER, Span::NOWHERE);
    // From a file, because blocks are not allowed in text from the command line.
    let path = prefix.join("server.conf");
    std::fs::write(&path, server)?;
    let directives = parse(&mut env, &path);
    scope.read(&directives, &mut env);
    http.servers.push(scope);
    match finish::finish(http, &mut env) {
        Some(snapshot) if env.errors.is_empty() => Ok(snapshot),
        _ => Err(render(&env).into()),
    }
}
