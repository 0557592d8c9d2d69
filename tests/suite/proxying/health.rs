//! Health checks: who is asked, how often and by whom, and who gets requests after that.

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::support::{DEADLINE, Held, Origin, Server, Setup};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";

/// A backend that answers checks as it is told, and all else well.
struct Checked {
    origin: Origin,
    answer: Arc<Mutex<&'static str>>,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Checked {
    fn new(answer: &'static str) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (now, list) = (answer.clone(), asked.clone());
        let origin = Origin::new(move |peer| {
            while let Some(request) = peer.request() {
                let text = String::from_utf8_lossy(&request).into_owned();
                if text.starts_with("GET /health") {
                    list.lock().expect("a lock").push((Instant::now(), text));
                    peer.send(*now.lock().expect("a lock"));
                } else {
                    peer.send(GOOD);
                }
            }
        });
        Self { origin, answer, asked }
    }

    fn turns(&self, answer: &'static str) {
        *self.answer.lock().expect("a lock") = answer;
    }

    fn asked(&self) -> Vec<(Instant, String)> {
        self.asked.lock().expect("a lock").clone()
    }

    /// Waits until it was asked so often.
    fn wait_for(&self, checks: usize) {
        until(|| self.asked().len() >= checks);
    }
}

fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "it never came to it");
        std::thread::yield_now();
    }
}

/// A group of these servers, checked in this way.
fn checked(workers: usize, servers: &[&Checked], check: &str) -> Setup {
    let line = |one: &&Checked| format!("server {};", one.origin.address());
    let servers: String = servers.iter().map(line).collect();
    Setup::main(&format!(
        "worker_processes {workers}; events {{}}
        http {{ %%http%%
            match fine {{ status 200; body ~ ok; }}
            upstream u {{ zone u 64k; {servers} }}
            server {{ listen %%listen%%; server_name localhost;
                location / {{ proxy_pass http://u; add_header X-Asked $upstream_addr;
                    proxy_set_header X-Via $server_name; health_check {check}; }} }} }}"
    ))
    .error_level("notice")
    .allow("is unhealthy: ")
    .allow("no live upstreams while connecting to upstream")
    .allow("exited on signal 9")
}

/// Which of the servers get requests.
fn used(server: &Server, servers: &[&Checked]) -> Vec<bool> {
    let answers: Vec<_> = (0..8).map(|_| server.get("/")).collect();
    let got = |one: &&Checked| {
        let address = one.origin.address().to_string();
        answers.iter().any(|answer| answer.header("X-Asked") == Some(&*address))
    };
    servers.iter().map(got).collect()
}

#[test]
fn who_is_unwell_gets_nothing_until_it_is_well() {
    let (a, b) = (Checked::new(GOOD), Checked::new(GOOD));
    let servers = [&a, &b];
    let check = "uri=/health?full interval=50ms fails=2 passes=3 match=fine";
    let server = checked(2, &servers, check).start();
    a.wait_for(2);
    assert_eq!(used(&server, &servers), [true, true]);
    let (_, head) = a.asked().remove(0);
    assert!(head.starts_with("GET /health?full HTTP/1.1\r\nHost: u\r\n"), "{head}");
    assert!(head.contains("X-Via: localhost\r\n"), "{head}");
    a.turns(BAD);
    until(|| used(&server, &servers) == [false, true]);
    let address = a.origin.address();
    let line = format!("server {address} of upstream \"u\" is unhealthy: status 500, ");
    server.logged(&line);
    let (_, said) = server.control("GET", "/1/proxyd/status");
    let said: Value = serde_json::from_str(&said).expect("a document");
    assert_eq!(said["upstreams"][0]["servers"][0]["state"], json!("unhealthy"), "{said}");
    let before = a.asked().len();
    a.turns(GOOD);
    until(|| used(&server, &servers) == [true, true]);
    assert!(a.asked().len() >= before + 3);
    server.logged("is healthy, health check \"/health?full\"");
    // A body that says otherwise is no better than a status.
    b.turns("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n");
    until(|| used(&server, &servers) == [true, false]);
}

