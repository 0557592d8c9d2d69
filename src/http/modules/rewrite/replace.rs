//! Owns `rewrite`: a URI matched and replaced.
//!
//! Must not run anything else of a program.

use super::directive::{Flag, WrittenRewrite, is_absolute};
use super::run::{Next, Run, append};
use crate::http::finish::Finish;
use crate::http::phase::Stop;
use crate::http::regex::Regex;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::uri::{Unescape, unescape};

/// A `rewrite`, compiled.
#[derive(Debug)]
pub(super) struct Rewrite {
    regex: Regex,
    /// The pattern, for the log.
    shown: String,
    /// The new path, or the whole address of a redirect.
    target: Template,
    /// What follows the `?` of the replacement.
    args: Option<Template>,
    /// The arguments of the request are added: not when the replacement ends with `?`.
    keeps_args: bool,
    /// The status, when it is a redirect.
    redirect: Option<u16>,
    flag: Flag,
}

/// The parts of a replacement: path, arguments, and whether the request's own are added. A redirect
/// is one part: its arguments are told by `Some("")`.
fn split(text: &[u8], redirect: bool) -> (&[u8], Option<&[u8]>, bool) {
    let (text, keeps_args) = match text.strip_suffix(b"?") {
        Some(rest) => (rest, false),
        None => (text, true),
    };
    match memchr::memchr(b'?', text) {
        Some(_) if redirect => (text, Some(b""), keeps_args),
        Some(at) => (&text[..at], Some(&text[at + 1..]), keeps_args),
        None => (text, None, keeps_args),
    }
}

impl Rewrite {
    /// Compiles; `None` when the expression is wrong, which has been reported.
    pub fn compile(written: &WrittenRewrite, cx: &mut Finish) -> Option<Self> {
        let WrittenRewrite { pattern, replacement, flag } = written;
        let redirect = match flag {
            Flag::Permanent => Some(301),
            Flag::Redirect => Some(302),
            _ if is_absolute(&replacement.text) => Some(302),
            _ => None,
        };
        let (target, args, keeps_args) = split(&replacement.text, redirect.is_some());
        let shown = pattern.str().map_err(|error| cx.report(error)).ok()?.to_owned();
        Some(Self {
            regex: cx.regex(pattern, &shown, false)?,
            shown,
            target: cx.template_of(target, replacement),
            args: args.map(|args| cx.template_of(args, replacement)),
            keeps_args,
            redirect,
            flag: *flag,
        })
    }

    /// Matches and replaces.
    pub fn run(&self, run: &mut Run, req: &mut Request) -> Result<Next, Stop> {
        let hit = self.regex.apply_uri(req);
        run.log_match(req, &self.shown, &req.uri, hit);
        if !hit {
            req.captures.get_mut().groups.clear();
            return Ok(Next::Step);
        }
        run.quote = false;
        req.internal = true;
        req.uri_unchanged = false;
        if let Some(status) = self.redirect {
            return Err(self.send_away(status, run, req));
        }
        self.replace(run, req)?;
        run.changed = self.flag != Flag::Break;
        if self.flag == Flag::Break {
            req.valid_location = false;
        }
        Ok(if self.flag == Flag::None { Next::Step } else { Next::End })
    }

    /// Ends the request with a redirect.
    fn send_away(&self, status: u16, run: &Run, req: &mut Request) -> Stop {
        let mut address = Vec::with_capacity(128);
        append(&self.target, req, &mut address, true);
        let (mut location, used) = unescape(&address, Unescape::Redirect);
        location.extend_from_slice(address.get(used..).unwrap_or_default());
        if self.keeps_args && !req.args.is_empty() {
            location.push(if self.args.is_some() { b'&' } else { b'?' });
            location.extend_from_slice(&req.args);
        }
        let shown = String::from_utf8_lossy(&location);
        run.log(req, format_args!("rewritten redirect: \"{shown}\""));
        req.reply.location = Some(location);
        Stop::Status(status)
    }

    /// Puts the new path and arguments in place.
    fn replace(&self, run: &Run, req: &mut Request) -> Result<(), Stop> {
        let mut uri = Vec::with_capacity(64);
        append(&self.target, req, &mut uri, false);
        let mut args = self.args.as_ref().map(|template| {
            let mut args = Vec::with_capacity(64);
            append(template, req, &mut args, true);
            args
        });
        match &mut args {
            Some(args) if self.keeps_args && !req.args.is_empty() => {
                args.push(b'&');
                args.extend_from_slice(&req.args);
            }
            None if !self.keeps_args => args = Some(Vec::new()),
            _ => {}
        }
        req.set_uri(uri, args);
        let (uri, args) = (String::from_utf8_lossy(&req.uri), String::from_utf8_lossy(&req.args));
        run.log(req, format_args!("rewritten data: \"{uri}\", args: \"{args}\""));
        if req.uri.is_empty() {
            req.log_error(format_args!("the rewritten URI has a zero length"));
            return Err(Stop::Status(500));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_divides_and_a_last_one_drops_the_arguments() {
        assert_eq!(split(b"/a", false), (&b"/a"[..], None, true));
        assert_eq!(split(b"/a?", false), (&b"/a"[..], None, false));
        assert_eq!(split(b"/a?b=$1", false), (&b"/a"[..], Some(&b"b=$1"[..]), true));
        assert_eq!(split(b"/a?b?", false), (&b"/a"[..], Some(&b"b"[..]), false));
        assert_eq!(split(b"?", false), (&b""[..], None, false));
        assert_eq!(split(b"http://x/?b", true), (&b"http://x/?b"[..], Some(&b""[..]), true));
    }
}
