//! Owns what `log_format` and `access_log` say, and what is wrong with it.
//!
//! Must not write a line.

use super::path::NamedByRequest;
use super::{Draft, Log, Target};
use crate::conf::{Directive, Error, Span, Word, values};
use crate::http::finish::Finish;
use crate::log::kept::Keeping;
use crate::log::{Buffering, Escape, syslog};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The buffer of a compressed log that names none.
const GZIP_BUFFER: usize = 64 * 1024;

/// The level of `gzip` without one.
const FASTEST: u8 = 1;

/// One `log_format`.
#[derive(Debug, Clone)]
pub(super) struct FormatWritten {
    pub name: String,
    pub escape: Escape,
    pub words: Vec<Word>,
}

impl FormatWritten {
    /// A format of one word with default escaping.
    pub fn plain(name: &str, word: Word) -> Self {
        Self { name: name.to_owned(), escape: Escape::Default, words: vec![word] }
    }
}

/// One `access_log`.
#[derive(Debug)]
pub(super) struct LogWritten {
    path: Word,
    format: Option<Word>,
    buffering: Option<Buffering>,
    filter: Option<Word>,
    compiled: OnceLock<Option<Arc<Log>>>,
}

/// `log_format name [escape=default|json|none] string …`
pub(super) fn log_format(draft: &mut Draft, dir: &Directive) -> Result<(), Error> {
    let name = dir.arg(0).lossy().into_owned();
    if name == "combined" || draft.formats.iter().any(|format| format.name == name) {
        let text = format_args!("duplicate \"log_format\" name \"{name}\"");
        return Err(dir.arg(0).error(text));
    }
    let mut words = dir.args.get(1..).unwrap_or_default();
    let mut escape = Escape::Default;
    if let [first, rest @ ..] = words
        && let Some(value) = first.text.strip_prefix(b"escape=")
    {
        let value = String::from_utf8_lossy(value);
        escape = Escape::parse(&value).ok_or_else(|| {
            let error = first.error(format_args!("unknown log format escaping \"{value}\""));
            error.with_help("it must be one of \"default\", \"json\", \"none\"")
        })?;
        words = rest;
    }
    draft.formats.push(FormatWritten { name, escape, words: words.to_vec() });
    Ok(())
}

/// `access_log path [format [gzip[=level]] [buffer=size] [flush=time] [if=condition]]`, `access_log off`
pub(super) fn access_log(draft: &mut Draft, dir: &Directive) -> Result<(), Error> {
    let path = dir.arg(0);
    if path.text == b"off" {
        draft.off = true;
        return match dir.args.get(1) {
            Some(word) => Err(word.error(format_args!("invalid parameter \"{}\"", word.lossy()))),
            None => Ok(()),
        };
    }
    let parameters = Parameters::read(dir.args.get(2..).unwrap_or_default())?;
    let buffering = parameters.buffering(path)?;
    if buffering.is_some() && is_syslog(path) {
        return Err(path.error("logs to syslog cannot be buffered"));
    }
    if buffering.is_some() && has_variables(path) {
        return Err(path.error("buffered logs cannot have variables in name"));
    }
    draft.logs.push(Arc::new(LogWritten {
        path: path.clone(),
        format: dir.args.get(1).cloned(),
        buffering,
        filter: parameters.filter,
        compiled: OnceLock::new(),
    }));
    Ok(())
}

/// One `open_log_file_cache`.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeptWritten {
    Off,
    /// And where that was said: each has files of its own.
    On(Keeping, Span),
}

impl KeptWritten {
    pub fn keeping(self) -> Option<(Keeping, Span)> {
        match self {
            Self::Off => None,
            Self::On(how, span) => Some((how, span)),
        }
    }
}

/// `open_log_file_cache max=number [inactive=time] [min_uses=number] [valid=time]`, or `off`
pub(super) fn open_log_file_cache(draft: &mut Draft, dir: &Directive) -> Result<(), Error> {
    values::once(&draft.kept, dir)?;
    let (mut max, mut min_uses) = (None, 1);
    let (mut inactive, mut valid) = (Duration::from_secs(10), Duration::from_mins(1));
    let mut off = false;
    for word in &dir.args {
        let text = String::from_utf8_lossy(&word.text);
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        let (number, time) =
            (values::parse_number(value.as_bytes()), values::parse_sec(value.as_bytes()));
        match (name, number.filter(|number| *number > 0), time) {
            ("max", Some(number), _) => max = usize::try_from(number).ok(),
            ("min_uses", Some(number), _) => min_uses = number,
            ("inactive", _, Some(time)) => inactive = time,
            ("valid", _, Some(time)) => valid = time,
            _ if text == "off" => off = true,
            _ => {
                let sentence = format!("invalid \"open_log_file_cache\" parameter \"{text}\"");
                return Err(word.error(sentence));
            }
        }
    }
    let missing = || dir.error("\"open_log_file_cache\" must have \"max\" parameter");
    draft.kept = Some(if off {
        KeptWritten::Off
    } else {
        let max = max.ok_or_else(missing)?;
        KeptWritten::On(Keeping { max, inactive, min_uses, valid }, dir.span)
    });
    Ok(())
}

fn is_syslog(path: &Word) -> bool {
    path.text.starts_with(syslog::PREFIX.as_bytes())
}

