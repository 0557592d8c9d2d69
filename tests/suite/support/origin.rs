//! A backend that does as the test says and keeps what it was sent.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::DEADLINE;
use super::client::find;
use super::response::take_chunk;

/// A listening backend; each connection runs the script in a thread.
pub struct Origin {
    address: SocketAddr,
    received: Mutex<mpsc::Receiver<Vec<u8>>>,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    connections: AtomicUsize,
    /// The open ones, by number.
    streams: Mutex<HashMap<usize, TcpStream>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failures: AtomicUsize,
}

impl State {
    /// Runs a connection's script beside the others. The stacks of those that are over are given back.
    fn run(&self, script: impl FnOnce() + Send + 'static) {
        let mut threads = self.threads.lock().expect("a lock");
        let over = threads.extract_if(.., |thread| thread.is_finished());
        let failures = over.filter_map(|thread| thread.join().err()).count();
        self.failures.fetch_add(failures, SeqCst);
        threads.push(thread::spawn(script));
    }
}

/// One connection to the backend, in the hands of the script.
pub struct Peer {
    /// Counts connections from 1.
    pub number: usize,
    stream: TcpStream,
    pending: Vec<u8>,
    record: mpsc::Sender<Vec<u8>>,
}

impl Origin {
    /// Runs `script` for each connection; it is closed when the script returns.
    pub fn new(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (record, received) = mpsc::channel();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let acceptor =
            thread::spawn(move || accept(&listener, &shared, &Arc::new(script), &record));
        Origin { address, received: Mutex::new(received), state, acceptor: Some(acceptor) }
    }

    /// Answers every request with these bytes and keeps the connection.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Origin {
        let bytes = bytes.into();
        Origin::new(move |peer| {
            while peer.request().is_some() {
                peer.send(&bytes);
            }
        })
    }

    /// Answers one request with these bytes and closes.
    pub fn answering_once(bytes: impl Into<Vec<u8>>) -> Origin {
        let bytes = bytes.into();
        Origin::new(move |peer| {
            if peer.request().is_some() {
                peer.send(&bytes);
            }
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request, byte for byte, waiting until there is one.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.received_bytes()).into_owned()
    }

    pub fn received_bytes(&self) -> Vec<u8> {
        let received = self.received.lock().expect("a lock");
        received.recv_timeout(DEADLINE).expect("a request at the backend")
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.stopped.store(true, SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        let acceptor = self.acceptor.take();
        let failed = acceptor.is_some_and(|thread| thread.join().is_err());
        for (_, stream) in self.state.streams.lock().expect("a lock").drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let threads = std::mem::take(&mut *self.state.threads.lock().expect("a lock"));
        let failures = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        let failures = failures + self.state.failures.load(SeqCst);
        assert!(thread::panicking() || (!failed && failures == 0), "a backend script failed");
    }
}

fn accept<S>(
    listener: &TcpListener,
    state: &Arc<State>,
    script: &Arc<S>,
    record: &mpsc::Sender<Vec<u8>>,
) where
    S: Fn(&mut Peer) + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        let stream = stream.expect("a connection");
        if state.stopped.load(SeqCst) {
            return;
        }
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        stream.set_nodelay(true).expect("no delay");
        let number = state.connections.fetch_add(1, SeqCst) + 1;
        let copy = stream.try_clone().expect("a second handle");
        state.streams.lock().expect("a lock").insert(number, copy);
        let mut peer = Peer { number, stream, pending: Vec::new(), record: record.clone() };
        let (script, open) = (Arc::clone(script), Arc::clone(state));
        let run = move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| script(&mut peer)));
            // The copy kept for the end of the test must not hold it open.
            let _ = peer.stream.shutdown(Shutdown::Both);
            open.streams.lock().expect("a lock").remove(&number);
            if let Err(cause) = outcome {
                panic::resume_unwind(cause);
            }
        };
        state.run(run);
    }
}

impl Peer {
    /// The address the connection comes from.
    pub fn from(&self) -> SocketAddr {
        self.stream.peer_addr().expect("an address")
    }

    /// The address the connection was made to.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }

    /// Reads more; `false` at the end of the connection, or of the test.
    fn receive(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.pending.extend_from_slice(&buffer[..count]);
                true
            }
            // The connection may stay idle for the rest of the test.
            Err(error) => matches!(error.kind(), ErrorKind::Interrupted),
        }
    }

    /// Reads until `enough` names how many bytes to take; `None` at the end.
    pub fn read_until(&mut self, enough: impl Fn(&[u8]) -> Option<usize>) -> Option<Vec<u8>> {
        loop {
            if let Some(count) = enough(&self.pending) {
                return Some(self.pending.drain(..count).collect());
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// Reads up to and with the empty line; not recorded.
    pub fn head(&mut self) -> Option<Vec<u8>> {
        self.read_until(|bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4))
    }

    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        self.read_until(|bytes| (bytes.len() >= count).then_some(count))
    }

    /// Whatever comes next, at least a byte; `None` at the end.
    pub fn some(&mut self) -> Option<Vec<u8>> {
        self.read_until(|bytes| (!bytes.is_empty()).then_some(bytes.len()))
    }

    /// Reads a head and the body it announces and records both, as sent.
    pub fn request(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.head()?;
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if text.contains("\r\ntransfer-encoding: chunked\r\n") {
            bytes.extend(self.chunks()?);
        } else if let Some((_, rest)) = text.split_once("\r\ncontent-length: ") {
            let length = rest.lines().next().and_then(|line| line.parse().ok());
            bytes.extend(self.exactly(length.expect("a length"))?);
        }
        self.record(bytes.clone());
        Some(bytes)
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let raw = self.read_until(|bytes| take_chunk(bytes).map(|chunk| chunk.1))?;
            all.extend_from_slice(&raw);
            if raw.starts_with(b"0") {
                return Some(all);
            }
        }
    }

    /// Hands bytes to `Origin::received`.
    pub fn record(&self, bytes: Vec<u8>) {
        // The test may be over; then nobody wants to know.
        let _ = self.record.send(bytes);
    }

    /// Sends bytes; `false` when the other side has gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more will be sent; reading goes on.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the end of the connection a reset.
    pub fn reset(&mut self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &linger).expect("linger");
    }

    /// Waits for the end of the connection, dropping what comes before it.
    pub fn wait_for_end(&mut self) {
        while self.some().is_some() {}
    }
}
