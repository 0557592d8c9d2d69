//! What the control API offers under which path: nginx 1.31.5's namespace, and beside it `/1/proxyd`
//! for what nginx does not have. Pure.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::version;

/// What a request asks for. Names of switches are as they stand in the path: see [`name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'p> {
    /// An answer that needs nobody: the names below a path, or the version.
    Fixed(Fixed),
    /// `GET /1/control/processes`
    Processes,
    /// `GET /1/control/config`
    Config,
    /// `PATCH /1/control/config`
    Reload,
    /// `GET /1/proxyd/status`
    Status,
    /// `POST /1/proxyd/upgrade`
    Upgrade,
    /// `POST /1/proxyd/rollback`
    Rollback,
    /// `GET /1/proxyd/maintenance`
    Switches,
    /// `POST /1/proxyd/maintenance/NAME`
    Switch(&'p str),
    /// `GET /1/proxyd/inflight` and `GET /1/proxyd/inflight/NAME`
    Inflight(Option<&'p str>),
    /// `POST /1/proxyd/barrier/NAME`
    Barrier(&'p str),
    /// `POST /1/proxyd/token/NAME`
    Token(&'p str),
    /// `POST /1/proxyd/revoke/NAME`
    Revoke(&'p str),
    /// 405, with the methods there are.
    NotAllowed(&'static str),
    /// 404.
    NotFound,
}

/// Paths that always answer the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    Root,
    Version1,
    Nginx,
    Control,
    Proxyd,
}

impl Fixed {
    /// The answer.
    pub fn body(self) -> Value {
        match self {
            Fixed::Root => json!(["1"]),
            Fixed::Version1 => json!(["control", "nginx", "proxyd"]),
            Fixed::Nginx => json!({
                "version": version::NGINX,
                "build": format!("proxyd/{}", version::PROXYD),
            }),
            Fixed::Control => json!(["processes", "config"]),
            Fixed::Proxyd => json!([
                "status",
                "upgrade",
                "rollback",
                "maintenance",
                "inflight",
                "barrier",
                "token",
                "revoke",
            ]),
        }
    }
}

/// One child of the master, as `/1/control/processes` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    pub name: String,
    pub pid: i32,
    /// On its way out.
    pub exiting: bool,
}

/// One file of the running configuration, as `/1/control/config` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigFile {
    pub name: String,
    pub content: String,
}

/// How a reload went: status 200 or 422.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReloadOutcome {
    #[serde(skip)]
    pub done: bool,
    /// Lines of warning level and above.
    pub logs: Vec<String>,
    /// The same for people: with source lines and remedies. Not in nginx.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub report: String,
}

/// Finds what a method and a path (without query) ask for. A final slash makes no difference.
pub fn route<'p>(method: &str, path: &'p str) -> Route<'p> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let fixed = match trimmed {
        "" => Fixed::Root,
        "/1" => Fixed::Version1,
        "/1/nginx" => Fixed::Nginx,
        "/1/control" => Fixed::Control,
        "/1/proxyd" => Fixed::Proxyd,
        _ => return deed(method, trimmed),
    };
    if method == "GET" { Route::Fixed(fixed) } else { Route::NotAllowed("GET") }
}

/// What has to be asked of the master.
fn deed<'p>(method: &str, path: &'p str) -> Route<'p> {
    match (path, method) {
        ("/1/control/processes", "GET") => Route::Processes,
        ("/1/control/config", "GET") => Route::Config,
        ("/1/control/config", "PATCH") => Route::Reload,
        ("/1/proxyd/status", "GET") => Route::Status,
        ("/1/proxyd/upgrade", "POST") => Route::Upgrade,
        ("/1/proxyd/rollback", "POST") => Route::Rollback,
        ("/1/control/config", _) => Route::NotAllowed("GET, PATCH"),
        ("/1/control/processes" | "/1/proxyd/status", _) => Route::NotAllowed("GET"),
        ("/1/proxyd/upgrade" | "/1/proxyd/rollback", _) => Route::NotAllowed("POST"),
        _ => switch_deed(method, path),
    }
}

/// What is about switches, and may end in the name of one.
fn switch_deed<'p>(method: &str, path: &'p str) -> Route<'p> {
    let Some(rest) = path.strip_prefix("/1/proxyd/") else { return Route::NotFound };
    let (first, name) = match rest.split_once('/') {
        Some((first, name)) => (first, Some(name)),
        None => (rest, None),
    };
    if name.is_some_and(|name| name.is_empty() || name.contains('/')) {
        return Route::NotFound;
    }
    match (first, name, method) {
        ("maintenance", None, "GET") => Route::Switches,
        ("maintenance", Some(name), "POST") => Route::Switch(name),
        ("inflight", name, "GET") => Route::Inflight(name),
        ("barrier", Some(name), "POST") => Route::Barrier(name),
        ("token", Some(name), "POST") => Route::Token(name),
        ("revoke", Some(name), "POST") => Route::Revoke(name),
        ("maintenance", None, _) | ("inflight", _, _) => Route::NotAllowed("GET"),
        ("maintenance" | "barrier" | "token" | "revoke", Some(_), _) => Route::NotAllowed("POST"),
        ("barrier" | "token" | "revoke", None, _) => Route::NotAllowed(""),
        _ => Route::NotFound,
    }
}

