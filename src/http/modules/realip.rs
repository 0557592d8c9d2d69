//! Owns `set_real_ip_from` and its kin: who a request comes from when it comes through a trusted proxy.
//!
//! Must not change the connection: the address belongs to the request and is forgotten with it.

use super::inherit;
use crate::conf::{Args, Directive, Env, Error, Row, Word, values};
use crate::http::cidr;
use crate::http::draft::{HSL, Scope, row};
use crate::http::finish::Finish;
use crate::http::forwarded::{self, Trusted};
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::vars::Variable;
use crate::net::Peer;
use ipnet::IpNet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// As written.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    from: Option<Vec<From>>,
    source: Option<Source>,
    recursive: Option<bool>,
}

/// In force.
#[derive(Debug)]
pub struct Conf {
    trusted: Trusted,
    source: Source,
    recursive: bool,
}

/// Who is trusted, as written.
#[derive(Debug, Clone)]
enum From {
    Unix,
    Net(IpNet),
    Host(Arc<Host>),
}

/// A name, looked up once however many blocks inherit it.
#[derive(Debug)]
struct Host {
    word: Word,
    nets: OnceLock<Vec<IpNet>>,
}

/// Where the address stands.
#[derive(Debug, Clone)]
enum Source {
    RealIp,
    ForwardedFor,
    ProxyProtocol,
    Field(Vec<u8>),
}

impl Draft {
    /// Whether anybody's word on the client is taken.
    pub fn trusts(&self) -> bool {
        self.from.is_some()
    }

    pub fn inherit(&mut self, outer: &Self) {
        inherit!(self, outer; from, source, recursive);
    }

    pub fn finish(&self, cx: &mut Finish) -> Conf {
        let mut trusted = Trusted::default();
        for from in self.from.iter().flatten() {
            match from {
                From::Unix => trusted.unix = true,
                From::Net(net) => trusted.nets.push(*net),
                From::Host(host) => trusted.nets.extend(host.nets(cx)),
            }
        }
        Conf {
            trusted,
            source: self.source.clone().unwrap_or(Source::RealIp),
            recursive: self.recursive.unwrap_or(false),
        }
    }
}

impl Host {
    /// Its addresses; an error when it has none.
    fn nets(&self, cx: &mut Finish) -> &[IpNet] {
        self.nets.get_or_init(|| {
            let shown = self.word.lossy();
            let found = self.word.str().ok().and_then(|name| cx.env.world.resolve(name).ok());
            let nets: Vec<_> = found.unwrap_or_default().into_iter().map(IpNet::from).collect();
            if nets.is_empty() {
                let message = format_args!("host not found in set_real_ip_from \"{shown}\"");
                cx.report(self.word.error(message));
            }
            nets
        })
    }
}

pub static ROWS: &[Row<Scope>] = &[
    row(
        "set_real_ip_from",
        HSL,
        Args::Exactly(1),
        "A proxy that is believed when it names the client's address: an address, a network, a host name \
         or `unix:`; its own address is not looked for further.",
        set_from,
    ),
    row(
        "real_ip_header",
        HSL,
        Args::Exactly(1),
        "Where trusted proxies name the client: `X-Real-IP` (default), `X-Forwarded-For`, any other field, \
         or `proxy_protocol`.",
        set_source,
    ),
    row(
        "real_ip_recursive",
        HSL,
        Args::Flag,
        "Whether the last address that is not trusted itself is taken, instead of the last one.",
        |scope, dir, _| values::flag(&mut scope.drafts.realip.recursive, dir),
    ),
];

fn set_from(scope: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    let word = dir.arg(0);
    let from = match (&word.text[..], cidr::parse(&word.text)) {
        (b"unix:", _) => From::Unix,
        (_, Some(cidr)) => {
            if cidr.low_bits {
                let message = format_args!("low address bits of {} are meaningless", word.lossy());
                env.warn(word.error(message));
            }
            From::Net(cidr.net)
        }
        _ => {
            word.str()?;
            From::Host(Arc::new(Host { word: word.clone(), nets: OnceLock::new() }))
        }
    };
    scope.drafts.realip.from.get_or_insert_default().push(from);
    Ok(())
}

fn set_source(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let source = &mut scope.drafts.realip.source;
    values::once(source, dir)?;
    *source = Some(match &dir.arg(0).text[..] {
        b"proxy_protocol" => Source::ProxyProtocol,
        name if name.eq_ignore_ascii_case(b"X-Real-IP") => Source::RealIp,
        name if name.eq_ignore_ascii_case(b"X-Forwarded-For") => Source::ForwardedFor,
        name => Source::Field(name.to_vec()),
    });
    Ok(())
}

