//! `zone` of an upstream group: all workers know its servers together, and no worker's death leaves
//! anything counted.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Instant;

use crate::support::{Client, DEADLINE, Origin, Server, Setup, is_reference};

/// Holds requests to `/held` until their clients have gone, and answers others.
fn origin() -> Origin {
    Origin::new(|peer| {
        while let Some(request) = peer.request() {
            if request.starts_with(b"GET /held") {
                peer.wait_for_end();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

fn limited(workers: usize, origin: &Origin) -> Server {
    Setup::main(&format!(
        "worker_processes {workers}; events {{}}
        http {{ %%http%%
            upstream u {{ zone u 64k; server %%origin%% max_conns=2; }}
            server {{ listen %%listen%%;
                location / {{ proxy_pass http://u; }}
                location = /pid {{ return 200 $pid; }} }} }}"
    ))
    .set("origin", origin.address())
    .error_level("notice")
    .allow("no live upstreams while connecting to upstream")
    .allow("exited on signal 9")
    .start()
}

/// Waits until a request gets this status.
fn becomes(server: &Server, status: u16) {
    let end = Instant::now() + DEADLINE;
    while server.get("/").status != status {
        assert!(Instant::now() < end, "never {status}");
    }
}

fn held(server: &Server) -> Client {
    let mut client = server.client();
    client.send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
    client
}

#[test]
fn connections_of_all_workers_count() {
    let origin = origin();
    let server = limited(3, &origin);
    let mut clients = vec![held(&server), held(&server)];
    becomes(&server, 502);
    clients.pop();
    becomes(&server, 200);
}

#[test]
fn a_killed_worker_leaves_no_connection_counted() {
    if is_reference() {
        return;
    }
    let origin = origin();
    let server = limited(1, &origin);
    for _ in 0..3 {
        let _lost = [held(&server), held(&server)];
        becomes(&server, 502);
        let pid = server.get("/pid").text().parse().expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a signal");
        becomes(&server, 200);
    }
}

#[test]
fn what_is_known_of_a_server_outlives_a_reload() {
    if is_reference() {
        return;
    }
    let config = |more: &str| {
        format!(
            "worker_processes 2; events {{}}
            http {{ %%http%% {more}
                upstream u {{ zone u 64k; server 127.0.0.1:1 fail_timeout=1h; server %%origin%%; }}
                server {{ listen %%listen%%; add_header X-Asked $upstream_addr;
                    location / {{ proxy_pass http://u; }} }} }}"
        )
    };
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut server = Setup::main(&config(""))
        .set("origin", origin.address())
        .error_level("notice")
        .allow("Connection refused")
        .allow("temporarily disabled")
        .start();
    let asked = |server: &Server| server.get("/").header("X-Asked").unwrap().to_owned();
    while !asked(&server).contains(", ") {}
    assert!((0..10).all(|_| !asked(&server).contains(", ")), "one worker has told the other");
    server.configure_main(
        &config("keepalive_timeout 10s;").replace("worker_processes 2", "worker_processes 3"),
    );
    server.signal(Signal::SIGHUP);
    server.wait_for("error.log", |log| log.matches("exited with code 0").count() == 2);
    assert!((0..10).all(|_| !asked(&server).contains(", ")), "it is still known");
}
