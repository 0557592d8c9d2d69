//! Owns the words of one `listen` line.
//!
//! Must not look names up nor compare addresses; `endpoints` does when all servers have been read.

use super::protocols::{HTTP2, PROXY_PROTOCOL, SSL};
use crate::conf::values::{parse_number, parse_sec, parse_size};
use crate::conf::{Directive, Env, Error, Span, Word};
use crate::net::address::Endpoint;
use crate::net::listener::KeepAlive;
use crate::net::{Address, ListenSpec};
use std::net::{Ipv4Addr, SocketAddr};

/// A `listen` line as written.
#[derive(Debug, Clone)]
pub(super) struct Listen {
    /// Its first word, for messages.
    pub text: String,
    pub endpoint: Endpoint,
    pub default: bool,
    /// What is spoken there: bits of `protocols`.
    pub protocols: u8,
    /// It has parameters of the socket: nginx's `set`, and its `bind`, which every one of them implies.
    pub set: bool,
    /// The parameters; the address in it means nothing yet.
    pub options: ListenSpec,
    pub span: Span,
}

impl Listen {
    /// What a server without `listen` gets: every IPv4 address, port 80 if it may be bound.
    pub fn implied(superuser: bool, span: Span) -> Self {
        let port = if superuser { 80 } else { 8000 };
        let host = crate::net::address::Host::Ip(Ipv4Addr::UNSPECIFIED.into());
        Self {
            text: format!("*:{port}"),
            endpoint: Endpoint { host, port, last_port: port, port_given: true },
            default: false,
            protocols: 0,
            set: false,
            options: nowhere(),
            span,
        }
    }
}

/// Defaults of the parameters.
fn nowhere() -> ListenSpec {
    ListenSpec::new(Address::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))
}

/// `listen address [parameters]`.
pub(super) fn read(dir: &Directive, env: &mut Env) -> Result<Listen, Error> {
    let first = dir.arg(0);
    let text = first.str()?.to_owned();
    let endpoint = Endpoint::parse_listen(&text).map_err(|bad| place_of(first, &bad))?;
    let mut listen = Listen {
        text,
        endpoint,
        default: false,
        protocols: 0,
        set: false,
        options: nowhere(),
        span: first.span,
    };
    for word in dir.args.iter().skip(1) {
        parameter(&mut listen, word, env)?;
    }
    Ok(listen)
}

fn place_of(word: &Word, bad: &impl std::fmt::Display) -> Error {
    word.error(format_args!("{bad} in \"{}\" of the \"listen\" directive", word.lossy()))
}

fn parameter(listen: &mut Listen, word: &Word, env: &mut Env) -> Result<(), Error> {
    let text = word.str()?;
    match text {
        "default_server" | "default" => listen.default = true,
        "proxy_protocol" => listen.protocols |= PROXY_PROTOCOL,
        "ssl" => listen.protocols |= SSL,
        "http2" => {
            env.warn(word.error(
                "the \"listen ... http2\" directive is deprecated, use the \"http2\" directive instead",
            ));
            listen.protocols |= HTTP2;
        }
        "quic" | "multipath" => {
            return Err(word.error(format_args!(
                "the \"{text}\" parameter of \"listen\" is not supported yet"
            )));
        }
        // nginx says so at level emerg and goes on.
        _ if text.starts_with("accept_filter=") => {
            env.warn(word.error(format_args!(
                "accept filters \"{text}\" are not supported on this platform, ignored"
            )));
        }
        _ => {
            socket_parameter(&mut listen.options, text).map_err(|message| word.error(message))?;
            listen.set = true;
        }
    }
    Ok(())
}

/// A parameter that makes the socket different from others.
fn socket_parameter(options: &mut ListenSpec, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let invalid = || format!("invalid {name} \"{text}\"");
    match name {
        "bind" if text == name => {}
        "reuseport" if text == name => options.reuseport = true,
        "deferred" if text == name => options.deferred = true,
        "backlog" => {
            let backlog = number(value).and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0);
            options.backlog = backlog.ok_or_else(invalid)?;
        }
        "rcvbuf" => options.rcvbuf = Some(size(value).ok_or_else(invalid)?),
        "sndbuf" => options.sndbuf = Some(size(value).ok_or_else(invalid)?),
        "fastopen" => {
            let queue = number(value).and_then(|n| u32::try_from(n).ok());
            options.fastopen = Some(queue.ok_or_else(invalid)?);
        }
        "ipv6only" if value.starts_with('o') => {
            options.ipv6only = Some(match value {
                "on" => true,
                "off" => false,
                _ => return Err(format!("invalid ipv6only flags \"{value}\"")),
            });
        }
        "so_keepalive" => {
            let parsed = keepalive(value);
            options.keepalive =
                Some(parsed.ok_or_else(|| format!("invalid so_keepalive value: \"{value}\""))?);
        }
        _ => return Err(format!("invalid parameter \"{text}\"")),
    }
    Ok(())
}

