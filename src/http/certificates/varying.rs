//! Owns certificates whose names have variables: read by the worker, with its own rights, when a
//! connection tells what they are; kept for the next one if the configuration says so.
//!
//! Must not choose among them.

use super::super::finish::Finish;
use super::super::request::Request;
use super::super::template::Template;
use super::kept::{self, Keeping, Source};
use crate::conf::{Directive, Error, Span, Word, values};
use crate::tls::Certificate;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A certificate and its key by the names that a request gives them.
#[derive(Debug)]
pub struct Varying {
    certificate: Template,
    key: Template,
    passwords: Vec<Vec<u8>>,
    /// Where names that are not absolute begin.
    directory: PathBuf,
    /// A number of `Snapshot::kept_certificates`.
    kept: Option<usize>,
}

/// As written.
#[derive(Debug, Clone, Copy)]
pub enum Keep {
    Off,
    /// Where it was written tells one from another.
    On(Keeping, Span),
}

/// Whether one of these words has variables.
pub fn varies<'a>(words: impl IntoIterator<Item = &'a Word>) -> bool {
    words.into_iter().any(|word| word.text.contains(&b'$'))
}

impl Varying {
    /// Both names as written, and what keeps what they lead to.
    pub fn new(
        certificate: &Word,
        key: &Word,
        passwords: &[Vec<u8>],
        keep: Option<Keep>,
        cx: &mut Finish,
    ) -> Self {
        Self {
            certificate: cx.template(certificate),
            key: cx.template(key),
            passwords: passwords.to_vec(),
            directory: cx.env.conf_dir.clone(),
            kept: match keep {
                Some(Keep::On(how, place)) => Some(cx.kept_certificates((how, place))),
                Some(Keep::Off) | None => None,
            },
        }
    }

    /// What this request gets. The error is a sentence.
    pub fn load(&self, req: &Request) -> Result<Certificate, String> {
        self.load_named(&self.names(req), req)
    }

    /// The names that a request gives certificate and key.
    pub fn names(&self, req: &Request) -> [Vec<u8>; 2] {
        [&self.certificate, &self.key].map(|name| name.value(req).into_owned())
    }

    /// What has these names.
    pub fn load_named(&self, names: &[Vec<u8>; 2], req: &Request) -> Result<Certificate, String> {
        let sources = names.each_ref().map(|name| Source::new(name, &self.directory));
        let kept = self.kept.and_then(|at| req.live.kept_certificates.get(at));
        match kept {
            Some(kept) => kept.borrow_mut().get(&sources, &self.passwords, Instant::now()),
            None => kept::read(&sources, &self.passwords),
        }
    }
}

/// `off`, or `max=N [inactive=time] [valid=time]`.
pub fn keep(dir: &Directive) -> Result<Keep, Error> {
    let mut how =
        Keeping { max: 0, inactive: Duration::from_secs(10), valid: Duration::from_mins(1) };
    let mut off = false;
    for word in &dir.args {
        let text = word.lossy();
        let time = |text: &str| values::parse_sec(text.as_bytes());
        let taken = match text.split_once('=') {
            Some(("max", number)) => values::parse_number(number.as_bytes())
                .filter(|number| *number > 0)
                .and_then(|number| usize::try_from(number).ok())
                .map(|number| how.max = number),
            Some(("inactive", text)) => time(text).map(|time| how.inactive = time),
            Some(("valid", text)) => time(text).map(|time| how.valid = time),
            _ => (text == "off").then(|| off = true),
        };
        taken.ok_or_else(|| word.error(format_args!("invalid parameter \"{text}\"")))?;
    }
    if off {
        return Ok(Keep::Off);
    }
    if how.max == 0 {
        let name = dir.name_str();
        return Err(dir.error(format_args!("\"{name}\" must have the \"max\" parameter")));
    }
    Ok(Keep::On(how, dir.span))
}
