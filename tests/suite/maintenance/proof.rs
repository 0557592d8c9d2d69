//! "Nothing is under way any more" under load: the backend keeps its own count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::{OK, barrier, close, open};
use crate::support::{Client, Origin, Server, Setup};

/// What the backend has at this moment, and what it has ever had.
#[derive(Default)]
struct Count {
    now: AtomicUsize,
    ever: AtomicUsize,
}

fn counting() -> (Origin, Arc<Count>) {
    let count = Arc::new(Count::default());
    let shared = Arc::clone(&count);
    let origin = Origin::new(move |peer| {
        while peer.request().is_some() {
            shared.ever.fetch_add(1, SeqCst);
            shared.now.fetch_add(1, SeqCst);
            // Counted until it is answered; from then on others may know of it.
            shared.now.fetch_sub(1, SeqCst);
            peer.send(OK);
        }
    });
    (origin, count)
}

/// Asks without pause, reading and writing by turns; how many were let in.
fn ask(server: std::net::SocketAddr, over: &AtomicBool) -> usize {
    let mut client = Client::connect(server);
    let mut let_in = 0;
    while !over.load(SeqCst) {
        for request in [
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
        ] {
            match client.send(request).response().status {
                200 => let_in += 1,
                503 => {}
                other => panic!("{other}"),
            }
        }
    }
    let_in
}

fn hammer(server: &Server, count: &Count, clients: usize, rounds: usize) {
    let over = Arc::new(AtomicBool::new(false));
    let address = server.address();
    let askers: Vec<_> = (0..clients)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || ask(address, &over))
        })
        .collect();
    for round in 0..rounds {
        close(server);
        let proof = barrier(server, 9000);
        assert_eq!(proof["clean"], true, "round {round}: {proof}");
        let ever = count.ever.load(SeqCst);
        assert_eq!(count.now.load(SeqCst), 0, "round {round}");
        // Whatever the clients ask meanwhile, nothing comes through.
        for _ in 0..3 {
            assert_eq!(server.get("/").status, 503);
        }
        assert_eq!(count.ever.load(SeqCst), ever, "round {round}");
        open(server);
    }
    over.store(true, SeqCst);
    let let_in: usize = askers.into_iter().map(|asker| asker.join().expect("a client")).sum();
    assert_eq!(let_in, count.ever.load(SeqCst), "the backend has seen those and no others");
    assert!(let_in > rounds, "{let_in} were let in");
}

#[test]
fn after_every_proof_the_backend_has_nothing() {
    let (origin, count) = counting();
    let text = "worker_processes 2; events {} http { %%http%% keepalive_requests 1000000; \
                upstream u { server %%origin%%; keepalive 64; keepalive_requests 1000000; } \
                server { listen %%listen%%; location / { proxy_pass http://u; } } }";
    let setup = Setup::main(text).set("origin", origin.address()).error_level("notice");
    hammer(&setup.start(), &count, 24, 100);
}