#[test]
fn one_worker_asks_for_all_and_another_one_after_it() {
    let a = Checked::new(GOOD);
    let server = checked(3, &[&a], "uri=/health interval=100ms").start();
    a.wait_for(8);
    let asked = a.asked();
    let took = asked[7].0 - asked[0].0;
    assert!(took >= Duration::from_millis(600), "8 checks in {took:?}");
    let workers = server.workers();
    for victim in workers {
        kill(victim, Signal::SIGKILL).expect("a signal");
        let before = a.asked().len();
        a.wait_for(before + 3);
    }
}

#[test]
fn who_must_be_checked_first_waits_for_it() {
    let held = Held::new();
    let server = Setup::http(
        "upstream u { zone u 64k; server %%held%%; }
        server { listen %%listen%%;
            location / { proxy_pass http://u; }
            location /asks { proxy_pass http://u; health_check mandatory persistent interval=1h; } }",
    )
    .set("held", held.origin.address())
    .allow("no live upstreams while connecting to upstream")
    .error_level("notice")
    .start();
    held.has_come();
    assert_eq!(server.get("/").status, 502);
    held.answer(GOOD);
    server.logged("is healthy, health check \"/\"");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    held.has_come();
    held.answer(GOOD);
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_check_that_hangs_is_cut_off() {
    let held = Held::new();
    let server = Setup::http(
        "upstream u { zone u 64k; server %%held%%; }
        server { listen %%listen%%;
            location / { proxy_pass http://u; health_check interval=50ms; } }",
    )
    .set("held", held.origin.address())
    .start();
    held.has_come();
    let (status, lines) =
        server.ask_control("POST", "/1/proxyd/maintenance/default", r#"{"state":"closed"}"#);
    assert_eq!(status, 200, "{}", lines.rest());
    // Nobody has to wait for what hangs: neither the one who cuts it off nor the next one.
    for (terms, cut) in [
        (json!({ "timeout_ms": 0, "kill": true }), json!(1)),
        (json!({ "timeout_ms": 0 }), json!(0)),
    ] {
        let (_, lines) =
            server.ask_control("POST", "/1/proxyd/barrier/default", &terms.to_string());
        let proof: Value = serde_json::from_str(&lines.rest()).expect("a document");
        assert_eq!((&proof["timed_out"], &proof["cut"]), (&json!(false), &cut), "{proof}");
    }
    held.answer(GOOD);
}

#[test]
fn a_connection_may_be_enough() {
    let (a, b) = (Checked::new(GOOD), Checked::new(GOOD));
    let server = checked(1, &[&a], "type=tcp interval=50ms").start();
    until(|| a.origin.connections() > 2);
    assert_eq!(server.get("/").status, 200);
    // The port of another server says how this one is.
    let elsewhere = format!("uri=/health interval=50ms port={}", b.origin.address().port());
    let other = checked(1, &[&a], &elsewhere).start();
    b.wait_for(2);
    b.turns(BAD);
    until(|| other.get("/").status == 502);
    assert_eq!(a.asked().len(), 0);
}

#[test]
fn nothing_is_asked_behind_a_closed_door() {
    let (a, exempt) = (Checked::new(GOOD), Checked::new(GOOD));
    let server = Setup::http(
        "upstream u { zone u 64k; server %%a%%; } upstream e { zone u; server %%exempt%%; }
        server { listen %%listen%%;
            location / { proxy_pass http://u; health_check uri=/health interval=50ms; }
            location /e { maintenance off; proxy_pass http://e;
                health_check uri=/health interval=50ms; } }",
    )
    .set("a", a.origin.address())
    .set("exempt", exempt.origin.address())
    .start();
    a.wait_for(2);
    let order = |state: &str| {
        let change = json!({ "state": state }).to_string();
        let (status, lines) = server.ask_control("POST", "/1/proxyd/maintenance/default", &change);
        assert_eq!(status, 200, "{}", lines.rest());
    };
    order("closed");
    let terms = json!({ "timeout_ms": 5000 }).to_string();
    let (_, lines) = server.ask_control("POST", "/1/proxyd/barrier/default", &terms);
    let proof: Value = serde_json::from_str(&lines.rest()).expect("a document");
    assert_eq!(proof["clean"], json!(true), "{proof}");
    let before = a.asked().len();
    exempt.wait_for(exempt.asked().len() + 4);
    assert_eq!(a.asked().len(), before);
    order("open");
    a.wait_for(before + 2);
}
