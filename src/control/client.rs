//! The client of the control API that `-s` uses.
//!
//! Must not print, nor decide what an answer means for the command.

use std::io;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::maintenance::{
    Barrier, Change as SwitchChange, Inflight, Proof, Revocation, Switch, Token, TokenOrder,
};
use super::routes::escaped;
use super::upgrade::{self, Progress, Status};

/// What the server answered to a reload.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    pub done: bool,
    /// What there is to say about it, ready to be printed.
    pub text: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    logs: Vec<String>,
    report: String,
}

/// Why there is no answer that could be used.
#[derive(Debug)]
pub enum Failed {
    /// Nobody listens there, or it is not for us.
    Connect(io::Error),
    /// The server does not know of such a thing: it is nginx, or older than this.
    Unknown,
    /// The server does not want to; its words.
    Refused(String),
    /// As things are it cannot; its words.
    State(String),
    /// It went away before it had answered.
    Gone,
}

/// The two orders there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Upgrade,
    Rollback,
}

/// Has the configuration reloaded and waits for the outcome, however long it takes: the server has
/// its own deadlines. An error means that there is no server to ask.
pub async fn reload(socket: &Path) -> io::Result<Reloaded> {
    let stream = UnixStream::connect(socket).await?;
    let response = send(stream, Method::PATCH, "/1/control/config", Vec::new()).await;
    let response = response.map_err(io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(io::Error::other)?;
    Ok(read(status, &body.to_bytes()))
}

fn read(status: StatusCode, body: &[u8]) -> Reloaded {
    let done = status == StatusCode::OK;
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    let mut text = answer.report;
    if text.is_empty() {
        for line in &answer.logs {
            text.extend(["proxyd: ", line, "\n"]);
        }
    }
    if text.is_empty() && !done {
        text = format!("proxyd: [error] the server did not reload: {status}\n");
    }
    Reloaded { done, text }
}

/// Asks how the server is.
pub async fn status(socket: &Path) -> Result<Status, Failed> {
    decoded(ask(socket, Method::GET, "/1/proxyd/status", Vec::new()).await?).await
}

/// Orders a change. What comes of it is in the lines; not reading them stops nothing.
pub async fn order(
    socket: &Path,
    change: Change,
    order: &upgrade::Request,
) -> Result<Lines, Failed> {
    let path = match change {
        Change::Upgrade => "/1/proxyd/upgrade",
        Change::Rollback => "/1/proxyd/rollback",
    };
    let response = ask(socket, Method::POST, path, encoded(order)?).await?;
    Ok(Lines { body: response.into_body(), unread: Vec::new() })
}

/// Asks how the switches are.
pub async fn switches(socket: &Path) -> Result<Vec<Switch>, Failed> {
    decoded(ask(socket, Method::GET, "/1/proxyd/maintenance", Vec::new()).await?).await
}

/// Has a switch changed; the answer is how those that were meant are then.
pub async fn switch(
    socket: &Path,
    name: &str,
    change: &SwitchChange,
) -> Result<Vec<Switch>, Failed> {
    let path = format!("/1/proxyd/maintenance/{}", escaped(name));
    decoded(ask(socket, Method::POST, &path, encoded(change)?).await?).await
}

/// Has a token made.
pub async fn token(socket: &Path, name: &str, order: &TokenOrder) -> Result<Token, Failed> {
    let path = format!("/1/proxyd/token/{}", escaped(name));
    decoded(ask(socket, Method::POST, &path, encoded(order)?).await?).await
}

/// Has all tokens of a switch revoked.
pub async fn revoke(socket: &Path, name: &str, order: &Revocation) -> Result<Vec<Switch>, Failed> {
    let path = format!("/1/proxyd/revoke/{}", escaped(name));
    decoded(ask(socket, Method::POST, &path, encoded(order)?).await?).await
}

/// Asks what is under way, through one switch or each.
pub async fn inflight(socket: &Path, name: Option<&str>) -> Result<Vec<Inflight>, Failed> {
    let path = match name {
        Some(name) => format!("/1/proxyd/inflight/{}", escaped(name)),
        None => "/1/proxyd/inflight".to_owned(),
    };
    decoded(ask(socket, Method::GET, &path, Vec::new()).await?).await
}

/// Waits until nothing is under way through a switch, or as long as the terms say.
pub async fn barrier(socket: &Path, name: &str, terms: &Barrier) -> Result<Proof, Failed> {
    let path = format!("/1/proxyd/barrier/{}", escaped(name));
    decoded(ask(socket, Method::POST, &path, encoded(terms)?).await?).await
}

fn encoded(order: &impl serde::Serialize) -> Result<Vec<u8>, Failed> {
    serde_json::to_vec(order).map_err(|error| Failed::Refused(error.to_string()))
}

async fn decoded<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failed> {
    let body = whole(response).await.ok_or(Failed::Gone)?;
    // Whatever else answers to that name, it is not ours.
    serde_json::from_slice(&body).map_err(|_| Failed::Unknown)
}

/// What the server says about a change, as it happens.
pub struct Lines {
    body: Incoming,
    unread: Vec<u8>,
}

impl Lines {
    /// The next line; `None` when there will be no more. One that cannot be understood is passed over.
    pub async fn next(&mut self) -> Option<Progress> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(progress) => return Some(progress),
                    Err(_) => continue,
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.unread.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    }
}

/// Sends one request. The rest of the conversation goes on beside whoever reads the answer.
async fn send(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("proxyd ctl"));
    sender.send_request(request).await
}

/// Sends one request and separates the answer that is wanted from all others.
async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>, Failed> {
    let stream = UnixStream::connect(socket).await.map_err(Failed::Connect)?;
    let response = send(stream, method, path, body).await.map_err(|_| Failed::Gone)?;
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::METHOD_NOT_ALLOWED => Err(Failed::Unknown),
        StatusCode::SERVICE_UNAVAILABLE => Err(Failed::Gone),
        status => Err(failed(status, reason(whole(response).await))),
    }
}

fn failed(status: StatusCode, reason: Option<String>) -> Failed {
    match (status, reason) {
        // A path that is not known there has no words of its own.
        (StatusCode::NOT_FOUND, None) => Failed::Unknown,
        (StatusCode::CONFLICT, Some(reason)) => Failed::State(reason),
        (_, Some(reason)) => Failed::Refused(reason),
        (status, None) => Failed::Refused(status.to_string()),
    }
}

fn reason(body: Option<Bytes>) -> Option<String> {
    #[derive(Deserialize)]
    struct Wrong {
        error: String,
    }
    body.and_then(|body| serde_json::from_slice::<Wrong>(&body).ok()).map(|wrong| wrong.error)
}

async fn whole(response: Response<Incoming>) -> Option<Bytes> {
    response.into_body().collect().await.ok().map(http_body_util::Collected::to_bytes)
}