/// The name of a switch from its place in a path; `None` if that is no UTF-8.
pub fn name(escaped: &str) -> Option<Cow<'_, str>> {
    if !escaped.contains('%') {
        return Some(escaped.into());
    }
    let mut bytes = Vec::new();
    let mut rest = escaped.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let byte = (*first == b'%').then(|| Some(digit(0)? * 16 + digit(1)?)).flatten();
        let byte = byte.and_then(|byte| u8::try_from(byte).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The other way round: whatever is no letter, digit or one of `-._~` is escaped.
pub fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            other => text.extend(["%", &format!("{other:02X}")]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_nginxs() {
        assert_eq!(route("GET", "/"), Route::Fixed(Fixed::Root));
        assert_eq!(route("GET", "/1"), Route::Fixed(Fixed::Version1));
        assert_eq!(route("GET", "/1/nginx/"), Route::Fixed(Fixed::Nginx));
        assert_eq!(route("GET", "/1/control/"), Route::Fixed(Fixed::Control));
        assert_eq!(route("GET", "/1/control/processes"), Route::Processes);
        assert_eq!(route("GET", "/1/control/config"), Route::Config);
        assert_eq!(route("PATCH", "/1/control/config/"), Route::Reload);
    }

    #[test]
    fn beside_it_is_our_own() {
        assert_eq!(route("GET", "/1/proxyd"), Route::Fixed(Fixed::Proxyd));
        assert_eq!(route("GET", "/1/proxyd/status"), Route::Status);
        assert_eq!(route("POST", "/1/proxyd/upgrade/"), Route::Upgrade);
        assert_eq!(route("POST", "/1/proxyd/rollback"), Route::Rollback);
    }

    #[test]
    fn switches_have_names() {
        assert_eq!(route("GET", "/1/proxyd/maintenance"), Route::Switches);
        assert_eq!(route("POST", "/1/proxyd/maintenance/shop/"), Route::Switch("shop"));
        assert_eq!(route("GET", "/1/proxyd/inflight"), Route::Inflight(None));
        assert_eq!(route("GET", "/1/proxyd/inflight/a%20b"), Route::Inflight(Some("a%20b")));
        assert_eq!(route("POST", "/1/proxyd/barrier/shop"), Route::Barrier("shop"));
        assert_eq!(route("POST", "/1/proxyd/token/shop"), Route::Token("shop"));
        assert_eq!(route("POST", "/1/proxyd/revoke/shop"), Route::Revoke("shop"));
        assert_eq!(route("GET", "/1/proxyd/token/shop"), Route::NotAllowed("POST"));
        assert_eq!(route("POST", "/1/proxyd/maintenance"), Route::NotAllowed("GET"));
        assert_eq!(route("GET", "/1/proxyd/maintenance/shop"), Route::NotAllowed("POST"));
        assert_eq!(route("PUT", "/1/proxyd/barrier/shop"), Route::NotAllowed("POST"));
        for lost in ["maintenance//", "maintenance/a/b", "inflights", "maintenanc", ""] {
            assert_eq!(route("POST", &format!("/1/proxyd/{lost}/x/y")), Route::NotFound, "{lost}");
        }
    }

    #[test]
    fn names_survive_their_way_through_a_path() {
        for text in ["shop", "a b", "100%", "%41", "ü/ö?#", "%", "%zz", "a%4"] {
            let through = escaped(text);
            assert!(!through.contains(['/', '?', '#', ' ']), "{through}");
            assert_eq!(name(&through).as_deref(), Some(text));
        }
        assert_eq!(name("%41%zz%4").as_deref(), Some("A%zz%4"));
        assert_eq!(name("%ff"), None);
    }

    #[test]
    fn the_rest_is_refused() {
        assert_eq!(route("POST", "/"), Route::NotAllowed("GET"));
        assert_eq!(route("POST", "/1/control/config"), Route::NotAllowed("GET, PATCH"));
        assert_eq!(route("PATCH", "/1/control/processes"), Route::NotAllowed("GET"));
        assert_eq!(route("GET", "/1/proxyd/upgrade"), Route::NotAllowed("POST"));
        assert_eq!(route("POST", "/1/proxyd/status"), Route::NotAllowed("GET"));
        assert_eq!(route("GET", "/2"), Route::NotFound);
        assert_eq!(route("GET", "/1/control/processes//"), Route::NotFound);
        assert_eq!(route("GET", "*"), Route::NotFound);
    }

    #[test]
    fn names_lead_to_what_is_there() {
        for (fixed, path) in [
            (Fixed::Root, ""),
            (Fixed::Version1, "/1"),
            (Fixed::Control, "/1/control"),
            (Fixed::Proxyd, "/1/proxyd"),
        ] {
            for name in fixed.body().as_array().unwrap() {
                let below = format!("{path}/{}", name.as_str().unwrap());
                assert_ne!(route("GET", &below), Route::NotFound, "{below}");
            }
        }
    }
}
