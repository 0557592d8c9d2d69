//! How a connection ends: in two steps where the client may still be asking, at once where it is idle.

use std::sync::{Mutex, mpsc};

use nix::sys::signal::Signal;

use super::{alone, speaking};
use crate::support::h2::{GOAWAY, H2, NO_ERROR};
use crate::support::{DEADLINE, OK, Origin, is_reference};

/// The stream that a first GOAWAY names: any that may be.
const ANY: u32 = (1 << 31) - 1;

#[test]
fn a_worker_that_leaves_loses_no_stream() {
    if is_reference() {
        return;
    }
    let (go, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let origin = Origin::new(move |peer| {
        peer.request();
        gate.lock().expect("a lock").recv().expect("a word");
        peer.send(OK);
    });
    let mut server = speaking(&origin, "location / { proxy_pass http://%%origin%%; }");
    let mut h2 = H2::connect(server.address());
    let slow = h2.get("/slow");
    origin.received();
    server.signal(Signal::SIGQUIT);
    let first = h2.next_of(GOAWAY);
    assert_eq!((first.number(0), first.number(4)), (ANY, NO_ERROR));
    // What was on its way when the first word came is served as well.
    let late = h2.get("/said");
    let (mut last, mut open) = (ANY, vec![slow, late]);
    while !open.is_empty() {
        let frame = h2.next().unwrap_or_else(|| panic!("{open:?} are lost"));
        if frame.kind == GOAWAY {
            last = frame.number(0);
            go.send(()).expect("an origin");
        }
        if frame.ends_stream() {
            open.retain(|stream| *stream != frame.stream);
        }
    }
    assert_eq!(last, late);
    while h2.next().is_some() {}
    assert!(server.wait(DEADLINE).expect("an end").success());
    assert_eq!(server.read("h2.log").matches(" 200 OK.").count(), 2);
}

/// A client that is busy with something else, or gone without a word.
#[test]
fn a_client_that_hears_nothing_is_not_waited_for() {
    let mut server = alone("");
    let mut h2 = H2::connect(server.address());
    let said = h2.get("/said");
    assert_eq!(h2.answer(said).status, 200);
    server.quit();
    drop(h2);
}

#[test]
fn an_idle_connection_is_told() {
    let server = alone("keepalive_timeout 200ms;");
    let mut h2 = H2::connect(server.address());
    let said = h2.get("/said");
    assert_eq!(h2.answer(said).status, 200);
    assert_eq!(h2.farewell(), Some(NO_ERROR));
}

#[test]
fn a_connection_takes_only_so_many_requests() {
    let server = alone("keepalive_requests 3;");
    let mut h2 = H2::connect(server.address());
    for _ in 0..3 {
        let said = h2.get("/said");
        assert_eq!(h2.answer(said).status, 200);
    }
    assert_eq!(h2.farewell(), Some(NO_ERROR));
}
