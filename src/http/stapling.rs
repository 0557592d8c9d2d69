//! Owns the asking of those who know whether a server's certificates are revoked: who they are, when
//! they are asked next, and the exchange with them.
//!
//! Must not judge answers; `tls` does.

use super::live::Live;
use crate::log::Level;
use crate::tls::staple::{Staple, Staples};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// How long an exchange may take.
const LIMIT: Duration = Duration::from_mins(1);
/// More than any answer has.
const MOST: u64 = 64 * 1024;
/// Between two questions, in seconds: at least, and at most.
const LEAST: i64 = 300;
const LONGEST: i64 = 3600;
/// Seconds before an answer ends.
const BEFORE: i64 = 300;

/// Whom to ask about one of a server's certificates.
#[derive(Debug)]
pub struct Responder {
    /// Which of them.
    pub certificate: usize,
    pub staple: Staple,
    pub addresses: Vec<SocketAddr>,
    /// As in the URL.
    pub host: String,
    pub path: String,
}

/// What a worker knows of the answers for one server.
#[derive(Debug)]
pub struct Stapling {
    /// For each certificate.
    pub staples: Arc<Staples>,
    due: Vec<Cell<Option<Instant>>>,
}

impl Stapling {
    /// For a server with so many certificates.
    pub fn new(certificates: usize) -> Rc<Self> {
        let due = vec![Cell::default(); certificates];
        Rc::new(Self { staples: Arc::new(Staples::new(certificates)), due })
    }

    /// Asks whom it is time to ask. Nobody waits for the answers.
    pub fn wake(self: &Rc<Self>, responders: &[Arc<Responder>], live: &Rc<Live>) {
        let now = Instant::now();
        for responder in responders {
            let Some(due) = self.due.get(responder.certificate) else { continue };
            if due.get().is_none_or(|due| due <= now) {
                due.set(Some(now + seconds(LEAST)));
                let (own, responder, live) = (self.clone(), responder.clone(), live.clone());
                spawn_local(async move { own.ask(&responder, &live).await });
            }
        }
    }

    async fn ask(&self, responder: &Responder, live: &Live) {
        let answer = timeout(LIMIT, exchange(responder)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let judged = answer
            .map_err(|error| error.to_string())
            .and_then(|answer| responder.staple.judge(&answer).map(|until| (answer, until)));
        match judged {
            Ok((answer, until)) => {
                let pair = &responder.staple.certificate;
                self.staples.put(responder.certificate, pair, &answer, until);
                let next = Instant::now() + seconds(pause(until));
                self.due.get(responder.certificate).inspect(|due| due.set(Some(next)));
            }
            Err(why) => {
                let host = &responder.host;
                let line =
                    format_args!("{why} while requesting certificate status, responder: {host}");
                live.main_log.write(Level::Error, None, line);
            }
        }
    }
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(number.try_into().unwrap_or_default())
}

/// How long an answer is good enough, in seconds.
fn pause(until: Option<i64>) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let left = until.map_or(i64::MAX, |until| until.saturating_sub(now));
    left.saturating_sub(BEFORE).clamp(LEAST, LONGEST)
}

/// A question by GET (RFC 6960, appendix A.1), to the first address that takes it.
async fn exchange(responder: &Responder) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(&*responder.addresses).await?;
    let Responder { host, path, staple, .. } = responder;
    let slash = if path.ends_with('/') { "" } else { "/" };
    let question = BASE64_STANDARD.encode(&staple.request);
    let question = question.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let head = format!("GET {path}{slash}{question} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    body(&answer).map(<[u8]>::to_vec).map_err(io::Error::other)
}

/// What an answer that went well has in it; it ends with the connection.
fn body(answer: &[u8]) -> Result<&[u8], &'static str> {
    // Lines may end without a carriage return.
    let ends = [&b"\r\n\r\n"[..], b"\n\n"].map(|end| Some((memmem::find(answer, end)?, end.len())));
    let end = ends.into_iter().flatten().min().ok_or("OCSP responder sent no response")?;
    let (head, rest) = answer.split_at(end.0);
    let rest = rest.get(end.1..).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    if status != Some("200") {
        return Err("OCSP responder sent an error");
    }
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("content-type:") != Some("application/ocsp-response") {
        return Err("OCSP responder sent invalid \"Content-Type\" header");
    }
    match field("content-length:").map(str::parse) {
        Some(Ok(length)) => {
            rest.get(..length).ok_or("OCSP responder prematurely closed connection")
        }
        Some(Err(_)) => Err("OCSP responder sent invalid \"Content-Length\" header"),
        None => Ok(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_must_be_whole_and_good() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n";
        let of = |text: String| body(text.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(of(format!("{head}\r\nbody")), Ok(b"body".to_vec()));
        assert_eq!(of(format!("{head}content-length: 2\r\n\r\nbody")), Ok(b"bo".to_vec()));
        assert_eq!(of(format!("{head}\r\nbody").replace('\r', "")), Ok(b"body".to_vec()));
        assert!(of(format!("{head}Content-Length: 5\r\n\r\nbody")).is_err());
        assert!(of(format!("{head}Content-Length: x\r\n\r\nbody")).is_err());
        for text in ["", "HTTP/1.1 200 OK\r\n\r\nbody", "HTTP/1.1 500 No\r\n\r\nbody", "x\r\n\r\n"]
        {
            assert!(of(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn nobody_is_asked_too_often_or_too_late() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        assert_eq!(pause(None), LONGEST);
        assert_eq!(pause(Some(now - 100)), LEAST);
        assert_eq!(pause(Some(now + 10 * LONGEST)), LONGEST);
        assert!((1990..=2000).contains(&pause(Some(now + 2000 + BEFORE))));
    }
}
