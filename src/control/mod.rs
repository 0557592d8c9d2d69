//! The control API: HTTP and JSON on a unix socket that only the master's user and root may use.
//! Turns requests into [`Ask`]s for the master's loop, and its answers into JSON.
//!
//! Must not decide or do any of it.

pub mod client;
pub mod maintenance;
mod order;
pub mod routes;
pub mod upgrade;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SERVER, USER_AGENT};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::stat::{Mode, fchmod};
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::sys::fds::{self, Credentials};
use crate::version;
use maintenance::{
    Barrier, Caller, Change, Inflight, Proof, Refusal, Revocation, Switch, Token, TokenOrder,
};
use order::{Lines, Wrong};
use routes::{ConfigFile, Process, ReloadOutcome, Route, route};
use upgrade::{Progress, Status};

/// How long a client may take to send its request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// How many clients may wait to be accepted.
const BACKLOG: i32 = 128;
/// How large a request's head may be.
const HEAD_LIMIT: usize = 8 * 1024;
/// How long a client may take to read an answer that is there.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Connections at one time; others wait to be accepted, so that whoever fills them all does not take
/// the descriptors that workers need.
const CONNECTIONS: usize = 128;
/// What is kept of the name of a client.
const PROGRAM_LIMIT: usize = 64;

/// What a client wants to know from, or have done by, the master.
#[derive(Debug)]
pub enum Ask {
    Processes(oneshot::Sender<Vec<Process>>),
    Config(oneshot::Sender<Vec<ConfigFile>>),
    Reload(oneshot::Sender<ReloadOutcome>),
    Status(oneshot::Sender<Status>),
    /// The answer is the lines of progress; it ends when their sender is dropped.
    Upgrade(upgrade::Request, mpsc::UnboundedSender<Progress>),
    Rollback(upgrade::Request, mpsc::UnboundedSender<Progress>),
    Switches(oneshot::Sender<Vec<Switch>>),
    /// The switch of this name, or all, are to be changed; the answer is how they are then.
    Switch(String, Change, Caller, oneshot::Sender<Result<Vec<Switch>, Refusal>>),
    Inflight(Option<String>, oneshot::Sender<Result<Vec<Inflight>, Refusal>>),
    /// Nobody waits any more when the other end of the answer is closed.
    Barrier(String, Barrier, oneshot::Sender<Result<Proof, Refusal>>),
    /// A token for somebody, by the name of its switch.
    Token(String, TokenOrder, Caller, oneshot::Sender<Result<Token, Refusal>>),
    /// All tokens of a switch are to be void.
    Revoke(String, Revocation, Caller, oneshot::Sender<Result<Vec<Switch>, Refusal>>),
    /// No client asks for this by itself: a barrier does, that has called something out to all workers.
    Hurry,
}

/// Creates the socket with mode 0600. A socket file that nobody listens on any more is replaced;
/// one that is in use is an error (`AddrInUse`).
pub fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match BlockingStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            _ => return Err(nix::Error::EADDRINUSE.into()),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before it has a name: the name gets the socket's mode, so that nobody else can ever connect.
    fchmod(&socket, Mode::from_bits_truncate(0o600))?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Serves until dropped. Each connection carries one request.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>) -> Infallible {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It is never closed, so that there is always a place to come.
        let place = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(peer) = allowed(&stream) else { continue };
                let served = connection(stream, peer, asks.clone());
                tokio::task::spawn_local(async move {
                    served.await;
                    drop(place);
                });
            }
            // Out of descriptors or memory: the client stays in the queue until some are free again.
            Err(_) => tokio::time::sleep(HEAD_DEADLINE).await,
        }
    }
}

/// Root, and whoever the master runs as.
fn allowed(stream: &UnixStream) -> Option<Credentials> {
    let ours = nix::unistd::geteuid().as_raw();
    let peer = fds::peer_credentials(stream.as_fd()).ok()?;
    (peer.uid == 0 || peer.uid == ours).then_some(peer)
}