fn number(text: &str) -> Option<u64> {
    parse_number(text.as_bytes())
}

fn size(text: &str) -> Option<usize> {
    parse_size(text.as_bytes()).and_then(|n| usize::try_from(n).ok())
}

/// `on`, `off`, or `[idle]:[interval]:[count]`, of which one must be given.
fn keepalive(text: &str) -> Option<KeepAlive> {
    match text {
        "on" => return Some(KeepAlive { on: true, ..KeepAlive::default() }),
        "off" => return Some(KeepAlive::default()),
        _ => {}
    }
    let mut parts = text.splitn(3, ':');
    let mut part = |parse: fn(&str) -> Option<u64>| match parts.next() {
        None | Some("") => Some(None),
        Some(text) => Some(u32::try_from(parse(text)?).ok().filter(|n| *n > 0)),
    };
    let seconds = |text: &str| parse_sec(text.as_bytes()).map(|time| time.as_secs());
    let (idle, interval, count) = (part(seconds)?, part(seconds)?, part(number)?);
    let any = idle.or(interval).or(count).is_some();
    any.then_some(KeepAlive { on: true, idle, interval, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Bundle, parse_text};
    use proptest::prelude::*;
    use std::path::Path;

    fn listen(text: &str) -> Result<Listen, String> {
        let mut world = Bundle::of(&[]);
        let mut env = Env::new(&mut world, Path::new("/"), Path::new("/"));
        let tree = parse_text(&mut env, "test", format!("listen {text};").as_bytes());
        read(&tree[0], &mut env).map_err(|error| error.message)
    }

    fn keepalive_of(text: &str) -> Option<KeepAlive> {
        listen(&format!("80 so_keepalive={text}")).ok()?.options.keepalive
    }

    #[test]
    fn parameters_of_the_socket() {
        let plain = listen("80").unwrap();
        assert!(!plain.set && !plain.default);
        assert!(listen("80 default").unwrap().default);
        assert!(!listen("80 default_server").unwrap().set);
        let all = listen(
            "[::1]:80 default_server bind reuseport deferred backlog=7 rcvbuf=8k sndbuf=1m \
             fastopen=3 ipv6only=off so_keepalive=30m::10",
        );
        let all = all.unwrap();
        assert!(all.set && all.options.reuseport && all.options.deferred);
        assert_eq!((all.options.backlog, all.options.fastopen), (7, Some(3)));
        assert_eq!((all.options.rcvbuf, all.options.sndbuf), (Some(8192), Some(1 << 20)));
        assert_eq!(all.options.ipv6only, Some(false));
        let expected = KeepAlive { on: true, idle: Some(1800), interval: None, count: Some(10) };
        assert_eq!(all.options.keepalive, Some(expected));
    }

    #[test]
    fn forms_of_so_keepalive() {
        assert!(keepalive_of("on").unwrap().on);
        assert!(!keepalive_of("off").unwrap().on);
        assert_eq!(keepalive_of(":5:").unwrap().interval, Some(5));
        for bad in ["", "::", "x", "1:y", "1:2:z", "1:2:3:4", "0"] {
            assert_eq!(keepalive_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn complaints_are_nginxs() {
        for (text, message) in [
            ("127.0.0.1:x", "invalid port in \"127.0.0.1:x\" of the \"listen\" directive"),
            ("80 backlog=0", "invalid backlog \"backlog=0\""),
            ("80 rcvbuf=x", "invalid rcvbuf \"rcvbuf=x\""),
            ("80 sndbuf=", "invalid sndbuf \"sndbuf=\""),
            ("80 fastopen=-1", "invalid fastopen \"fastopen=-1\""),
            ("80 ipv6only=oo", "invalid ipv6only flags \"oo\""),
            ("80 ipv6only=yes", "invalid parameter \"ipv6only=yes\""),
            ("80 so_keepalive=a", "invalid so_keepalive value: \"a\""),
            ("80 setfib=1", "invalid parameter \"setfib=1\""),
            ("80 bind=1", "invalid parameter \"bind=1\""),
            ("80 nonsense", "invalid parameter \"nonsense\""),
            ("80 quic", "the \"quic\" parameter of \"listen\" is not supported yet"),
        ] {
            assert_eq!(listen(text).unwrap_err(), message, "{text}");
        }
        assert!(listen("80 accept_filter=x").is_ok());
    }

    proptest! {
        #[test]
        fn no_parameter_panics(text in "[a-z_]{0,12}(=[0-9a-z:-]{0,12})?|\\PC{0,20}") {
            let _ = socket_parameter(&mut nowhere(), &text);
        }
    }
}
