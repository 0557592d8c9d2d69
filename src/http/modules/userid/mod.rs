//! Owns `userid`: a cookie that tells clients apart, given to those who have none.
//!
//! Must not keep anything of them.

mod number;
mod rows;

use crate::base64::{Alphabet, decode, encode};
use crate::http::date;
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::pairs;
use crate::http::request::Request;
use crate::http::vars::{Var, Variable};
use crate::log::{Level, clock};
use number::Number;
use std::cell::OnceCell;
use std::io::Write;
use std::time::Duration;

pub use rows::{Draft, ROWS};

/// Letters of a number in the cookie.
const LETTERS: usize = 22;

/// Whether and how numbers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Off,
    /// They are looked at, not given.
    Log,
    V1,
    On,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    state: State,
    service: Option<u32>,
    name: Vec<u8>,
    /// What follows the number: end, domain, path, flags. The end is counted from now on.
    expires: Expires,
    attributes: Vec<u8>,
    p3p: Vec<u8>,
    mark: Option<u8>,
    /// `$uid_reset`, which is the configuration's own.
    reset: Var,
}

/// When the cookie ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expires {
    WithSession,
    After(Duration),
    Max,
}

/// What a request's cookie has said, and what is said to its client.
#[derive(Debug, Default)]
pub struct Uid {
    got: OnceCell<Option<Got>>,
    set: OnceCell<Option<Number>>,
}

#[derive(Debug)]
struct Got {
    number: Number,
    cookie: Vec<u8>,
}

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "uid_got",
        doc: "Name and number of the client's cookie.",
        get: |req, _, out| {
            let conf = &req.conf().userid;
            let got = if conf.state == State::Off { None } else { got(req, conf) };
            show(conf, got.map(|got| got.number), out)
        },
    },
    Variable {
        name: "uid_set",
        doc: "Name and number of the cookie that the client is given.",
        get: |req, _, out| {
            let conf = &req.conf().userid;
            show(conf, if conf.state >= State::V1 { set(req, conf) } else { None }, out)
        },
    },
];

/// `$uid_reset` is there for the configuration to set.
pub fn define(cx: &mut Finish) {
    cx.names.define("uid_reset");
}

fn show(conf: &Conf, number: Option<Number>, out: &mut Vec<u8>) -> bool {
    let Some(number) = number else { return false };
    out.extend_from_slice(&conf.name);
    write!(out, "={number}").is_ok()
}

/// The number in the client's cookie; one that is none is told of once.
fn got<'a>(req: &'a Request, conf: &Conf) -> Option<&'a Got> {
    let found = req.uid.got.get_or_init(|| {
        let mut lines = req.head.headers.get_all(Name::Cookie);
        let (line, cookie) =
            lines.find_map(|line| Some((line, pairs::cookie(line, &conf.name)?)))?;
        let complain = |what: &str| {
            let line = String::from_utf8_lossy(line);
            req.log_error(format_args!("client sent {what} userid cookie \"{line}\""));
        };
        let Some(letters) = cookie.get(..LETTERS) else {
            complain("too short");
            return None;
        };
        // What follows is a mark, or whatever clients have made of the padding.
        let Some(number) = decode(letters, Alphabet::Standard).and_then(|n| Number::new(&n)) else {
            complain("invalid");
            return None;
        };
        Some(Got { number, cookie: cookie.to_vec() })
    });
    found.as_ref().filter(|got| !got.number.is_none())
}

/// The number that the client is given, if it is given one.
fn set(req: &Request, conf: &Conf) -> Option<Number> {
    *req.uid.set.get_or_init(|| {
        let Some(got) = got(req, conf) else { return Some(fresh(req, conf)) };
        let mut reset = Vec::new();
        conf.reset.append(req, &mut reset);
        if matches!(&reset[..], b"" | b"0") {
            let marked = |mark: u8| got.cookie.get(LETTERS..LETTERS + 2) == Some(&[mark, b'=']);
            return conf.mark.filter(|mark| !marked(*mark)).map(|_| got.number);
        }
        if reset == b"log" {
            let name = String::from_utf8_lossy(&conf.name);
            let line = format_args!("userid cookie \"{name}={}\" was reset", got.number);
            req.log(Level::Notice, line);
        }
        Some(fresh(req, conf))
    })
}

fn fresh(req: &Request, conf: &Conf) -> Number {
    let now = u32::try_from(clock::seconds()).unwrap_or(0);
    if conf.state == State::V1 {
        Number::v1(conf.service.unwrap_or(0), now)
    } else {
        Number::v2(conf.service, req.client.local(), now)
    }
}

/// Header filter: gives the cookie.
pub fn run(req: &mut Request) {
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).userid;
    if conf.state < State::V1 {
        return;
    }
    let Some(number) = set(req, conf) else { return };
    let mut value = [&conf.name[..], b"="].concat();
    value.extend_from_slice(&letters(req, conf, number));
    match conf.expires {
        Expires::WithSession => {}
        Expires::Max => value.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT"),
        Expires::After(time) => {
            let end = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            let end = date::cookie(clock::seconds().saturating_add(end));
            value.extend_from_slice(b"; expires=");
            value.extend_from_slice(end.as_bytes());
        }
    }
    value.extend_from_slice(&conf.attributes);
    req.reply.headers.push_known(Name::SetCookie, &value);
    if !conf.p3p.is_empty() {
        req.reply.headers.push(b"P3P", &conf.p3p);
    }
}

/// The number in base64, with the mark in place of the first sign of its padding.
fn letters(req: &Request, conf: &Conf, number: Number) -> Vec<u8> {
    let kept = got(req, conf).filter(|got| got.number == number);
    let mut letters = match kept.and_then(|got| got.cookie.get(..LETTERS)) {
        Some(letters) => [letters, b"=="].concat(),
        None => encode(&number.bytes()).into_bytes(),
    };
    if let (Some(mark), Some(place)) = (conf.mark, letters.get_mut(LETTERS)) {
        *place = mark;
    }
    letters
}

#[cfg(test)]
mod tests;
