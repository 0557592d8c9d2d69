//! How fast answers may go.

use std::time::{Duration, Instant};

use crate::support::{Origin, Setup};

const BODY: usize = 400_000;

#[test]
fn a_limited_answer_is_whole_and_takes_its_time() {
    let body = "x".repeat(BODY);
    let head =
        format!("HTTP/1.1 200 OK\r\nX-Accel-Limit-Rate: 262144\r\nContent-Length: {BODY}\r\n\r\n");
    let origin = Origin::answering(head + &body);
    let server = Setup::http(
        "server { listen %%listen%%; server_name localhost; send_timeout 1s;
            location /file { limit_rate 256k; }
            location /sent { limit_rate 256k; sendfile on; alias html/file; }
            location /set { set $limit_rate $arg_rate; alias html/file; }
            location /proxy { proxy_pass http://%%origin%%; } }",
    )
    .file("html/file", &body)
    .set("origin", origin.address())
    .start();
    for path in ["/file", "/sent", "/set?rate=256k", "/proxy"] {
        let begun = Instant::now();
        assert!(server.get(path).text() == body, "{path}");
        let time = begun.elapsed();
        // A second's worth goes at once, the rest when that second is over.
        assert!(
            (Duration::from_millis(900)..Duration::from_secs(3)).contains(&time),
            "{path}: {time:?}"
        );
    }
    let begun = Instant::now();
    assert!(server.get("/set?rate=0").text() == body);
    assert!(begun.elapsed() < Duration::from_millis(900));
}

#[test]
fn a_client_that_leaves_is_not_waited_for() {
    let server = Setup::http(
        "server { listen %%listen%%; location /file { limit_rate 10; } location /status { stub_status; } }",
    )
    .file("html/file", "x".repeat(BODY))
    .start();
    let mut client = server.client();
    client.send("GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n").read_exactly(10);
    drop(client);
    server.wait_for("access.log", |log| log.contains("GET /file"));
    assert!(server.get("/status").text().starts_with("Active connections: 1 "));
}
