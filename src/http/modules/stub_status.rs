//! Owns the page of counters: `stub_status`, and the variables that show the same.
//!
//! Must not count; `conn` and `service` do.

use crate::conf::{Args, Contexts, Row};
use crate::http::draft::{Scope, row};
use crate::http::finish::Finish;
use crate::http::method::Method;
use crate::http::phase::Stop;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::vars::Variable;
use crate::zone::{FLOODS, Totals};
use std::io::Write;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    on: bool,
    /// The outer block has it: what an `if` keeps and a location does not.
    outside: bool,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// The page is this location's content.
    pub on: bool,
}

impl Draft {
    /// Whether the page is asked for here.
    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn inherit(&mut self, outer: &Self) {
        self.outside = outer.on;
    }

    /// A handler is its location's alone, but entering an `if` does not change it.
    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let entered = cx.context.contains(Contexts::IF_IN_LOCATION);
        Conf { on: self.on || (entered && self.outside) }
    }
}

pub static ROWS: &[Row<Scope>] = &[row(
    "stub_status",
    Contexts::SERVER.or(Contexts::LOCATION),
    Args::Between(0, 1),
    "Answers with a page of counters: connections and requests of all workers.",
    |scope, _, _| {
        scope.drafts.stub_status.on = true;
        Ok(())
    },
)];

/// Appends one number of the sums.
fn show(req: &Request, out: &mut Vec<u8>, pick: fn(&Totals) -> u64) -> bool {
    let totals = req.live.counters.table().totals();
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{}", pick(&totals));
    true
}

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "connections_active",
        doc: "Client connections, waiting ones included.",
        get: |req, _, out| show(req, out, |totals| totals.active),
    },
    Variable {
        name: "connections_reading",
        doc: "Connections whose request head is being read.",
        get: |req, _, out| show(req, out, |totals| totals.reading),
    },
    Variable {
        name: "connections_writing",
        doc: "Connections whose request is being answered.",
        get: |req, _, out| show(req, out, |totals| totals.writing),
    },
    Variable {
        name: "connections_waiting",
        doc: "Idle connections, waiting for a request.",
        get: |req, _, out| show(req, out, |totals| totals.waiting),
    },
    Variable {
        name: "http2_floods",
        doc: "HTTP/2 connections that were ended because their clients sent too much of what costs more than \
              it brings. proxyd's own.",
        get: |req, _, out| {
            let counters = req.live.counters.table();
            let sum: u64 = FLOODS.iter().map(|(flood, _)| counters.floods(*flood)).sum();
            // Writing into a Vec cannot fail.
            let _ = write!(out, "{sum}");
            true
        },
    },
];

/// The counters' page.
pub fn run(req: &mut Request) -> Stop {
    if !matches!(req.method, Method::Get | Method::Head) {
        return Stop::Status(405);
    }
    let totals = req.live.counters.table().totals();
    req.reply = Reply::text(200, b"text/plain", page(&totals).into_bytes());
    Stop::Reply
}

/// nginx's page, its trailing spaces included.
fn page(totals: &Totals) -> String {
    let Totals { accepted, handled, requests, active, reading, writing, waiting, failed: _ } =
        totals;
    format!(
        "Active connections: {active} \nserver accepts handled requests\n {accepted} {handled} {requests} \n\
         Reading: {reading} Writing: {writing} Waiting: {waiting} \n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_nginxs() {
        let totals = Totals {
            accepted: 3,
            handled: 2,
            requests: 5,
            failed: 9,
            active: 7,
            reading: 1,
            writing: 4,
            waiting: 6,
        };
        let expected = "Active connections: 7 \nserver accepts handled requests\n 3 2 5 \n\
                        Reading: 1 Writing: 4 Waiting: 6 \n";
        assert_eq!(page(&totals), expected);
    }
}
