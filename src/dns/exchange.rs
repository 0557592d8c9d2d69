//! Owns the conversation with name servers: datagrams first, a stream for what they cannot hold,
//! the next server when one stays silent.
//!
//! Must not remember answers. Each try has a socket of its own, so that its port is as hard to guess
//! as its number.

use super::Failure;
use super::message::{Kind, Query, Records, Verdict};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// A server that has not answered by then is given up for the next one.
const RESEND: Duration = Duration::from_secs(5);

/// For an answer over a stream.
const STREAM: Duration = Duration::from_secs(5);

/// No answer in a datagram is longer without EDNS, but some servers do not know.
const DATAGRAM: usize = 4096;

/// A query and what has come of it.
struct Asked {
    query: Query,
    found: Option<Records>,
    /// Its place among the answers.
    came: Option<Instant>,
    /// The answer was too long for a datagram.
    stream: bool,
}

/// Asks until there is an answer, for ever if need be: who waits knows for how long.
pub async fn ask(
    servers: &[SocketAddr],
    first: usize,
    name: &str,
    kinds: &[Kind],
) -> Result<Records, Failure> {
    let mut asked = Vec::new();
    for kind in kinds {
        let [one, two, ..] = RandomState::new().hash_one(name).to_ne_bytes();
        let id = u16::from_ne_bytes([one, two]);
        let query = Query::new(id, *kind, name).ok_or(Failure::NOT_FOUND)?;
        asked.push(Asked { query, found: None, came: None, stream: false });
    }
    for turn in first.. {
        let Some(server) = servers.get(turn % servers.len().max(1)) else { break };
        let deadline = Instant::now() + RESEND;
        match timeout_at(deadline, round(*server, &mut asked)).await {
            Ok(Ok(())) => break,
            Ok(Err(Trouble::Answer(failure))) => return Err(failure),
            Ok(Err(Trouble::Socket(error))) => {
                tracing::error!("{error} while resolving {name}, resolver: {server}");
                // The next server at once, but each only once in a while.
                if (turn + 1 - first).is_multiple_of(servers.len()) {
                    sleep_until(deadline).await;
                }
            }
            Err(_) => {}
        }
    }
    Ok(merged(asked))
}

/// Why a round has no result.
enum Trouble {
    Answer(Failure),
    Socket(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// Sends what has no answer yet to one server and waits for the answers.
async fn round(server: SocketAddr, asked: &mut [Asked]) -> Result<(), Trouble> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Only what comes from there is taken.
    socket.connect(server).await?;
    for one in asked.iter().filter(|one| one.found.is_none() && !one.stream) {
        socket.send(one.query.bytes()).await?;
    }
    let mut buffer = vec![0; DATAGRAM];
    loop {
        for one in asked.iter_mut().filter(|one| one.found.is_none() && one.stream) {
            let bytes = timeout(STREAM, over_stream(server, &one.query)).await;
            let bytes = bytes.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            take(one, &bytes)?;
        }
        if asked.iter().all(|one| one.found.is_some()) {
            return Ok(());
        }
        let n = socket.recv(&mut buffer).await?;
        let bytes = buffer.get(..n).unwrap_or_default();
        if let Some(one) = whose(asked, bytes) {
            take(one, bytes)?;
        }
    }
}

/// The query that a datagram answers; one that answers none is worth a line in the log.
fn whose<'a>(asked: &'a mut [Asked], bytes: &[u8]) -> Option<&'a mut Asked> {
    let mut why = "unexpected DNS response";
    let at = asked.iter().position(|one| match one.query.judge(bytes) {
        Verdict::Ignored(sentence) => {
            why = sentence;
            false
        }
        _ => one.found.is_none(),
    });
    if at.is_none() {
        tracing::error!("{why}");
    }
    asked.get_mut(at?)
}

/// Takes what has come for this query.
fn take(one: &mut Asked, bytes: &[u8]) -> Result<(), Trouble> {
    match one.query.judge(bytes) {
        Verdict::Found(records) => {
            one.found = Some(records);
            one.came = Some(Instant::now());
        }
        Verdict::Failed(code) => return Err(Trouble::Answer(Failure::Code(code))),
        Verdict::Truncated if !one.stream => one.stream = true,
        Verdict::Truncated => return Err(io::Error::other("invalid TCP DNS response").into()),
        Verdict::Ignored(why) => return Err(io::Error::other(why).into()),
    }
    Ok(())
}

/// RFC 1035, section 4.2.2: two bytes of length before each message.
async fn over_stream(server: SocketAddr, query: &Query) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = query.bytes();
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length, bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// All answers as one. An alias counts if the answer that came last has it: one that comes for one kind
/// of address only is no alias.
fn merged(mut asked: Vec<Asked>) -> Records {
    asked.sort_by_key(|one| one.came);
    let mut all = Records { ttl: u32::MAX, ..Records::default() };
    for records in asked.into_iter().filter_map(|one| one.found) {
        all.addresses.extend(records.addresses);
        all.services.extend(records.services);
        all.alias = records.alias;
        all.ttl = all.ttl.min(records.ttl);
    }
    all
}
