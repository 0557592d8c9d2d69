//! What the control API offers under which path: nginx 1.31.5's namespace, and beside it `/1/proxyd`
//! for what nginx does not have. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use crate::version;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
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
            Fixed::Proxyd => json!(["status", "upgrade", "rollback"]),
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
pub fn route(method: &str, path: &str) -> Route {
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
fn deed(method: &str, path: &str) -> Route {
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
        _ => Route::NotFound,
    }
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
