//! Logs that are no plain files: lines to a syslog server, and compressed ones.

use nix::sys::signal::Signal;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::support::{DEADLINE, Server, Setup};

fn received(socket: &UdpSocket) -> String {
    let mut buffer = [0; 4096];
    socket.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let length = socket.recv(&mut buffer).expect("a message");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// The message of one that has a head like `<190>Nov 23 12:00:00 host tag: `.
fn message<'a>(text: &'a str, priority: &str, tag: &str) -> &'a str {
    let rest = text.strip_prefix(priority).unwrap_or_else(|| panic!("{text}"));
    let (head, message) = rest.split_once(&format!(" {tag}: ")).unwrap_or_else(|| panic!("{text}"));
    let date = head.get(..15).expect("a date");
    assert!(date.as_bytes()[3] == b' ' && date.as_bytes()[12] == b':', "{text}");
    message
}

#[test]
fn lines_go_to_a_server_by_udp() {
    let syslog = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let server = Setup::http(
        "log_format own '$request|$status|$arg_x';
        server { listen %%listen%%; return 200 ok;
            access_log syslog:server=%%syslog%%,facility=local3,severity=warn,tag=edge own;
            location /named { access_log syslog:server=%%syslog%%,nohostname own; return 204; } }",
    )
    .set("syslog", syslog.local_addr().expect("an address"))
    .start();
    server.get("/a?x=1%0a2");
    let text = received(&syslog);
    // local3 and warn: 19 * 8 + 4.
    assert_eq!(message(&text, "<156>", "edge"), "GET /a?x=1%0a2 HTTP/1.1|200|1%0a2");
}

#[test]
fn errors_go_to_a_unix_socket_of_the_system() {
    let setup = Setup::http(
        "server { listen %%listen%%; location / { root html; }
            error_log syslog:server=unix:%%dir%%/log.socket,nohostname error; }",
    );
    let path = setup.path("log.socket");
    let syslog = UnixDatagram::bind(&path).expect("a socket");
    let server = setup.start();
    assert_eq!(server.get("/none").status, 404);
    syslog.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let mut buffer = [0; 4096];
    let length = syslog.recv(&mut buffer).expect("a message");
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    // local7 and error: 23 * 8 + 3.
    let line = message(&text, "<187>", "nginx");
    assert!(line.contains("[error]") && line.contains("none\" failed (2: No such file"), "{line}");
    assert!(
        line.contains(", client: 127.0.0.1, server: , request: \"GET /none HTTP/1.1\""),
        "{line}"
    );
    // One that is gone holds nobody up, and one that comes again is found again.
    drop(syslog);
    std::fs::remove_file(&path).expect("a file");
    assert_eq!(server.get("/none").status, 404);
    let syslog = UnixDatagram::bind(&path).expect("a socket");
    syslog.set_read_timeout(Some(std::time::Duration::from_millis(100))).expect("a time limit");
    let end = std::time::Instant::now() + DEADLINE;
    while syslog.recv(&mut buffer).is_err() {
        assert!(std::time::Instant::now() < end, "nothing comes any more");
        server.get("/none");
    }
}

/// The lines of a log that is compressed, as the system's own program reads them.
fn unpacked(path: &Path) -> String {
    let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_compressed_log_can_be_read_whatever_cuts_it() {
    let compressed = |server: &Server| unpacked(&server.path("own.gz"));
    let mut server = Setup::http(
        "log_format own '$uri $status';
        server { listen %%listen%%; return 200 ok; access_log own.gz own gzip=9 buffer=4k flush=1h; }",
    )
    .start();
    for number in 0..1000 {
        server.get(&format!("/{number}"));
    }
    // A buffer that is full has been written, and it is there to be read.
    let early = compressed(&server);
    assert!(early.starts_with("/0 200\n/1 200\n"), "{early:.100}");
    assert!(early.lines().count() < 1000);
    server.signal(Signal::SIGUSR1);
    server.wait_for("error.log", |log| log.contains("reopening logs"));
    server.get("/last");
    server.quit();
    let all = compressed(&server);
    let lines: Vec<_> = all.lines().collect();
    assert_eq!((lines.len(), lines[999], lines[1000]), (1001, "/999 200", "/last 200"));
}
