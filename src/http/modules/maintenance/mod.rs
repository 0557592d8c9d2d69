//! Owns maintenance mode: who may pass a closed door, and what the others are answered.
//!
//! Must not open or close anything; `gate` knows the state, an operator changes it.

mod answer;
mod assets;
mod bypass;
mod conf;
mod cors;
mod page;
mod rows;
mod wants;

use crate::http::method::Method;
use crate::http::passage::Action;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::vars::Variable;
use crate::zone::gates::State;

pub use answer::turn_away;
pub use conf::{Conf, Draft, Websocket};
pub use rows::ROWS;

/// Certificates are renewed whatever the state is.
const ACME: &[u8] = b"/.well-known/acme-challenge/";

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "maintenance",
        doc: "Whether the switch that the location has joined is `open` or `closed`.",
        get: |req, _, out| {
            // The log is written later, when the door may have been opened again.
            let now = || req.live.gate.is_closed(req.conf().maintenance.switch);
            let closed = req.guest.found_closed.unwrap_or_else(now);
            out.extend_from_slice(if closed { b"closed" } else { b"open" });
            true
        },
    },
    Variable {
        name: "maintenance_action",
        doc: "What maintenance mode has made of the request: `pass`, `exempt`, `asset`, `bypass-ip`, \
              `bypass-token`, `page`, `json`, `grpc`, `redirect`, `preflight`.",
        get: |req, _, out| {
            out.extend_from_slice(req.guest.action.name().as_bytes());
            true
        },
    },
];

/// The door of the selected location. A request that may have to ask an upstream is counted and
/// looked at once more before it does.
pub fn door(req: &mut Request) -> Phase {
    let conf = &req.conf().maintenance;
    let (closed, watches) = (req.live.gate.is_closed(conf.switch), conf.watches_open_door);
    req.guest.found_closed = Some(closed);
    if !closed && !watches {
        return Ok(());
    }
    bypass::take(req);
    bypass::visit(req)?;
    if closed { closed_door(req) } else { answer::lead_back(req) }
}

fn closed_door(req: &mut Request) -> Phase {
    if is_exempt(req) {
        req.guest.action = Action::Exempt;
        return Ok(());
    }
    if let Some(action) = admits(req) {
        req.guest.action = action;
        return Ok(());
    }
    answer::asset(req)?;
    // The page of another error is shown, unless it would have to be asked for.
    let error_page = req.error_status >= 400 && req.conf().proxy.pass.is_none();
    if error_page { Ok(()) } else { Err(Stop::Closed) }
}

/// Whether no switch keeps this request out.
pub fn is_exempt(req: &Request) -> bool {
    let conf = req.conf();
    conf.maintenance.exempt || conf.stub_status.on || is_challenge(req)
}

/// Whether a certificate authority asks for a token, and for nothing that a server behind might take
/// for another path (RFC 8555, section 8.3).
fn is_challenge(req: &Request) -> bool {
    let Some(token) = req.uri.strip_prefix(ACME) else { return false };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    matches!(req.method, Method::Get | Method::Head) && token.iter().all(plain)
}

/// Whether this request may pass a closed door, and why.
pub fn admits(req: &Request) -> Option<Action> {
    let conf = &req.conf().maintenance;
    let order = req.live.gate.order(conf.switch);
    if order.no_bypass && order.state != State::Open {
        return None;
    }
    if bypass::is_listed(req, &order.allow) {
        Some(Action::BypassIp)
    } else {
        bypass::is_signed(req).then_some(Action::BypassToken)
    }
}

/// Last of the header filters: who was let in can tell, and nobody keeps what only such people see.
pub fn mark(req: &mut Request) {
    if req.guest.action.is_bypass() {
        req.reply.headers.set_str(b"X-Maintenance", b"bypass");
        req.reply.headers.set_str(b"Cache-Control", b"no-store");
    }
}

#[cfg(test)]
mod tests;
