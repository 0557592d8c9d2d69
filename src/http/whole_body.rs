//! Owns the reading of a client's whole body before anything is done with it, and what becomes of a
//! request whose body cannot be read.
//!
//! Must not know who wants it.

use super::phase::{Phase, Stop};
use super::request::Request;
use super::request_body::{BodyError, InFile};
use super::spool::Room;
use crate::log::Level;
use std::rc::Rc;

/// Reads the whole body and keeps it; nothing to do if that has been done.
pub async fn keep(req: &mut Request) -> Phase {
    let in_file = req.conf().client_body.in_file;
    keep_as(req, in_file).await
}

/// The same for one that would not have been kept had it not come already: no file is wanted for it.
pub async fn keep_what_has_come(req: &mut Request) -> Phase {
    keep_as(req, InFile::Off).await
}

async fn keep_as(req: &mut Request, in_file: InFile) -> Phase {
    if req.body.kept.is_some() {
        return Ok(());
    }
    if req.body.is_begun() {
        // A part went another way before an internal redirect: the rest alone must not be sent.
        req.body.kept = Some(Rc::default());
        return Ok(());
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).client_body;
    let client = req.client.clone();
    let room = match in_file {
        InFile::Off => Room { own: conf.buffer_size, spare: !snapshot.shows_body_files },
        _ => Room { own: 0, spare: false },
    };
    let kept = req.body.keep(&client, conf.timeout, room, &conf.temp_path).await;
    kept.map_err(|error| failed(req, error))?;
    if in_file == InFile::On
        && let Some(spool) = req.body.kept.as_mut().and_then(Rc::get_mut)
    {
        // The file stays; its name is `$request_body_file`.
        let _ = spool.to_file(&conf.temp_path);
        spool.keep_file();
    }
    Ok(())
}

/// The client's body could not be read.
pub fn failed(req: &mut Request, error: BodyError) -> Stop {
    req.keepalive = false;
    match error {
        BodyError::Gone => {
            req.log(Level::Info, format_args!("client prematurely closed connection"));
            req.reply.status = 400;
            Stop::Close
        }
        BodyError::TimedOut => {
            req.log(
                Level::Info,
                format_args!(
                    "client timed out (110: Connection timed out) while reading client request body"
                ),
            );
            req.reply.status = 408;
            Stop::Close
        }
        BodyError::TooLarge => {
            let received = req.body.received;
            req.log_error(format_args!(
                "client intended to send too large chunked body: {received} bytes"
            ));
            Stop::Status(413)
        }
        BodyError::Malformed => {
            req.log(Level::Info, format_args!("client sent invalid chunked body"));
            Stop::Status(400)
        }
        BodyError::NotKept => {
            req.log(
                Level::Crit,
                format_args!("the request body could not be written to a temporary file"),
            );
            Stop::Status(500)
        }
    }
}
