//! The file that closes a switch while it exists.

use std::fs;
use std::time::Instant;

use super::{OK, close, open, proxy};
use crate::support::{DEADLINE, Origin, Server};

/// Asks until the answer has this status.
fn becomes(server: &Server, status: u16) {
    let end = Instant::now() + DEADLINE;
    while server.get("/").status != status {
        assert!(Instant::now() < end, "never {status}");
        std::thread::yield_now();
    }
}

#[test]
fn a_flag_file_closes_and_opens() {
    let origin = Origin::answering(OK);
    let server = proxy(&origin, "maintenance_flag_file closed.flag;");
    assert_eq!(server.get("/").status, 200);
    let touched = Instant::now();
    fs::write(server.path("closed.flag"), "").expect("a file");
    becomes(&server, 503);
    assert!(touched.elapsed().as_secs() < 3, "a second, and what the machine is late by");
    // An order does not open what the file keeps closed.
    close(&server);
    let (_, answer) =
        server.ask_control("POST", "/1/proxyd/maintenance/default", "{\"state\":\"open\"}");
    let answer = answer.rest();
    assert!(answer.contains("closed.flag"), "{answer}");
    assert_eq!(server.get("/").status, 503);
    fs::remove_file(server.path("closed.flag")).expect("removed");
    open(&server);
    becomes(&server, 200);
}
