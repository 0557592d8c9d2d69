//! What exactly is under way, what the servers behind are like, and cutting off what does not end.

use serde_json::{Value, json};

use super::{Slow, ctl, done, on, setup, text, worker};
use crate::support::{
    Client, Daemon, Frame, OK, Origin, Site, WebSocket, echo, is_reference, system, version,
};

const ORDER: &str =
    "POST /order?secret=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";

fn start(workers: usize) -> (Slow, Origin, Daemon) {
    let slow = Slow::default();
    let origin = slow.origin();
    let daemon = setup(workers, &origin, "").start_daemon();
    (slow, origin, daemon)
}

/// A client whose order is under way behind.
fn order(site: &Site, slow: &Slow) -> Client {
    let mut client = site.client();
    client.send(ORDER);
    slow.has(1);
    client
}

fn listed(site: &Site) -> Value {
    let found: Value =
        serde_json::from_str(&done(site, &["inflight", "default", "--json"])).expect("JSON");
    found[0].clone()
}

#[test]
fn each_request_is_listed() {
    if is_reference() {
        return;
    }
    let (slow, origin, daemon) = start(2);
    assert_eq!(listed(&daemon)["requests"], json!([]));
    let mut client = order(&daemon, &slow);
    let found = listed(&daemon);
    let request = &found["requests"][0];
    assert_eq!((&request["method"], &request["path"]), (&json!("POST"), &json!("/order")));
    assert_eq!((&request["class"], &found["not_listed"]), (&json!("write"), &json!(0)));
    assert_eq!(request["server"], json!(origin.address().to_string()));
    assert_eq!(request["worker"], found["workers"][0]["worker"]);
    assert!(request["age_ms"].is_u64(), "{found}");
    let upstream = &found["upstreams"][0];
    assert_eq!((&upstream["upstream"], &upstream["write"]), (&request["upstream"], &json!(1)));
    let text = done(&daemon, &["inflight"]);
    let row = text.lines().find(|line| line.ends_with("  POST    /order"));
    assert!(row.is_some_and(|row| row.contains("  write  ")), "{text}");
    slow.free(1);
    assert_eq!(client.response().status, 200);
    system::until("it is off the list", || listed(&daemon)["requests"] == json!([]));
}

/// Those of earlier generations too, as long as this master has the workers; then they are counted.
#[test]
fn what_an_earlier_generation_has_is_listed_or_counted() {
    if is_reference() {
        return;
    }
    let (slow, origin, mut daemon) = start(1);
    let mut client = order(&daemon, &slow);
    let old = worker(&daemon);
    daemon.configure_main(&text(2, &origin, ""));
    assert_eq!(daemon.command(&["-s", "reload"]).0, Some(0));
    let found = listed(&daemon);
    assert_eq!(found["requests"][0]["worker"], json!(old.as_raw()), "{found}");
    let said = daemon.change(&version::executable(version::SECOND), &["-s", "upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let found = listed(&daemon);
    assert_eq!((&found["requests"], &found["not_listed"]), (&json!([]), &json!(1)));
    let said = ctl(&daemon, &["maintenance", "on", "--barrier", "200ms"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.errors.ends_with("\nnot listed: 1\n"), "{said:?}");
    slow.free(1);
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_barrier_tells_what_it_waits_for() {
    if is_reference() {
        return;
    }
    let (slow, _origin, daemon) = start(1);
    let mut client = order(&daemon, &slow);
    let said = ctl(&daemon, &["maintenance", "on", "--barrier", "200ms"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    let last = said.errors.lines().last().unwrap_or_default();
    assert!(last.trim_start().starts_with("0.") && last.ends_with("  POST    /order"), "{said:?}");
    slow.free(1);
    assert_eq!(client.response().status, 200);
}

#[test]
fn what_does_not_end_can_be_cut_off() {
    if is_reference() {
        return;
    }
    let (slow, _origin, daemon) = start(2);
    let mut client = order(&daemon, &slow);
    let said = ctl(&daemon, &["maintenance", "on", "--barrier", "200ms", "--kill"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    let told = "; 1 request was cut off; what became of 1 request is unknown";
    assert!(said.errors.contains(told), "{said:?}");
    assert_eq!(client.read_to_end(), b"", "its connection has ended");
    let line = daemon.logged("maintenance \"default\": 1 request cut off");
    assert!(line.contains("[notice]"), "{line}");
    assert_eq!(listed(&daemon)["total"]["write"], 0);
    slow.free(1);
}

/// Whichever master a worker has: it looks for what is called out to all.
#[test]
fn what_another_master_has_is_cut_off_too() {
    if is_reference() {
        return;
    }
    let (slow, _origin, daemon) = start(1);
    let mut client = order(&daemon, &slow);
    let said = daemon.change(&version::executable(version::SECOND), &["-s", "upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = ctl(&daemon, &["maintenance", "on", "--barrier", "100ms", "--kill"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(said.errors.contains("; 1 request was cut off; "), "{said:?}");
    assert_eq!(client.read_to_end(), b"");
    daemon.logged("maintenance \"default\": 1 request cut off");
    slow.free(1);
}

#[test]
fn a_stream_is_cut_off_with_a_farewell() {
    if is_reference() {
        return;
    }
    let origin = echo();
    let server = setup(1, &origin, "maintenance_websocket keep;").start();
    let mut socket = WebSocket::open(server.client(), "/chat");
    socket.send(&Frame::text("a"));
    assert_eq!(socket.receive(), Frame::text("a"));
    let stream = &listed(&server)["requests"][0];
    assert_eq!((&stream["class"], &stream["path"]), (&json!("stream"), &json!("/chat")));
    on(&server);
    let said = ctl(&server, &["barrier", "--timeout", "100ms", "--kill", "--json"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    let proof: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&proof["cut"], &proof["timed_out"]), (&json!(1), &json!(false)));
    drop(socket);
}

#[test]
fn the_servers_behind_are_part_of_the_status() {
    if is_reference() {
        return;
    }
    let (slow, origin) = (Slow::default(), Origin::answering(OK));
    let behind = slow.origin();
    let more = format!(
        "upstream app {{ server {} max_fails=1; server {} backup; server 127.0.0.1:9 down; }}
        server {{ listen %%listen%%; location / {{ proxy_pass http://app; }} }}",
        behind.address(),
        origin.address()
    );
    let server = setup(1, &origin, &more).start();
    let mut client = server.client();
    client.send(ORDER);
    slow.has(1);
    let status: Value = serde_json::from_str(&done(&server, &["status", "--json"])).expect("JSON");
    let all = status["upstreams"].as_array().expect("a list");
    let app = all.iter().find(|one| one["upstream"] == "app").expect("the group");
    let [first, second, third] = [0, 1, 2].map(|at| &app["servers"][at]);
    assert_eq!((&first["state"], &first["active"]), (&json!("up"), &json!(1)), "{app}");
    assert_eq!((&second["backup"], &second["active"]), (&json!(true), &json!(0)));
    assert_eq!((&third["state"], &third["of"]), (&json!("down"), &json!(1)));
    let text = done(&server, &["status"]);
    assert!(text.contains("\nUPSTREAM "), "{text}");
    slow.free(1);
    assert_eq!(client.response().status, 200);
}
