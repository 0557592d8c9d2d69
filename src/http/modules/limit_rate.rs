//! Owns `limit_rate` and `limit_rate_after`: how fast an answer may go.
//!
//! Must not slow anything down; `conn` does, by these values.

use super::inherit;
use crate::conf::{Args, Row, Word};
use crate::http::draft::{HSLI, Scope, row};
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::size::Size;
use crate::http::vars::Variable;
use std::io::Write;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    rate: Option<Word>,
    after: Option<Word>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    rate: Size,
    after: Size,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; rate, after);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        Conf { rate: Size::new(self.rate.as_ref(), cx), after: Size::new(self.after.as_ref(), cx) }
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "limit_rate",
        HSLI,
        Args::Exactly(1),
        "Bytes a second that an answer may take; 0 (default) is no limit.",
        |scope, dir, _| Size::read(&mut scope.drafts.limit_rate.rate, dir),
    ),
    row(
        "limit_rate_after",
        HSLI,
        Args::Exactly(1),
        "Bytes of an answer that go before its rate is limited (default 0).",
        |scope, dir, _| Size::read(&mut scope.drafts.limit_rate.after, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[Variable {
    name: "limit_rate",
    doc: "Bytes a second that the answer may take, once it has begun or `set` has said so; 0 is no limit.",
    get: |req, _, out| {
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{}", req.limit_rate.unwrap_or(0));
        true
    },
}];

/// The rate of an answer that is about to begin, and what goes before it counts; `None` without a limit.
pub fn begin(req: &mut Request) -> Option<(u64, u64)> {
    let conf = &req.snapshot.conf(req.location).limit_rate;
    let rate = req.limit_rate.unwrap_or_else(|| conf.rate.value(req));
    let limit = (rate > 0).then(|| (rate, conf.after.value(req)));
    req.limit_rate = Some(rate);
    limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};

    #[test]
    fn the_variable_goes_before_the_directive() {
        let site = Site::new("limit_rate 1k;", "listen 1; limit_rate_after $args;");
        let mut req = site.request();
        req.args = b"2m".to_vec();
        assert_eq!(begin(&mut req), Some((1024, 2 << 20)));
        req.set_limit_rate(b"7");
        assert_eq!(begin(&mut req), Some((7, 2 << 20)));
        req.set_limit_rate(b"x");
        assert!(site.text("error.log").contains("invalid $limit_rate \"x\""));
        req.set_limit_rate(b"0");
        assert_eq!(begin(&mut req), None);
    }

    #[test]
    fn what_is_no_size_is_no_limit() {
        let site = Site::new("", "listen 1; limit_rate $args;");
        let mut req = site.request();
        assert_eq!(begin(&mut req), None);
        assert!(site.text("error.log").contains("invalid size \"\""));
        assert_eq!(req.limit_rate, Some(0));
        assert_eq!(errors("", "limit_rate 1g;"), ["\"limit_rate\" directive invalid value"]);
    }
}
