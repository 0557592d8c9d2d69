//! Connections to the servers behind: when it is proven that nothing is under way, none is kept that
//! would lead to where these servers were before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::{Value, json};

use super::{Slow, ctl, done, off, on, setup};
use crate::support::{OK, Origin, is_reference, system, version};

/// A server behind that keeps connections, and how many of them are open.
fn keeping() -> (Origin, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let count = open.clone();
    let origin = Origin::new(move |peer| {
        count.fetch_add(1, SeqCst);
        while peer.request().is_some() {
            peer.send(OK);
        }
        count.fetch_sub(1, SeqCst);
    });
    (origin, open)
}

/// A group that keeps connections, reached through two switches.
fn group(origin: &Origin) -> String {
    format!(
        "upstream kept {{ server {}; keepalive 8; }}
        server {{ listen %%listen%%; server_name kept; proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            location / {{ proxy_pass http://kept; }}
            location /shop {{ maintenance shop; proxy_pass http://kept; }} }}",
        origin.address()
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: kept\r\n\r\n")
}

#[test]
fn idle_ones_are_closed_after_a_proof() {
    if is_reference() {
        return;
    }
    let (origin, open) = keeping();
    let server = setup(1, &origin, &group(&origin)).start();
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!(client.send(get("/")).response().status, 200);
    }
    assert_eq!((origin.connections(), open.load(SeqCst)), (1, 1));
    let said = done(&server, &["maintenance", "on", "--barrier", "5s"]);
    assert!(said.ends_with("; 1 idle upstream connection closed\n"), "{said}");
    system::until("it sees the end", || open.load(SeqCst) == 0);
    server.logged("maintenance: 1 idle upstream connection closed");
    let proof: Value = serde_json::from_str(&done(&server, &["barrier", "--json"])).expect("JSON");
    let fields = (&proof["idle_closed"], &proof["idle_kept_by"], &proof["clean"]);
    assert_eq!(fields, (&json!(0), &json!(0), &json!(true)));
    off(&server);
    assert_eq!(client.send(get("/")).response().status, 200);
    assert_eq!(origin.connections(), 2);
}

/// One that serves another switch's request ends with that request.
#[test]
fn one_that_is_in_use_is_not_kept_afterwards() {
    if is_reference() {
        return;
    }
    let slow = Slow::default();
    let origin = slow.origin();
    let server = setup(1, &origin, &group(&origin)).start();
    let mut client = server.client();
    client.send(get("/shop"));
    slow.has(1);
    done(&server, &["maintenance", "on", "--barrier", "5s"]);
    slow.free(1);
    assert_eq!(client.response().status, 200);
    slow.free(1);
    assert_eq!(client.send(get("/shop")).response().status, 200);
    assert_eq!(origin.connections(), 2);
}

/// A proof that is asked for where nothing was ever passed on waits for nobody.
#[test]
fn workers_that_sleep_need_not_answer() {
    if is_reference() {
        return;
    }
    let origin = Origin::answering(OK);
    let server = setup(4, &origin, "").start();
    on(&server);
    let proof: Value = serde_json::from_str(&done(&server, &["barrier", "--json"])).expect("JSON");
    assert_eq!((&proof["clean"], &proof["idle_kept_by"]), (&json!(true), &json!(0)));
    assert!(proof["waited_ms"].as_u64().is_some_and(|waited| waited < 1000), "{proof}");
}

/// Workers of a master that has handed over keep none, and the new ones are reached.
#[test]
fn an_upgrade_makes_no_difference() {
    if is_reference() {
        return;
    }
    let (origin, open) = keeping();
    let daemon = setup(1, &origin, &group(&origin)).start_daemon();
    let mut before = daemon.client();
    assert_eq!(before.send(get("/")).response().status, 200);
    let said = daemon.change(&version::executable(version::SECOND), &["-s", "upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(daemon.client().send(get("/")).response().status, 200);
    let said = ctl(&daemon, &["maintenance", "on", "--barrier", "5s"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    system::until("all have ended", || open.load(SeqCst) == 0);
}
