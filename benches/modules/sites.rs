//! A large configuration: 2,000 servers with 10,000 locations. What reading it takes, what it costs in
//! memory, and whether a request pays for it.

use crate::server::Server;
use crate::{Outcome, Part, process};
use nix::sys::resource::UsageWho;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const PART: Part = Part {
    name: "sites",
    title: || Ok(format!("{SERVERS} servers, {} locations", SERVERS * LOCATIONS)),
    columns: &[
        "`-t`, ms",
        "CPU ms of it",
        "MiB of all processes",
        "reload until it answers, ms",
        "a request, CPU µs",
        "one with a single server",
    ],
    measure,
};

const SERVERS: usize = 2000;
const LOCATIONS: usize = 5;

/// Requests whose cost is measured, so many at once.
const REQUESTS: u32 = 200_000;
const BATCH: u32 = 100;

/// `mark` tells one version of the configuration from the next.
fn configuration(servers: usize, mark: u32) -> String {
    let mut text = String::from(
        "worker_processes 1; daemon off; pid server.pid; error_log error.log crit;
events {}
http {
    access_log off;
    keepalive_requests 1000000000;
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;
",
    );
    for at in 0..servers {
        let _ = write!(
            text,
            "    server {{
        listen LISTEN; server_name site{at}.example.com www.site{at}.example.com;
        location = /mark {{ return 200 mark{mark}; }}
"
        );
        for location in 0..LOCATIONS {
            let _ = writeln!(
                text,
                "        location /part{location}/ {{ add_header X-Part {location}; return 204; }}"
            );
        }
        text.push_str("    }\n");
    }
    text + "}\n"
}

fn measure(program: &PathBuf) -> Outcome<Vec<f64>> {
    let large = configuration(SERVERS, 1);
    let (elapsed, cpu) = test(program, &large)?;
    let server = Server::start(program, &large)?;
    let memory = server.resident()?;
    let request = cost(&server, SERVERS)?;
    let reload = reload(&server)?;
    drop(server);
    let single = cost(&Server::start(program, &configuration(1, 1))?, 1)?;
    Ok(vec![elapsed, cpu, memory, reload, request, single])
}

/// Milliseconds that `-t` takes, and those of CPU.
fn test(program: &PathBuf, text: &str) -> Outcome<(f64, f64)> {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("logs"))?;
    let conf = dir.path().join("server.conf");
    std::fs::write(&conf, text.replace("LISTEN", "127.0.0.1:1"))?;
    let mut command = Command::new(program);
    command.args(["-t", "-q", "-e", "error.log", "-p"]).arg(dir.path()).arg("-c").arg(conf);
    let (before, start) = (process::usage(UsageWho::RUSAGE_CHILDREN)?, Instant::now());
    let status = command.stderr(Stdio::null()).status()?;
    let elapsed = start.elapsed();
    let cpu = process::usage(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before);
    if !status.success() {
        return Err("-t finds fault with it".into());
    }
    Ok((elapsed.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3))
}

/// Milliseconds from the signal until a new connection is answered by the new configuration.
fn reload(server: &Server) -> Outcome<f64> {
    server.reload(&configuration(SERVERS, 2))?;
    let start = Instant::now();
    loop {
        let mut client = server.connect()?;
        let host = SERVERS - 1;
        write!(
            client,
            "GET /mark HTTP/1.1\r\nHost: site{host}.example.com\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        if answer.ends_with("mark2") {
            return Ok(start.elapsed().as_secs_f64() * 1e3);
        }
        if start.elapsed() > Duration::from_secs(10) {
            return Err("the new configuration does not answer".into());
        }
    }
}

/// CPU microseconds of a request for any of the servers and locations.
fn cost(server: &Server, servers: usize) -> Outcome<f64> {
    let mut client = server.connect()?;
    ask(&mut client, 0..BATCH, servers)?;
    server.cost(REQUESTS, || {
        (0..REQUESTS / BATCH)
            .try_for_each(|at| ask(&mut client, at * BATCH..(at + 1) * BATCH, servers))
    })
}

fn ask(client: &mut TcpStream, range: std::ops::Range<u32>, servers: usize) -> Outcome<()> {
    let count = range.len();
    let mut text = Vec::new();
    for at in range {
        let at = usize::try_from(at)?;
        let (host, part) = (at * 7919 % servers, at % LOCATIONS);
        write!(text, "GET /part{part}/x HTTP/1.1\r\nHost: site{host}.example.com\r\n\r\n")?;
    }
    client.write_all(&text)?;
    let end = memchr::memmem::Finder::new(b"\r\n\r\n");
    let (mut answers, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while end.find_iter(&answers).count() < count {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err("the connection ended".into());
        }
        answers.extend_from_slice(&buffer[..read]);
    }
    let right = memchr::memmem::find_iter(&answers, b"HTTP/1.1 204 ").count();
    if right == count { Ok(()) } else { Err(format!("{right} of {count} are right").into()) }
}
