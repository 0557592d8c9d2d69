//! `limit_req` with a million keys (`KEYS`): CPU and memory. Every answer is counted.

use crate::server::Server;
use crate::{Outcome, Part, number};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

pub const PART: Part = Part {
    name: "limits",
    title: || Ok(format!("limit_req, {} keys", keys()?)),
    columns: &["without, CPU µs/request", "a new key", "a known key", "MiB for the keys"],
    measure,
};

/// Requests sent at once.
const BATCH: usize = 100;

/// Refused after `limit_req` has let it in: nothing is read from disk, and both have a short page.
const CONFIGURATION: &str =
    "worker_processes 1; daemon off; pid server.pid; error_log error.log crit;
events {}
http {
    access_log off;
    keepalive_requests 1000000000;
    limit_req_zone $arg_k zone=one:512m rate=1r/m;
    server {
        listen LISTEN;
        location /plain { deny all; }
        location /limited { limit_req zone=one burst=1000000 nodelay; deny all; }
    }
}
";

fn keys() -> Outcome<u32> {
    number("KEYS", 1_000_000)
}

fn measure(program: &PathBuf) -> Outcome<Vec<f64>> {
    let keys = keys()?;
    let server = Server::start(program, CONFIGURATION)?;
    let mut client = server.connect()?;
    ask(&mut client, "limited", 0..1000, |at| at + 3_000_000_000)?;
    let plain = server.cost(keys, || ask(&mut client, "plain", 0..keys, |at| at))?;
    let before = server.resident()?;
    let new = server.cost(keys, || ask(&mut client, "limited", 0..keys, |at| at))?;
    let memory = server.resident()? - before;
    // Each of them once more, in an order that no cache foresees.
    let mix = |at: u32| u32::try_from(u64::from(at) * 514_229 % u64::from(keys)).unwrap_or(0);
    let known = server.cost(keys, || ask(&mut client, "limited", 0..keys, mix))?;
    Ok(vec![plain, new, known, memory])
}

/// Asks for each key of a range, many at once; each has to be answered with 403.
fn ask(
    client: &mut TcpStream,
    path: &str,
    mut range: std::ops::Range<u32>,
    key: impl Fn(u32) -> u32,
) -> Outcome<()> {
    let mut buffer = vec![0; 1 << 20];
    let (needle, mut text) = (memchr::memmem::Finder::new(b"HTTP/1.1 403 "), Vec::new());
    while !range.is_empty() {
        text.clear();
        let batch: Vec<u32> = range.by_ref().take(BATCH).collect();
        for at in &batch {
            write!(text, "GET /{path}?k={:010} HTTP/1.1\r\nHost: a\r\n\r\n", key(*at))?;
        }
        client.write_all(&text)?;
        let (mut filled, mut seen) = (0, 0);
        // The last answer is whole when its page has ended.
        while seen < batch.len() || !buffer[..filled].ends_with(b"</html>\r\n") {
            let read = client.read(&mut buffer[filled..])?;
            if read == 0 {
                return Err("the connection ended".into());
            }
            filled += read;
            seen = needle.find_iter(&buffer[..filled]).count();
        }
        if seen != batch.len() {
            return Err(format!("{seen} answers to {} requests", batch.len()).into());
        }
    }
    Ok(())
}
