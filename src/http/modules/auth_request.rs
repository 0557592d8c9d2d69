//! Owns `auth_request`: a subrequest whose status says whether the client may pass.
//!
//! Must not add up what other modules think; `access` does.

use super::inherit;
use crate::conf::{Args, Directive, Error, Row, Word, values};
use crate::http::assign::{self, Target};
use crate::http::computed;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::headers::Name;
use crate::http::opinion::Opinion;
use crate::http::phase::Stop;
use crate::http::pipeline::Verdict;
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::http::subrequest;
use crate::http::template::Template;
use crate::http::vars::Variable;

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    uri: Option<Word>,
    /// Names without their `$`, and values.
    set: Option<Vec<(Word, Word)>>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    /// Whom to ask; `None` asks nobody.
    pub uri: Option<Vec<u8>>,
    set: Vec<(Target, Template)>,
}

impl Draft {
    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; uri, set);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let set = self.set.iter().flatten();
        let set = set.map(|(name, value)| (Target::new(name, cx), cx.template(value)));
        let uri = self.uri.as_ref().map(|word| word.text.clone()).filter(|uri| uri != b"off");
        Conf { set: set.collect(), uri }
    }
}

/// Makes the variables that `auth_request_set` defines known everywhere.
pub fn define(scope: &Scope, cx: &mut Finish) {
    for (name, _) in scope.drafts.auth_request.set.iter().flatten() {
        match assign::own_name(name) {
            Ok(own) => drop(own.map(|own| cx.names.define(&own))),
            Err(error) => cx.report(error),
        }
    }
    scope.servers.iter().for_each(|server| define(server, cx));
    scope.locations.iter().for_each(|location| define(&location.scope, cx));
}

fn set_uri(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    values::word(&mut scope.drafts.auth_request.uri, dir)
}

fn set_variable(scope: &mut Scope, dir: &Directive) -> Result<(), Error> {
    let name = computed::name_of(dir.arg(0))?;
    let set = scope.drafts.auth_request.set.get_or_insert_default();
    set.push((name, dir.arg(1).clone()));
    Ok(())
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "auth_request",
        HSL,
        Args::Exactly(1),
        "Lets a request pass if a subrequest to this URI is answered with 2xx; 401 and 403 are passed \
         on, anything else is an error; `off` (default) asks nobody.",
        |scope, dir, _| set_uri(scope, dir),
    ),
    row(
        "auth_request_set",
        HSL,
        Args::Exactly(2),
        "Gives a variable a value when the subrequest of `auth_request` has been answered; variables in \
         it are the subrequest's.",
        |scope, dir, _| set_variable(scope, dir),
    ),
];

pub static VARIABLES: &[Variable] = &[];

/// What the subrequest's answer says. Its body is nobody's business, and the client's body is not sent
/// along.
pub async fn judge(req: &mut Request) -> Opinion {
    let snapshot = req.snapshot.clone();
    let conf = &snapshot.conf(req.location).auth_request;
    let Some(uri) = &conf.uri else { return Opinion::None };
    let Some(mut sub) = subrequest::header_only(req, uri, b"") else { return Opinion::Refuse(500) };
    sub.body = RequestBody::default();
    let verdict = subrequest::run(&mut sub).await;
    subrequest::dismiss(&mut sub).await;
    if verdict == Verdict::Close {
        req.reply.status = sub.reply.status;
        return Opinion::Stop(Stop::Close);
    }
    for (target, value) in &conf.set {
        let value = value.value(&sub).into_owned();
        target.assign(req, value);
    }
    opinion(req, &sub)
}

fn opinion(req: &mut Request, sub: &Request) -> Opinion {
    if sub.guest.action.is_refusal() {
        // Who cannot be asked because the door is closed has not said no.
        return Opinion::Stop(Stop::Closed);
    }
    match sub.reply.status {
        200..=299 => Opinion::Allow,
        403 => Opinion::Refuse(403),
        401 => {
            let found = [&sub.reply.headers, &sub.upstream_headers];
            let found = found.into_iter().find(|fields| fields.contains(Name::WwwAuthenticate));
            for value in found.into_iter().flat_map(|fields| fields.get_all(Name::WwwAuthenticate))
            {
                req.reply.headers.push_known(Name::WwwAuthenticate, value);
            }
            Opinion::Refuse(401)
        }
        status => {
            req.log_error(format_args!("auth request unexpected status: {status}"));
            Opinion::Refuse(500)
        }
    }
}
