//! The control API: HTTP and JSON on a unix socket that only the master's user and root may use.
//! Turns requests into [`Ask`]s for the master's loop, and its answers into JSON.
//!
//! Must not decide or do any of it.

pub mod client;
mod order;
pub mod routes;
pub mod upgrade;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::stat::{Mode, umask};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::sys::fds;
use crate::version;
use order::{Lines, Wrong};
use routes::{ConfigFile, Process, ReloadOutcome, Route, route};
use upgrade::{Progress, Status};

/// How long a client may take to send its request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// How large a request's head may be.
const HEAD_LIMIT: usize = 8 * 1024;

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
    // Nobody may connect in the moment between bind and chmod either.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = std::os::unix::net::UnixListener::bind(path);
    umask(before);
    let listener = bound?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until dropped. Each connection carries one request.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_allowed(&stream) => {
                tokio::task::spawn_local(connection(stream, asks.clone()));
            }
            Ok(_) => {}
            // Out of descriptors or memory: the client stays in the queue until some are free again.
            Err(_) => tokio::time::sleep(HEAD_DEADLINE).await,
        }
    }
}

/// Root, and whoever the master runs as.
fn is_allowed(stream: &UnixStream) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    fds::peer_credentials(stream.as_fd()).is_ok_and(|peer| peer.uid == 0 || peer.uid == ours)
}

async fn connection(stream: UnixStream, asks: mpsc::Sender<Ask>) {
    let service = service_fn(move |request| {
        let asks = asks.clone();
        async move { Ok::<_, Infallible>(respond(request, &asks).await) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).max_buf_size(HEAD_LIMIT);
    server.header_read_timeout(HEAD_DEADLINE);
    // A client that goes away early gets no answer, and nobody else needs to know.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// An answer known as a whole, or one that goes on with what happens.
type Answer = Response<Either<Full<Bytes>, Lines>>;

async fn respond(request: Request<Incoming>, asks: &mpsc::Sender<Ask>) -> Answer {
    match route(request.method().as_str(), request.uri().path()) {
        Route::Fixed(fixed) => json(StatusCode::OK, &fixed.body()),
        Route::Processes => answer(asks, Ask::Processes).await,
        Route::Config => answer(asks, Ask::Config).await,
        Route::Reload => reload(asks).await,
        Route::Status => answer(asks, Ask::Status).await,
        Route::Upgrade => {
            let order = order::read(request.into_body()).await.and_then(order::names_executable);
            follow(asks, order, Ask::Upgrade).await
        }
        Route::Rollback => {
            follow(asks, order::read(request.into_body()).await, Ask::Rollback).await
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

/// Has an order carried out; from then on it does not matter whether anybody reads the answer.
async fn follow(
    asks: &mpsc::Sender<Ask>,
    order: Result<upgrade::Request, Wrong>,
    ask: fn(upgrade::Request, mpsc::UnboundedSender<Progress>) -> Ask,
) -> Answer {
    let order = match order {
        Ok(order) => order,
        Err(Wrong { status, text }) => return json(status, &serde_json::json!({ "error": text })),
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    if asks.send(ask(order, sender)).await.is_err() {
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    with_body(StatusCode::OK, "application/x-ndjson", Either::Right(Lines(receiver)))
}

/// Asks the loop; `None` when it is leaving.
async fn put<T>(asks: &mpsc::Sender<Ask>, ask: fn(oneshot::Sender<T>) -> Ask) -> Option<T> {
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
mod tests;