pub static VARIABLES: &[Variable] = &[
    Variable {
        name: "realip_remote_addr",
        doc: "The address of the connection itself, before a trusted proxy has named another one.",
        get: |req, _, out| write!(out, "{}", req.client.peer).is_ok(),
    },
    Variable {
        name: "realip_remote_port",
        doc: "The port of the connection itself.",
        get: |req, _, out| match req.client.peer.port() {
            Some(port) if port > 0 => write!(out, "{port}").is_ok(),
            _ => true,
        },
    },
];

/// Asks who the client is, unless that is known already.
pub fn run(req: &mut Request) {
    let conf = &req.conf().realip;
    if conf.trusted.is_empty() || req.real.is_some() {
        return;
    }
    req.real = find(req, conf);
}

fn find(req: &Request, conf: &Conf) -> Option<Peer> {
    let headers = &req.head.headers;
    let walk = |fields: &[&[u8]]| {
        forwarded::client(req.client.peer, fields, &conf.trusted, conf.recursive)
    };
    match &conf.source {
        Source::RealIp => walk(&[headers.get(Name::XRealIp)?]),
        Source::Field(name) => walk(&[headers.get_str(name)?]),
        Source::ForwardedFor => walk(&headers.get_all(Name::XForwardedFor).collect::<Vec<_>>()),
        Source::ProxyProtocol => {
            let header = req.client.announced.get()?;
            let address = walk(&[header.source.as_bytes()])?.ip()?;
            Some(Peer::Inet(SocketAddr::new(address, header.source_port)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors, snapshot};
    use crate::http::pipeline;

    fn asked(server: &str, fields: &[(&str, &str)]) -> String {
        let site = Site::new("", &format!("listen 1; {server}"));
        let mut req = site.request();
        for (name, value) in fields {
            req.head.headers.push(name.as_bytes(), value.as_bytes());
        }
        run(&mut req);
        format!("{}:{}", req.peer(), req.peer().port().unwrap_or(0))
    }

    #[test]
    fn the_field_decides() {
        let fields = [
            ("X-Real-IP", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.2, 127.0.0.1"),
            ("X-Forwarded-For", "192.0.2.3:80"),
            ("Client", "192.0.2.4"),
            ("client", "192.0.2.5"),
        ];
        for (directives, expected) in [
            ("", "127.0.0.1:40000"),
            ("set_real_ip_from 10.0.0.1;", "127.0.0.1:40000"),
            ("set_real_ip_from unix:;", "127.0.0.1:40000"),
            ("set_real_ip_from 127.0.0.0/8;", "192.0.2.1:0"),
            ("set_real_ip_from 127.0.0.1; real_ip_header x-real-ip;", "192.0.2.1:0"),
            ("set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;", "192.0.2.3:80"),
            ("set_real_ip_from 127.0.0.1; real_ip_header cLIENT;", "192.0.2.4:0"),
            ("set_real_ip_from 127.0.0.1; real_ip_header none;", "127.0.0.1:40000"),
            ("set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;", "127.0.0.1:40000"),
        ] {
            assert_eq!(asked(directives, &fields), expected, "{directives}");
        }
    }

    #[test]
    fn a_chain_is_followed_when_so_configured() {
        let chain = [("X-Forwarded-For", "1.1.1.1, 192.0.2.3, 10.0.0.9")];
        let conf = "set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; \
                    real_ip_header X-Forwarded-For;";
        assert_eq!(asked(conf, &chain), "10.0.0.9:0");
        assert_eq!(asked(&format!("{conf} real_ip_recursive on;"), &chain), "192.0.2.3:0");
    }

    #[test]
    fn names_are_looked_up_once_and_everywhere_inherited() {
        let (snapshot, _) = snapshot("set_real_ip_from two;", "listen 1; location / {}");
        for location in &snapshot.locations {
            let nets = &location.conf.realip.trusted.nets;
            assert_eq!(nets.len(), 2, "{nets:?}");
        }
        let none = "host not found in set_real_ip_from \"nowhere\"";
        assert_eq!(errors("", "listen 1; set_real_ip_from nowhere;"), [none]);
        let twice = "real_ip_header a; real_ip_header b;";
        assert_eq!(errors(twice, ""), ["\"real_ip_header\" directive is duplicate"]);
    }

    #[test]
    fn the_first_answer_stands() {
        let site = Site::new(
            "set_real_ip_from 127.0.0.1;",
            "listen 1; location / { real_ip_header Client; return 200; }",
        );
        let mut req = site.request();
        req.head.headers.push(b"X-Real-IP", b"192.0.2.1");
        req.head.headers.push(b"Client", b"192.0.2.2");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(pipeline::run(&mut req));
        assert_eq!(req.peer().to_string(), "192.0.2.1");
    }
}
