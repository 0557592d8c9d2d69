//! Owns `rewrite`, `return`, `set`, `if`, `break`: small programs that run at the server's own level
//! and again in each selected location.
//!
//! Must not select a location; it says that the URI has changed.

mod condition;
mod directive;
mod recipes;
mod replace;
mod respond;
mod run;

use crate::conf::{Contexts, Word};
use crate::http::assign::{self, Target};
use crate::http::draft::Scope;
use crate::http::finish::Finish;
use crate::http::phase::{Phase, Stop};
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::log::Level;

use super::inherit;
pub use directive::ROWS;
use directive::Written;
pub use recipes::{Closing, How};
use run::Run;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    /// The program of this block; an `if` keeps its own inside.
    steps: Vec<Written>,
    log: Option<bool>,
    warn: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    steps: Vec<Step>,
    /// `rewrite_log`.
    log: bool,
    /// `uninitialized_variable_warn`.
    warn: bool,
}

/// One directive, compiled.
#[derive(Debug)]
enum Step {
    Rewrite(Box<replace::Rewrite>),
    Return(respond::Return),
    Break,
    Set { target: Target, value: Template },
    If { condition: condition::Condition, enter: Option<usize>, steps: Vec<Step> },
}

impl Draft {
    /// Programs are not inherited.
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; log, warn);
    }

    /// What of this program brings all requests to one path.
    pub fn closings(&self) -> Vec<Closing> {
        recipes::closings(&self.steps)
    }

    /// Addresses that this program compares `$remote_addr` with.
    pub fn addresses(&self) -> Vec<&Word> {
        recipes::addresses(&self.steps)
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        Conf {
            steps: compile(&self.steps, cx),
            log: self.log.unwrap_or(false),
            warn: self.warn.unwrap_or(true),
        }
    }
}

fn compile(steps: &[Written], cx: &mut Finish) -> Vec<Step> {
    steps.iter().filter_map(|step| compile_one(step, cx)).collect()
}

fn compile_one(step: &Written, cx: &mut Finish) -> Option<Step> {
    Some(match step {
        Written::Rewrite(rewrite) => {
            Step::Rewrite(Box::new(replace::Rewrite::compile(rewrite, cx)?))
        }
        Written::Return { status, text } => {
            Step::Return(respond::Return::new(*status, text.as_ref().map(|word| cx.template(word))))
        }
        Written::Break => Step::Break,
        Written::Set { name, value } => {
            let value = cx.template(value);
            Step::Set { target: Target::new(name, cx), value }
        }
        Written::If { condition, inner, steps } => Step::If {
            enter: inner.and_then(|number| cx.inner.get(number).copied()),
            condition: condition::Condition::compile(condition, cx)?,
            steps: compile(steps, cx),
        },
    })
}

/// Makes the variables that `set` defines known everywhere, before any block is finished.
pub fn define(http: &Scope, cx: &mut Finish) {
    define_steps(&http.drafts.rewrite.steps, cx);
    for server in &http.servers {
        define(server, cx);
    }
    for location in &http.locations {
        define(&location.scope, cx);
    }
}

fn define_steps(steps: &[Written], cx: &mut Finish) {
    for step in steps {
        match step {
            Written::Set { name, .. } => match assign::own_name(name) {
                Ok(own) => drop(own.map(|own| cx.names.define_set(&own))),
                Err(error) => cx.report(error),
            },
            Written::If { steps, .. } => define_steps(steps, cx),
            _ => {}
        }
    }
}

pub static VARIABLES: &[Variable] = &[];

/// Reading a variable before its `set` has run: empty, and told to the log unless switched off.
pub fn uninitialized(req: &Request, name: &str) -> bool {
    if req.conf().rewrite.warn {
        req.log(Level::Warn, format_args!("using uninitialized \"{name}\" variable"));
    }
    true
}

/// nginx's server rewrite phase. A changed URI needs no new round: no location was selected yet.
pub fn server(req: &mut Request) -> Phase {
    program(req).map(|_| ())
}

/// nginx's rewrite phase, in the selected location; a request for which there is none has had its
/// server's program already.
pub fn location(req: &mut Request) -> Phase {
    if req.location == req.server().root {
        return Ok(());
    }
    if program(req)? { Err(Stop::Rewritten) } else { Ok(()) }
}

/// Runs the program of the current level; true when it has changed the URI.
fn program(req: &mut Request) -> Result<bool, Stop> {
    if req.conf().rewrite.steps.is_empty() {
        return Ok(false);
    }
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).rewrite;
    let mut run = Run::new(conf.log);
    run.steps(&conf.steps, req)?;
    Ok(run.changed)
}

/// The context of an `if` in this one.
fn inside(context: Contexts) -> Contexts {
    if context.contains(Contexts::SERVER) {
        Contexts::IF_IN_SERVER
    } else {
        Contexts::IF_IN_LOCATION
    }
}

#[cfg(test)]
mod tests;