fn has_variables(path: &Word) -> bool {
    !is_syslog(path) && memchr::memchr(b'$', &path.text).is_some()
}

/// What follows the format's name.
#[derive(Default)]
struct Parameters {
    size: Option<usize>,
    flush: Option<Duration>,
    gzip: Option<u8>,
    filter: Option<Word>,
}

impl Parameters {
    fn read(words: &[Word]) -> Result<Self, Error> {
        let mut found = Self::default();
        for word in words {
            let text = word.text.as_slice();
            if let Some(value) = text.strip_prefix(b"buffer=") {
                found.size = Some(buffer_size(word, value)?);
            } else if let Some(value) = text.strip_prefix(b"flush=") {
                found.flush = Some(flush_time(word, value)?);
            } else if let Some(value) = text.strip_prefix(b"if=") {
                found.filter = Some(Word { text: value.to_vec(), ..word.clone() });
            } else if text == b"gzip" || text.starts_with(b"gzip=") {
                found.gzip = Some(gzip_level(word, text.strip_prefix(b"gzip="))?);
            } else {
                return Err(word.error(format_args!("invalid parameter \"{}\"", word.lossy())));
            }
        }
        Ok(found)
    }

    fn buffering(&self, path: &Word) -> Result<Option<Buffering>, Error> {
        let size = self.size.or(self.gzip.map(|_| GZIP_BUFFER));
        if self.flush.is_some() && size.is_none() {
            let shown = path.lossy();
            let text = format_args!("no buffer is defined for access_log \"{shown}\"");
            return Err(path.error(text).with_help("add buffer=, such as buffer=32k"));
        }
        Ok(size.map(|size| Buffering { size, flush: self.flush, gzip: self.gzip }))
    }
}

fn buffer_size(word: &Word, value: &[u8]) -> Result<usize, Error> {
    let size = values::parse_size(value).and_then(|size| usize::try_from(size).ok());
    size.filter(|size| *size > 0).ok_or_else(|| {
        let shown = String::from_utf8_lossy(value);
        word.error(format_args!("invalid buffer size \"{shown}\""))
    })
}

fn gzip_level(word: &Word, value: Option<&[u8]>) -> Result<u8, Error> {
    let Some(value) = value else { return Ok(FASTEST) };
    let level = values::parse_number(value).and_then(|level| u8::try_from(level).ok());
    level.filter(|level| (1..=9).contains(level)).ok_or_else(|| {
        let shown = String::from_utf8_lossy(value);
        word.error(format_args!("invalid compression level \"{shown}\""))
    })
}

fn flush_time(word: &Word, value: &[u8]) -> Result<Duration, Error> {
    values::parse_msec(value).filter(|time| !time.is_zero()).ok_or_else(|| {
        let shown = String::from_utf8_lossy(value);
        word.error(format_args!("invalid flush time \"{shown}\""))
    })
}

impl LogWritten {
    /// The compiled form, once `compile` has been called and nothing was wrong.
    pub fn compiled(&self) -> Option<Arc<Log>> {
        self.compiled.get().cloned().flatten()
    }

    /// Compiles, if that has not been done through another block. `buffers` is what is known of each
    /// log file so far.
    pub fn compile(&self, buffers: &mut HashMap<usize, Buffering>, cx: &mut Finish) {
        self.compiled.get_or_init(|| match self.log(buffers, cx) {
            Ok(log) => Some(Arc::new(log)),
            Err(error) => {
                cx.report(error);
                None
            }
        });
    }

    fn log(&self, buffers: &mut HashMap<usize, Buffering>, cx: &mut Finish) -> Result<Log, Error> {
        let name = self.format.as_ref().map_or("combined".into(), Word::lossy);
        let Some(format) = find_format(&name, cx) else {
            let word = self.format.as_ref().unwrap_or(&self.path);
            return Err(word.error(format_args!("unknown log format \"{name}\"")));
        };
        let filter = self.filter.as_ref().map(|word| cx.template(word));
        let target = self.target(buffers, cx)?;
        Ok(Log { target, format, filter })
    }

    fn target(
        &self,
        buffers: &mut HashMap<usize, Buffering>,
        cx: &mut Finish,
    ) -> Result<Target, Error> {
        let path = &self.path;
        if has_variables(path) {
            let relative = !path.text.starts_with(b"/");
            let prefix = relative.then(|| cx.env.prefix.clone());
            return Ok(Target::Named(NamedByRequest { prefix, name: cx.template(path) }));
        }
        let world = &mut cx.env.world;
        let resolve = |name: &str| world.resolve(name).ok()?.first().copied();
        let full = syslog::log_name(&path.text, &cx.env.prefix, resolve);
        let full = full.map_err(|text| path.error(text))?;
        let index = cx.log_file(&full);
        if let Some(buffering) = self.buffering
            && *buffers.entry(index).or_insert(buffering) != buffering
        {
            let shown = path.lossy();
            let text =
                format_args!("access_log \"{shown}\" already defined with conflicting parameters");
            return Err(path.error(text));
        }
        Ok(Target::File { index, buffering: self.buffering })
    }
}

/// Names are compared without regard to case, as nginx does; an exact one comes first.
fn find_format(name: &str, cx: &Finish) -> Option<Arc<super::Format>> {
    let exact = cx.formats.get(name);
    let similar = || cx.formats.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    exact.or_else(|| similar().map(|(_, format)| format)).cloned()
}