async fn connection(stream: UnixStream, peer: Credentials, asks: mpsc::Sender<Ask>) {
    let answered = Rc::new(Notify::new());
    let tell = Rc::clone(&answered);
    let service = service_fn(move |request| {
        let (asks, tell) = (asks.clone(), Rc::clone(&tell));
        async move {
            let answer = respond(request, peer, &asks).await;
            if matches!(answer.body(), Either::Left(_)) {
                tell.notify_one();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).max_buf_size(HEAD_LIMIT);
    server.header_read_timeout(HEAD_DEADLINE);
    let late = async {
        answered.notified().await;
        tokio::time::sleep(ANSWER_DEADLINE).await;
    };
    // A client that goes away early gets no answer, and nobody else needs to know.
    tokio::select! {
        _ = server.serve_connection(TokioIo::new(stream), service) => {}
        () = late => {}
    }
}

/// An answer known as a whole, or one that goes on with what happens.
type Answer = Response<Either<Full<Bytes>, Lines>>;

async fn respond(
    request: Request<Incoming>,
    peer: Credentials,
    asks: &mpsc::Sender<Ask>,
) -> Answer {
    let (head, body) = request.into_parts();
    match route(head.method.as_str(), head.uri.path()) {
        Route::Fixed(fixed) => json(StatusCode::OK, &fixed.body()),
        Route::Processes => answer(asks, Ask::Processes).await,
        Route::Config => answer(asks, Ask::Config).await,
        Route::Reload => reload(asks).await,
        Route::Status => answer(asks, Ask::Status).await,
        Route::Upgrade => {
            let order = order::read(body).await.and_then(order::names_executable);
            follow(asks, order, Ask::Upgrade).await
        }
        Route::Rollback => follow(asks, order::read(body).await, Ask::Rollback).await,
        Route::Switches => answer(asks, Ask::Switches).await,
        Route::Switch(name) => {
            let caller = caller(peer, &head.headers);
            let order = order::read(body).await.and_then(|change| Ok((named(name)?, change)));
            let ask = |(name, change), reply| Ask::Switch(name, change, caller, reply);
            judged(asks, order, ask).await
        }
        Route::Token(name) => {
            let caller = caller(peer, &head.headers);
            let order = order::read(body).await.and_then(|order| Ok((named(name)?, order)));
            let ask = |(name, order), reply| Ask::Token(name, order, caller, reply);
            judged(asks, order, ask).await
        }
        Route::Revoke(name) => {
            let caller = caller(peer, &head.headers);
            let order = order::read(body).await.and_then(|order| Ok((named(name)?, order)));
            let ask = |(name, order), reply| Ask::Revoke(name, order, caller, reply);
            judged(asks, order, ask).await
        }
        Route::Inflight(name) => {
            let name = name.map(named).transpose();
            judged(asks, name, Ask::Inflight).await
        }
        Route::Barrier(name) => {
            let order = order::read(body).await.and_then(|terms| Ok((named(name)?, terms)));
            judged(asks, order, |(name, terms), reply| Ask::Barrier(name, terms, reply)).await
        }
        Route::NotFound => empty(StatusCode::NOT_FOUND),
        Route::NotAllowed(allowed) => {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
    }
}

async fn answer<T: Serialize>(
    asks: &mpsc::Sender<Ask>,
    ask: fn(oneshot::Sender<T>) -> Ask,
) -> Answer {
    match put(asks, ask).await {
        Some(value) => json(StatusCode::OK, &value),
        None => empty(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn reload(asks: &mpsc::Sender<Ask>) -> Answer {
    match put(asks, Ask::Reload).await {
        Some(outcome) if outcome.done => json(StatusCode::OK, &outcome),
        Some(outcome) => json(StatusCode::UNPROCESSABLE_ENTITY, &outcome),
        None => empty(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Who it is, as far as that can be known.
fn caller(peer: Credentials, headers: &HeaderMap) -> Caller {
    let said = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let program = said.chars().take(PROGRAM_LIMIT).collect();
    Caller { uid: peer.uid, pid: peer.pid, program }
}

fn named(escaped: &str) -> Result<String, Wrong> {
    let text = || "the name is not UTF-8".to_owned();
    let wrong = || Wrong { status: StatusCode::BAD_REQUEST, text: text() };
    routes::name(escaped).map(Cow::into_owned).ok_or_else(wrong)
}

/// Has something carried out that the master may refuse.
async fn judged<O, T: Serialize>(
    asks: &mpsc::Sender<Ask>,
    order: Result<O, Wrong>,
    ask: impl FnOnce(O, oneshot::Sender<Result<T, Refusal>>) -> Ask,
) -> Answer {
    let order = match order {
        Ok(order) => order,
        Err(Wrong { status, text }) => return wrong(status, &text),
    };
    let status = |refusal: &Refusal| match refusal {
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
        Refusal::State(_) => StatusCode::CONFLICT,
        Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match put(asks, |reply| ask(order, reply)).await {
        Some(Ok(value)) => json(StatusCode::OK, &value),
        Some(Err(refusal)) => wrong(status(&refusal), refusal.text()),
        None => empty(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Has an order carried out; from then on it does not matter whether anybody reads the answer.
async fn follow(
    asks: &mpsc::Sender<Ask>,
    order: Result<upgrade::Request, Wrong>,
    ask: fn(upgrade::Request, mpsc::UnboundedSender<Progress>) -> Ask,
) -> Answer {
    let order = match order {
        Ok(order) => order,
        Err(Wrong { status, text }) => return wrong(status, &text),
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    if asks.send(ask(order, sender)).await.is_err() {
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    with_body(StatusCode::OK, "application/x-ndjson", Either::Right(Lines(receiver)))
}

/// Asks the loop; `None` when it is leaving.
async fn put<T>(
    asks: &mpsc::Sender<Ask>,
    ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    asks.send(ask(sender)).await.ok()?;
    receiver.await.ok()
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(text) => whole(status, text),
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn wrong(status: StatusCode, text: &str) -> Answer {
    json(status, &serde_json::json!({ "error": text }))
}

fn empty(status: StatusCode) -> Answer {
    whole(status, Vec::new())
}

fn whole(status: StatusCode, body: Vec<u8>) -> Answer {
    with_body(status, "application/json", Either::Left(Full::new(Bytes::from(body))))
}

fn with_body(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Lines>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Ok(server) = format!("proxyd/{}", version::PROXYD).parse() {
        headers.insert(SERVER, server);
    }
    response
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod switch_tests;
#[cfg(test)]
mod tests;
