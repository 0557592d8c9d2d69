//! `gzip` of text at nginx's own level and at 6: CPU for a megabyte, and what is left of it.

use crate::server::Server;
use crate::{Outcome, Part, number};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

pub const PART: Part = Part {
    name: "gzip",
    title: || Ok(format!("gzip, {} answers of 1 MB", answers()?)),
    columns: &["level 1, CPU ms/MB", "KB of 1 MB", "level 6, CPU ms/MB", "KB of 1 MB"],
    measure,
};

const SIZE: usize = 1_000_000;

const CONFIGURATION: &str =
    "worker_processes 1; daemon off; pid server.pid; error_log error.log crit;
events {}
http {
    access_log off;
    keepalive_requests 1000000000;
    gzip on;
    gzip_types text/plain;
    default_type text/plain;
    server {
        listen LISTEN;
        root .;
        location /6/ { gzip_comp_level 6; alias ./; }
    }
}
";

fn answers() -> Outcome<u32> {
    number("ANSWERS", 100)
}

fn measure(program: &PathBuf) -> Outcome<Vec<f64>> {
    let answers = answers()?;
    let server = Server::start(program, CONFIGURATION)?;
    std::fs::write(server.dir().join("text"), text())?;
    let mut client = server.connect()?;
    let mut figures = Vec::new();
    for path in ["/text", "/6/text"] {
        ask(&mut client, path)?;
        let mut bytes = 0;
        let cost = server.cost(answers, || {
            for _ in 0..answers {
                bytes = ask(&mut client, path)?;
            }
            Ok(())
        })?;
        figures.extend([cost / 1000.0, f64::from(u32::try_from(bytes)?) / 1000.0]);
    }
    Ok(figures)
}

/// Lines as of a log, the same every time: some parts repeat, others do not.
fn text() -> String {
    let mut text = String::with_capacity(SIZE + 200);
    let mut random: u64 = 42;
    while text.len() < SIZE {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (a, b, c) = (random >> 56, random >> 40 & 0xffff, random >> 20 & 0xf);
        let _ = writeln!(
            text,
            "10.0.{c}.{a} - - [23/Nov/2026:03:{:02}:{:02} +0000] \"GET /articles/{b}?page={c} HTTP/1.1\" 200 {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
            b % 60,
            a % 60,
            random >> 48,
        );
    }
    text.truncate(SIZE);
    text
}

/// Asks once; the compressed answer comes in chunks. Bytes of all that came.
fn ask(client: &mut TcpStream, path: &str) -> Outcome<usize> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    client.write_all(request.as_bytes())?;
    let mut answer = Vec::with_capacity(SIZE);
    let mut buffer = vec![0; 1 << 18];
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err("the connection ended".into());
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    let head = String::from_utf8_lossy(&answer[..answer.len().min(500)]).into_owned();
    if head.starts_with("HTTP/1.1 200") && head.contains("Content-Encoding: gzip") {
        return Ok(answer.len());
    }
    Err(format!("not compressed:\n{head}").into())
}
