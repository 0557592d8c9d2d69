//! The client of the control API that `-s` uses.
//!
//! Must not print, nor decide what an answer means for the command.

use std::io;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

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
    let response = ask(socket, Method::GET, "/1/proxyd/status", Vec::new()).await?;
    let body = whole(response).await.ok_or(Failed::Gone)?;
    // Whatever else answers to that name, it is not ours.
    serde_json::from_slice(&body).map_err(|_| Failed::Unknown)
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
    let body = serde_json::to_vec(order).map_err(|error| Failed::Refused(error.to_string()))?;
    let response = ask(socket, Method::POST, path, body).await?;
    Ok(Lines { body: response.into_body(), unread: Vec::new() })
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
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(Failed::Unknown),
        StatusCode::SERVICE_UNAVAILABLE => Err(Failed::Gone),
        status => Err(Failed::Refused(reason(status, whole(response).await))),
    }
}

fn reason(status: StatusCode, body: Option<Bytes>) -> String {
    #[derive(Deserialize)]
    struct Wrong {
        error: String,
    }
    let said = body.and_then(|body| serde_json::from_slice::<Wrong>(&body).ok());
    said.map_or_else(|| status.to_string(), |wrong| wrong.error)
}

async fn whole(response: Response<Incoming>) -> Option<Bytes> {
    response.into_body().collect().await.ok().map(http_body_util::Collected::to_bytes)
}
