//! The client of the control API that `-s reload` uses.

use std::io;
use std::path::Path;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

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

/// Has the configuration reloaded and waits for the outcome, however long it takes: the server has
/// its own deadlines. An error means that there is no server to ask.
pub async fn reload(socket: &Path) -> io::Result<Reloaded> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
    let request = Request::builder()
        .method(Method::PATCH)
        .uri("/1/control/config")
        .header("Host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(other)?;
        let status = response.status();
        Ok((status, response.into_body().collect().await.map_err(other)?.to_bytes()))
    };
    let (exchanged, _) = tokio::join!(exchange, connection);
    exchanged.map(|(status, body)| read(status, &body))
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

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
