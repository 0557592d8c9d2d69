//! Owns the running of a program, and what is remembered from one directive to the next.
//!
//! Must not know where the program stands; its caller does.

use super::Step;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::template::Template;
use crate::log::Level;

/// One run through a program.
pub(super) struct Run {
    /// The URI was changed and no location has been selected for it.
    pub changed: bool,
    /// `rewrite_log` where the program stands, whatever an `if` puts in force.
    log: bool,
    /// Captures are escaped if the URI came escaped. nginx does so until a `rewrite` has matched.
    pub quote: bool,
}

/// Whether the program goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Step,
    End,
}

impl Run {
    pub fn new(log: bool) -> Self {
        Self { changed: false, log, quote: true }
    }

    /// Runs to the end.
    pub fn steps(&mut self, steps: &[Step], req: &mut Request) -> Phase {
        self.all(steps, req).map(|_| ())
    }

    fn all(&mut self, steps: &[Step], req: &mut Request) -> Result<Next, Stop> {
        for step in steps {
            if self.one(step, req)? == Next::End {
                return Ok(Next::End);
            }
        }
        Ok(Next::Step)
    }

    fn one(&mut self, step: &Step, req: &mut Request) -> Result<Next, Stop> {
        match step {
            Step::Rewrite(rewrite) => rewrite.run(self, req),
            Step::Return(answer) => Err(answer.run(req)),
            Step::Break => {
                if self.changed {
                    self.changed = false;
                    req.valid_location = false;
                }
                Ok(Next::End)
            }
            Step::Set { target, value } => {
                let value = self.value(value, req);
                target.assign(req, value);
                Ok(Next::Step)
            }
            Step::If { condition, enter, steps } => {
                if !condition.holds(self, req) {
                    return Ok(Next::Step);
                }
                if let Some(location) = enter {
                    let passed = req.conf().proxy.pass.is_some();
                    req.location = *location;
                    req.stranded = (passed || req.stranded) && req.conf().proxy.pass.is_none();
                }
                self.all(steps, req)
            }
        }
    }

    /// A value within this program.
    pub fn value(&self, template: &Template, req: &Request) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        append(template, req, &mut out, self.quote);
        out
    }

    /// `rewrite_log`: whether an expression matched.
    pub fn log_match(&self, req: &Request, pattern: &str, subject: &[u8], hit: bool) {
        if self.log {
            let subject = String::from_utf8_lossy(subject);
            let verb = if hit { "matches" } else { "does not match" };
            req.log(Level::Notice, format_args!("\"{pattern}\" {verb} \"{subject}\""));
        }
    }

    /// `rewrite_log`: what came of it.
    pub fn log(&self, req: &Request, message: std::fmt::Arguments<'_>) {
        if self.log {
            req.log(Level::Notice, message);
        }
    }
}

/// Appends a value, its captures escaped if asked to and if the URI came escaped.
pub(super) fn append(template: &Template, req: &Request, out: &mut Vec<u8>, quote: bool) {
    let came = req.head.uri.flags;
    if quote && (came.quoted || came.plus) {
        template.append_escaped(req, out);
    } else {
        template.append(req, out);
    }
}
