//! Owns HTTP/2 towards upstreams: a connection that speaks it looks to the exchange like one that speaks
//! HTTP/1, a request at a time. So retries, kept connections and counts are the same for both.
//!
//! Must not know why a request is sent. One stream is open at a time, as in nginx.

mod asked;
mod fault;
mod line;
mod told;
mod wire;

use crate::net::{Carried, Stream};
pub use fault::Fault;
use h2::client::Builder;
use line::{Line, Over};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use wire::Wire;

/// Bytes of an answer that may come before they are wanted.
const WINDOW: u32 = 256 * 1024;

/// Held of a request whose upstream does not take it.
const SEND_BUFFER: usize = 64 * 1024;

/// The longest head of an answer; what is passed on is limited by `proxy_buffer_size`.
const HEAD: u32 = 256 * 1024;

/// What a connection that nobody has any more may take to say so to a peer that does not read.
const FAREWELL: Duration = Duration::from_secs(1);

/// Speaks HTTP/2 on a connection from now on. Must run in a `LocalSet`: a task drives the engine until
/// nobody has the connection any more, and for `FAREWELL` at most from then on.
pub async fn begin(stream: Stream, tls: bool) -> io::Result<Stream> {
    let begun = Builder::new()
        .enable_push(false)
        .header_table_size(0)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(Wire(stream))
        .await;
    let (send, connection) = begun.map_err(line::broken)?;
    let over = Rc::new(Over::default());
    let told = Rc::clone(&over);
    let (held, left) = oneshot::channel();
    tokio::task::spawn_local(async move {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = &mut connection => {}
            _ = left => drop(timeout(FAREWELL, connection).await),
        }
        told.tell();
    });
    let line: Rc<dyn Carried> = Rc::new(Line::new(send, over, held, tls));
    Ok(line.into())
}
