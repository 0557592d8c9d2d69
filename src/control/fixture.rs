//! A server of the API on a socket of its own, for tests that play the master.
//!
//! Must not answer anything itself.

use std::path::PathBuf;

use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::{Ask, bind, serve};

/// Runs `client` with the socket's path and what clients ask. A clock that is `paused` is the test's own.
pub fn served<T>(paused: bool, client: impl AsyncFnOnce(PathBuf, mpsc::Receiver<Ask>) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ctl");
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(paused).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = UnixListener::from_std(bind(&path).unwrap()).unwrap();
        let (asks, asked) = mpsc::channel(4);
        tokio::task::spawn_local(serve(listener, asks));
        client(path, asked).await
    })
}
