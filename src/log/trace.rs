//! Sends `tracing` events into the process's error log.
//!
//! Libraries (hyper, h2, rustls) speak at `debug` whatever level they chose:
//! what they call a warning is one client's bad luck, not news for an operator.
//! Events of this crate keep their level. `trace` events are dropped.

use std::fmt::{self, Write as _};

use arc_swap::ArcSwapOption;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use super::error::ErrorLog;
use super::level::Level;

static LOG: ArcSwapOption<ErrorLog> = ArcSwapOption::const_empty();

const OUR_TARGET: &str = "proxyd";

/// Makes `log` the destination of every event from now on. The first call
/// registers with `tracing`; a later one, after a reload, replaces the log.
pub fn send_to(log: ErrorLog) {
    LOG.store(Some(log.into()));
    // It fails when a subscriber is there already: ours, on every later call.
    let _ = tracing::subscriber::set_global_default(ToErrorLog);
    tracing::callsite::rebuild_interest_cache();
}

struct ToErrorLog;

fn level_of(metadata: &Metadata<'_>) -> Option<Level> {
    let target = metadata.target();
    let ours = target
        .strip_prefix(OUR_TARGET)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    match *metadata.level() {
        tracing::Level::TRACE => None,
        _ if !ours => Some(Level::Debug),
        tracing::Level::ERROR => Some(Level::Error),
        tracing::Level::WARN => Some(Level::Warn),
        tracing::Level::INFO => Some(Level::Info),
        tracing::Level::DEBUG => Some(Level::Debug),
    }
}

impl Subscriber for ToErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let log = LOG.load();
        metadata.is_event()
            && level_of(metadata)
                .is_some_and(|level| log.as_ref().is_some_and(|log| log.enabled(level)))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let lowest = LOG.load().as_ref().map(|log| log.lowest());
        Some(match lowest {
            Some(Level::Debug) => LevelFilter::DEBUG,
            Some(Level::Info | Level::Notice) => LevelFilter::INFO,
            Some(Level::Warn) => LevelFilter::WARN,
            Some(_) => LevelFilter::ERROR,
            None => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let Some(level) = level_of(event.metadata()) else {
            return;
        };
        if let Some(log) = LOG.load().as_ref() {
            let mut text = Text(format!("{}: ", event.metadata().target()));
            event.record(&mut text);
            log.write(level, None, format_args!("{}", text.0));
        }
    }

    // Spans are never enabled, so nothing below is asked for a real one.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The message first, then `name=value` for every other field.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::file::LogFile;
    use super::*;

    // One test: the subscriber is one per process.
    #[test]
    fn events_arrive_at_the_level_they_deserve() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Arc::new(LogFile::open(dir.path().join(name)).unwrap());
        send_to(ErrorLog::single(open("quiet"), Level::Error));
        tracing::error!(target: "hyper::proto", "a library's view");
        tracing::error!(target: "proxyd::http", code = 7, "ours");
        send_to(ErrorLog::single(open("loud"), Level::Debug));
        tracing::error!(target: "hyper::proto", "a library's view");
        tracing::debug!(target: "proxyd", "detail");
        tracing::trace!(target: "proxyd", "dropped");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("quiet").lines().count(), 1);
        assert!(
            read("quiet").contains("[error]")
                && read("quiet").ends_with("proxyd::http: ours code=7\n")
        );
        assert_eq!(read("loud").lines().count(), 2);
        assert!(
            read("loud").contains("[debug]")
                && read("loud").contains("hyper::proto: a library's view")
        );
    }
}
