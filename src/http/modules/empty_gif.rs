//! Owns `empty_gif`: one transparent pixel.
//!
//! Must not count who has seen it.

use crate::conf::{Args, Contexts, Row};
use crate::http::draft::{Scope, row};
use crate::http::finish::Finish;
use crate::http::method::Method;
use crate::http::phase::Stop;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::vars::Variable;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    on: bool,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    pub on: bool,
}

impl Draft {
    /// It belongs to its location.
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf { on: self.on }
    }
}

pub static ROWS: &[Row<Scope>] = &[row(
    "empty_gif",
    Contexts::LOCATION,
    Args::Exactly(0),
    "Answers with a GIF of one transparent pixel.",
    |scope, _, _| {
        scope.drafts.empty_gif.on = true;
        Ok(())
    },
)];

pub static VARIABLES: &[Variable] = &[];

/// The smallest GIF of a transparent pixel: screen of 1 x 1, two colours, the second one transparent,
/// and an image of that one.
const GIF: &[u8; 43] = b"GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\x01\0\
    ,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";

/// 28 September 1970, as in nginx.
const MODIFIED: i64 = 23_349_600;

/// The pixel.
pub fn run(req: &mut Request) -> Stop {
    if !matches!(req.method, Method::Get | Method::Head) {
        return Stop::Status(405);
    }
    req.reply = Reply {
        last_modified: Some(MODIFIED),
        headers: std::mem::take(&mut req.reply.headers),
        ..Reply::text(200, b"image/gif", &GIF[..])
    };
    Stop::Reply
}
