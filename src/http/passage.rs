//! Owns a request's place in the count of its switch: from before the last look at the door to the end
//! of its exchange with an upstream.
//!
//! Must not judge who may pass nor answer who may not.

use super::live::Live;
use super::method::Method;
use super::modules::maintenance;
use super::phase::Stop;
use super::request::Request;
use super::roster::{Entry, Place};
use crate::upstream::{Group, PeerRef};
use crate::zone::gates::Class;
use std::fmt;
use std::rc::Rc;

/// The type of an answer without an end (HTML, section 9.2.5).
const EVENTS: &[u8] = b"text/event-stream";

/// What maintenance mode has made of a request; `$maintenance_action`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the door is open.
    #[default]
    Pass,
    /// Nothing, whatever the door is.
    Exempt,
    /// A file of `maintenance_root`, or the way into or out of maintenance mode.
    Asset,
    /// Let in for its address.
    BypassIp,
    /// Let in for its token.
    BypassToken,
    /// Turned away, in these ways.
    Page,
    Json,
    Grpc,
    Redirect,
    /// Told that it may ask, to be turned away then.
    Preflight,
}

impl Action {
    /// As `$maintenance_action` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Exempt => "exempt",
            Self::Asset => "asset",
            Self::BypassIp => "bypass-ip",
            Self::BypassToken => "bypass-token",
            Self::Page => "page",
            Self::Json => "json",
            Self::Grpc => "grpc",
            Self::Redirect => "redirect",
            Self::Preflight => "preflight",
        }
    }

    /// Let in although the door is closed.
    pub fn is_bypass(self) -> bool {
        matches!(self, Self::BypassIp | Self::BypassToken)
    }

    /// Answered here because the door is closed.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Page | Self::Json | Self::Grpc | Self::Redirect | Self::Preflight)
    }
}

/// What is known of a request at the door.
#[derive(Debug, Default)]
pub struct Guest {
    pub action: Action,
    /// How it found the door; nothing if it has not come to one.
    pub found_closed: Option<bool>,
    /// Tokens it showed, taken out of its head: nobody further on is to see them.
    pub tokens: Vec<Vec<u8>>,
    /// From the last door on, until an answer takes it along.
    pub passage: Option<Passage>,
}

impl Guest {
    /// Whether an upstream may still be asked: after a closing nothing new begins.
    pub fn may_go_on(&self) -> bool {
        let closed = |passage: &Passage| passage.class != Class::Bypass && passage.is_closed();
        !self.passage.as_ref().is_some_and(closed)
    }

    /// This server is to be asked next, if only it can be reached.
    pub fn turns_to(&self, group: &Rc<Group>, peer: &PeerRef) {
        if let Some(passage) = &self.passage {
            passage.live.gate.roster.asks(passage.place, group, peer);
        }
    }

    /// Bytes of the request are going to an upstream.
    pub fn asks(&mut self) {
        if let Some(passage) = &mut self.passage {
            passage.asked = true;
        }
    }

    /// The upstream that was asked has answered, or nothing has gone there.
    pub fn is_answered(&mut self) {
        if let Some(passage) = &mut self.passage {
            passage.settle();
        }
    }

    /// The head of an answer of this type has come. Events come for as long as somebody listens, so
    /// they are a stream; what asked for them and may change something counts as what it is.
    pub fn is_answered_with(&mut self, kind: &[u8]) {
        let events = kind.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS));
        if let Some(passage) = self.passage.as_mut().filter(|passage| events && passage.reads) {
            passage.upgrade();
        }
    }

    /// The upstream that was asked has failed. A read may be asked of another one, whose answer then
    /// settles it; what a write has done there nobody will learn.
    pub fn has_failed(&mut self) {
        let Some(passage) = &mut self.passage else { return };
        if passage.asked && !passage.reads {
            passage.live.gate.unknown(passage.at);
            passage.asked = false;
        }
    }
}

/// A request that is counted. Dropped, it is not counted any more; what was sent and not answered to
/// its end is then of unknown outcome.
pub struct Passage {
    live: Rc<Live>,
    at: usize,
    class: Class,
    /// Where it is listed.
    place: Place,
    /// Its method is safe: asked again, it does the same.
    reads: bool,
    /// Something has been sent, and what came of it is not known.
    asked: bool,
    /// It has no end of its own.
    endless: bool,
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage").field("class", &self.class).finish_non_exhaustive()
    }
}

/// The last door before an upstream is asked with this method.
pub fn enter(req: &mut Request, method: Method) -> Result<(), Stop> {
    req.live.calls.wake();
    let at = req.conf().maintenance.switch;
    let reads = is_safe(method);
    let gate = &req.live.gate;
    let (class, action) = if maintenance::is_exempt(req) {
        gate.enter_exempt(at);
        (Class::Bypass, req.guest.action)
    } else {
        let class = if reads { Class::Read } else { Class::Write };
        if gate.enter(at, class) {
            (class, req.guest.action)
        } else {
            (Class::Bypass, enter_closed(req, at)?)
        }
    };
    let live = req.live.clone();
    let client = req.client.clone();
    let entry = Entry::new(live.gate.switch(at), class, method, req.started, client).at(&req.uri);
    let place = live.gate.roster.add(entry);
    req.guest.action = action;
    req.guest.passage =
        Some(Passage { live, at, class, place, reads, asked: false, endless: false });
    Ok(())
}

/// Counts who may pass although the switch is closed.
fn enter_closed(req: &Request, at: usize) -> Result<Action, Stop> {
    let admitted = maintenance::admits(req).filter(|_| req.live.gate.enter_closed(at));
    admitted.ok_or(Stop::Closed)
}

impl Passage {
    /// Whether the switch is closed now.
    pub fn is_closed(&self) -> bool {
        self.live.gate.is_closed(self.at)
    }

    /// Whether it matters that nobody knows what came of it. A read changes nothing, so that one that
    /// was given up before the door closed is no business of whoever closes it; all that is given up
    /// behind a closed door is told, because nothing is given up there without need.
    fn matters(&self) -> bool {
        !self.reads || self.is_closed()
    }

    /// What came of the request is known.
    pub fn settle(&mut self) {
        self.asked = false;
    }

    /// Whether it is seen through although its client has gone: while the switch is closed somebody
    /// waits to learn what comes of it.
    pub fn outlasts_client(&self) -> bool {
        self.is_closed() && !self.endless
    }

    /// It is a stream from now on.
    pub fn upgrade(&mut self) {
        self.asked = false;
        self.endless = true;
        if self.class != Class::Bypass {
            self.live.gate.upgrade(self.at, self.class);
            self.class = Class::Stream;
            self.live.gate.roster.reclass(self.place, Class::Stream);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        // In this order: who sums meanwhile sees it twice rather than not at all.
        if self.asked && self.matters() {
            self.live.gate.unknown(self.at);
        }
        self.live.gate.leave(self.at, self.class);
        self.live.gate.roster.remove(self.place);
    }
}

/// Methods that change nothing behind (RFC 9110, section 9.2.1), as far as anybody can tell.
fn is_safe(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options)
}
