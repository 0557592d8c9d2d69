//! Severity levels of the error log, in nginx's words and order.

use std::fmt;

/// How serious a line is; a larger value is more serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Crit,
    Alert,
    Emerg,
}

/// The debug masks nginx lets one pick apart; here each means all of debug.
const DEBUG_MASKS: [&str; 7] = [
    "debug_core",
    "debug_alloc",
    "debug_mutex",
    "debug_event",
    "debug_http",
    "debug_mail",
    "debug_stream",
];

impl Level {
    /// Every level, least serious first.
    pub const ALL: [Level; 8] = [
        Level::Debug,
        Level::Info,
        Level::Notice,
        Level::Warn,
        Level::Error,
        Level::Crit,
        Level::Alert,
        Level::Emerg,
    ];

    /// The word used in `error_log` and between brackets in a line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Crit => "crit",
            Level::Alert => "alert",
            Level::Emerg => "emerg",
        }
    }

    /// Reads the level argument of `error_log`; `None` when it is not one.
    pub fn parse(word: &str) -> Option<Level> {
        if DEBUG_MASKS.contains(&word) {
            return Some(Level::Debug);
        }
        Level::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_severity() {
        assert!(Level::ALL.is_sorted());
        assert!(Level::Emerg > Level::Alert && Level::Info > Level::Debug);
    }

    #[test]
    fn words_round_trip() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!(Level::parse("debug_http"), Some(Level::Debug));
        assert_eq!(Level::parse("Error"), None);
        assert_eq!(Level::parse(""), None);
    }
}
