//! Many clients against a door that is opened and closed all the time: whenever it is proven that
//! nothing is under way, the server behind agrees.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::OK;
use crate::support::{Client, DEADLINE, Origin, Setup, Site, is_reference};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\
    Content-Length: 2\r\n\r\nhi";
const CLIENTS: usize = 200;
const ROUNDS: usize = 1000;
/// What a slow machine does not manage in this time it need not.
const LONGEST: Duration = Duration::from_secs(20);

fn post(site: &Site, path: &str, body: &Value) -> Value {
    let (status, lines) = site.ask_control("POST", path, &body.to_string());
    let text = lines.rest();
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// What clients and the test share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Answers of those who were let in, and of those who were not.
    open: AtomicUsize,
    shut: AtomicUsize,
    /// Counts openings; who was turned away waits for the next one.
    openings: Mutex<usize>,
    opened: Condvar,
}

impl Shared {
    fn open_again(&self) {
        *self.openings.lock().expect("a lock") += 1;
        self.opened.notify_all();
    }

    fn openings(&self) -> usize {
        *self.openings.lock().expect("a lock")
    }

    fn wait_for_opening(&self, before: usize) {
        let openings = self.openings.lock().expect("a lock");
        let same = |openings: &mut usize| *openings == before;
        let waited = self.opened.wait_timeout_while(openings, DEADLINE, same);
        assert!(!waited.expect("a lock").1.timed_out(), "it was opened again");
    }
}

/// Asks until it is told to stop, and is the first one in when it is opened.
fn client(address: SocketAddr, request: &str, shared: &Shared) {
    let mut client: Option<Client> = None;
    while !shared.stop.load(SeqCst) {
        let before = shared.openings();
        let connection = client.get_or_insert_with(|| Client::connect(address));
        let answer = connection.send(request).response();
        if answer.header("Connection") == Some("close") {
            client = None;
        }
        match answer.status {
            200 => drop(shared.open.fetch_add(1, SeqCst)),
            503 => {
                shared.shut.fetch_add(1, SeqCst);
                shared.wait_for_opening(before);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_proof_is_never_wrong() {
    if is_reference() {
        return;
    }
    let behind = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&behind);
    let origin = Origin::new(move |peer| {
        while let Some(head) = peer.head() {
            count.fetch_add(1, SeqCst);
            let whole = head.starts_with(b"GET ") || peer.exactly(2).is_some();
            thread::yield_now();
            count.fetch_sub(1, SeqCst);
            if !whole || !peer.send(OK) {
                return;
            }
        }
    });
    // Connections are kept on both sides, so that the requests are what races.
    let server = Setup::main(
        "worker_processes 4; runtime_state %%dir%%/state; events {}
        http { %%http%% access_log off; keepalive_requests 1000000;
            upstream behind { server %%origin%%; keepalive 256; keepalive_requests 1000000; }
            server { listen %%listen%%; location / { proxy_pass http://behind;
                proxy_http_version 1.1; proxy_set_header Connection ''; } } }",
    );
    let server = server.set("origin", origin.address()).error_level("notice").start();
    let shared = Shared::default();
    let (begun, address) = (Instant::now(), server.address());
    let mut rounds = 0;
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (request, shared) = (if number % 4 == 0 { POST } else { GET }, &shared);
            scope.spawn(move || client(address, request, shared));
        }
        while rounds < ROUNDS && begun.elapsed() < LONGEST {
            let path = "/1/proxyd/maintenance/default";
            post(&server, path, &json!({ "state": "closed" }));
            let proof = post(&server, "/1/proxyd/barrier/default", &json!({ "timeout_ms": 9000 }));
            assert_eq!(proof["timed_out"], false, "{proof}");
            let found = behind.load(SeqCst);
            assert_eq!((found, &proof["clean"]), (0, &json!(true)), "round {rounds}: {proof}");
            post(&server, path, &json!({ "state": "open" }));
            shared.open_again();
            rounds += 1;
        }
        shared.stop.store(true, SeqCst);
    });
    let Shared { open, shut, .. } = shared;
    let (open, shut, took) = (open.into_inner(), shut.into_inner(), begun.elapsed());
    eprintln!("{rounds} rounds in {took:?}: {open} let in, {shut} turned away");
    assert!(rounds > 20 && open > 0 && shut > 0);
}
