//! A name server that knows what the test says.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The answers by name, each with how many seconds it is valid.
type Zone = HashMap<String, (u32, Vec<Ipv4Addr>)>;

/// Answers questions for A records; of a name that it does not know it says so.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    zone: Mutex<Zone>,
    questions: AtomicUsize,
    stopped: AtomicBool,
}

impl NameServer {
    /// Knows no name yet.
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = Some(thread::spawn(move || serve(&socket, &shared)));
        Self { address, state, thread }
    }

    /// What a name stands for from now on.
    pub fn set(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        let mut zone = self.state.zone.lock().expect("a lock");
        zone.insert(name.to_owned(), (ttl, addresses.to_vec()));
    }

    /// How often it has been asked for addresses of version 4.
    pub fn questions(&self) -> usize {
        self.state.questions.load(SeqCst)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, SeqCst);
        if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
            let _ = socket.send_to(b"", self.address);
        }
        let failed = self.thread.take().is_some_and(|thread| thread.join().is_err());
        assert!(thread::panicking() || !failed, "the name server failed");
    }
}

fn serve(socket: &UdpSocket, state: &State) {
    let mut buffer = [0; 512];
    loop {
        let (n, from) = socket.recv_from(&mut buffer).expect("a datagram");
        if state.stopped.load(SeqCst) {
            return;
        }
        socket.send_to(&answer(&buffer[..n], state), from).expect("a datagram");
    }
}

/// RFC 1035, section 4.1: the question again, and an address record for each address.
fn answer(query: &[u8], state: &State) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
        at = end;
    }
    let is_a = query[at + 1..at + 3] == [0, 1];
    let zone = state.zone.lock().expect("a lock");
    let known = zone.get(&labels.join("."));
    let (ttl, addresses) = known.cloned().unwrap_or_default();
    let addresses = if is_a { addresses } else { Vec::new() };
    if is_a {
        state.questions.fetch_add(1, SeqCst);
    }
    let code = if known.is_some() { 0 } else { 3 };
    let count = u16::try_from(addresses.len()).expect("few addresses").to_be_bytes();
    let mut out = [&query[..2], &[0x81, 0x80 | code, 0, 1], &count, &[0; 4]].concat();
    out.extend_from_slice(&query[12..at + 5]);
    for address in addresses {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&address.octets());
    }
    out
}
