//! Owns the argument of `proxy_pass`: the group, the Host field it implies, the URI part.

use crate::conf::Word;
use crate::http::draft::{Matcher, Scope};
use crate::http::finish::Finish;
use crate::http::groups;
use crate::http::origin::Origin;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::uri::{self, Set};
use crate::net::{Address, address};
use crate::upstream::{Group, GroupSpec};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

/// As written, with what it needs to know of its location.
#[derive(Debug, Clone)]
pub struct PassDraft {
    pub word: Word,
    /// The path of a location given by a path.
    location: Option<Vec<u8>>,
}

/// Where requests go.
#[derive(Debug)]
pub struct Pass {
    target: Target,
    /// The part of the path that the URI part replaces; its length.
    location: usize,
    /// Whose connections may be reused.
    pub tag: usize,
}

#[derive(Debug)]
enum Target {
    Fixed(Arc<Origin>),
    /// The whole URL depends on the request.
    Computed(Template),
}

impl PassDraft {
    /// `proxy_pass URL` in this block.
    pub fn new(word: &Word, scope: &Scope) -> Self {
        let location = match &scope.matcher {
            Some(Matcher::Exact(path) | Matcher::Prefix { path, .. }) => Some(path.text.clone()),
            _ => None,
        };
        Self { word: word.clone(), location }
    }

    /// Whether it is, or may turn out to be, a server that speaks TLS.
    pub fn may_be_https(&self) -> bool {
        let start = self.word.text.get(..8);
        self.word.text.contains(&b'$') || start.is_some_and(|s| s.eq_ignore_ascii_case(b"https://"))
    }

    /// The location's path, for the default `proxy_redirect`.
    pub fn location(&self) -> &[u8] {
        self.location.as_deref().unwrap_or_default()
    }

    pub(super) fn finish(&self, cx: &mut Finish) -> Option<Pass> {
        let tag = self.tag();
        let location = self.location().len();
        if self.word.text.contains(&b'$') {
            let target = Target::Computed(cx.template(&self.word));
            return Some(Pass { target, location, tag });
        }
        match self.fixed(cx) {
            Ok(origin) => Some(Pass { target: Target::Fixed(Arc::new(origin)), location, tag }),
            Err(message) => {
                cx.report(self.word.error(message));
                None
            }
        }
    }

    /// The same for the same lines in another configuration: a reload keeps connections in use.
    fn tag(&self) -> usize {
        let mut hasher = DefaultHasher::new();
        (&self.word.text, &self.location).hash(&mut hasher);
        usize::try_from(hasher.finish()).unwrap_or(usize::MAX)
    }

    fn fixed(&self, cx: &mut Finish) -> Result<Origin, String> {
        let url = self.word.str().map_err(|e| e.message)?;
        let parts = split(url.as_bytes())?;
        if self.location.is_none() && !parts.uri.is_empty() {
            return Err("\"proxy_pass\" cannot have URI part in location given by regular \
                        expression, or inside named location, or inside \"if\" statement, or \
                        inside \"limit_except\" block"
                .to_owned());
        }
        let mut origin = parts.origin();
        let name = String::from_utf8_lossy(parts.authority).into_owned();
        origin.group = match cx.group_names.get(&name) {
            Some(group) => *group,
            None => groups::implied(cx, &self.word, &name, parts.default_port())?,
        };
        Ok(origin)
    }
}

/// `http://AUTHORITY URI`, or `https://`.
struct Parts<'a> {
    tls: bool,
    authority: &'a [u8],
    uri: &'a [u8],
}

/// Splits a URL; the error is nginx's sentence.
fn split(url: &[u8]) -> Result<Parts<'_>, String> {
    let starts =
        |prefix: &[u8]| url.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
    let (tls, rest) = match () {
        () if starts(b"http://") => (false, &url[7..]),
        () if starts(b"https://") => (true, &url[8..]),
        () => return Err("invalid URL prefix".to_owned()),
    };
    if let Some(path) = rest.strip_prefix(b"unix:") {
        // `unix:/path:/uri`
        let end = memchr::memchr(b':', path).unwrap_or(path.len());
        let uri = path.get(end + 1..).unwrap_or_default();
        return Ok(Parts { tls, authority: &rest[..5 + end], uri });
    }
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    if end == 0 {
        return Err(format!("no host in upstream \"{}\"", String::from_utf8_lossy(rest)));
    }
    Ok(Parts { tls, authority: &rest[..end], uri: &rest[end..] })
}

impl Parts<'_> {
    fn default_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }

    /// The Host field and `$proxy_port` that follow from the authority.
    fn origin(&self) -> Origin {
        let default = self.default_port().to_string().into_bytes();
        let mut uri = self.uri.to_vec();
        let tls = self.tls;
        if uri.first() == Some(&b'?') {
            uri.insert(0, b'/');
        }
        if self.authority.starts_with(b"unix:") {
            return Origin { tls, host: b"localhost".to_vec(), uri, ..Origin::default() };
        }
        let after_bracket = memchr::memrchr(b']', self.authority).unwrap_or(0);
        let colon =
            memchr::memrchr(b':', &self.authority[after_bracket..]).map(|at| at + after_bracket);
        let (host, port) = match colon.map(|at| self.authority.split_at(at)) {
            Some((host, port)) if port[1..] == *default => (host, default),
            Some((_, port)) => (self.authority, port[1..].to_vec()),
            None => (self.authority, default),
        };
        Origin { group: 0, tls, host: host.to_vec(), port, uri }
    }
}

/// Where one request goes.
pub struct Chosen {
    pub group: Rc<Group>,
    pub origin: Arc<Origin>,
    /// The URL came from variables: its URI part replaces the whole URI.
    computed: bool,
    /// Index of the group, unless it is of this request alone.
    pub at: Option<usize>,
}

impl Pass {
    /// What is known of the URL beforehand.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        match &self.target {
            Target::Fixed(origin) => Some(origin),
            Target::Computed(_) => None,
        }
    }

    /// Index of the group, where it does not depend on the request.
    pub fn group(&self) -> Option<usize> {
        self.origin().map(|origin| origin.group)
    }

    /// Evaluates the URL for this request, and waits for its host's addresses where they are not known.
    pub async fn choose(&self, req: &Request) -> Result<Chosen, Unknown> {
        let url = match &self.target {
            Target::Fixed(origin) => {
                let group = req.live.groups[origin.group].clone();
                let at = Some(origin.group);
                return Ok(Chosen { group, origin: origin.clone(), computed: false, at });
            }
            Target::Computed(template) => template.value(req).into_owned(),
        };
        let shown = || String::from_utf8_lossy(&url).into_owned();
        let parts = split(&url).map_err(|why| match &*why {
            "invalid URL prefix" => Unknown::url(format!("invalid URL prefix in \"{}\"", shown())),
            _ => Unknown::url(why),
        })?;
        let name = String::from_utf8_lossy(parts.authority).into_owned();
        let at = named(req, &name, parts.default_port());
        let group = if let Some(group) = at.and_then(|at| req.live.groups.get(at)) {
            group.clone()
        } else {
            let found = addresses(req, &name, parts.default_port()).await?;
            Group::new(GroupSpec::implied(&name, found, None))
        };
        Ok(Chosen { group, origin: Arc::new(parts.origin()), computed: true, at })
    }

    /// The request target for the upstream.
    pub fn uri(&self, req: &Request, chosen: &Chosen) -> Vec<u8> {
        let part = &chosen.origin.uri;
        if chosen.computed && !part.is_empty() {
            return part.clone();
        }
        if part.is_empty() && req.uri_unchanged {
            return req.head.target().to_vec();
        }
        let replaced = req.valid_location && !part.is_empty();
        let skip = if replaced { self.location.min(req.uri.len()) } else { 0 };
        let mut out = if req.valid_location { part.clone() } else { Vec::new() };
        let rest = &req.uri[skip..];
        if req.head.uri.flags.quoted || req.internal {
            uri::escape_into(&mut out, rest, Set::Uri);
        } else {
            out.extend_from_slice(rest);
        }
        if !req.args.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&req.args);
        }
        out
    }
}

/// Why a request has nowhere to go.
pub struct Unknown {
    /// nginx's sentence for the log.
    pub why: String,
    pub status: u16,
}

impl Unknown {
    fn url(why: String) -> Self {
        Self { why, status: 500 }
    }

    fn host(why: String) -> Self {
        Self { why, status: 502 }
    }
}

/// The group with this name: of a block, or one that another `proxy_pass` has implied.
fn named(req: &Request, name: &str, port: u16) -> Option<usize> {
    let default = format!(":{port}");
    let is = |group: &&Rc<Group>| {
        let known = group.name();
        let same = known.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        same && ["", &default].contains(&&known[name.len()..])
    };
    req.live.groups.iter().position(|group| is(&group))
}

/// The addresses of a server that only the request knows.
async fn addresses(req: &Request, name: &str, port: u16) -> Result<Vec<Address>, Unknown> {
    let endpoint = address::Endpoint::parse_server(name, port)
        .map_err(|bad| Unknown::url(format!("{} in upstream \"{name}\"", bad.0)))?;
    let address::Host::Name(host) = &endpoint.host else {
        return Ok(endpoint.resolve(&mut |_| Ok(Vec::new())).unwrap_or_default());
    };
    let conf = &req.conf().resolver;
    let Some(resolver) = conf.resolver.and_then(|at| req.live.resolvers.get(at)) else {
        return Err(Unknown::host(format!("no resolver defined to resolve {host}")));
    };
    let answer = resolver.host(host, conf.timeout).await;
    let answer = answer
        .map_err(|failure| Unknown::host(format!("{host} could not be resolved ({failure})")))?;
    Ok(answer.found.into_iter().map(|ip| Address::Inet((ip, endpoint.port).into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> (String, Origin) {
        let parts = split(url.as_bytes()).unwrap();
        (String::from_utf8(parts.authority.to_vec()).unwrap(), parts.origin())
    }

    #[test]
    fn urls_are_taken_apart_as_nginx_does() {
        let cases = [
            ("http://a", "a", "a", "80", ""),
            ("http://a:80/x", "a:80", "a", "80", "/x"),
            ("HTTP://a:8080?q", "a:8080", "a:8080", "8080", "/?q"),
            ("http://[::1]:81/", "[::1]:81", "[::1]:81", "81", "/"),
            ("http://[::1]/", "[::1]", "[::1]", "80", "/"),
            ("http://unix:/tmp/s:/y", "unix:/tmp/s", "localhost", "", "/y"),
            ("http://unix:/tmp/s", "unix:/tmp/s", "localhost", "", ""),
            ("https://a", "a", "a", "443", ""),
            ("https://a:443/x", "a:443", "a", "443", "/x"),
            ("HTTPS://a:80", "a:80", "a:80", "80", ""),
            ("https://[::1]/", "[::1]", "[::1]", "443", "/"),
        ];
        for (url, authority, host, port, uri) in cases {
            let (a, o) = origin(url);
            let got = (&*a, &*o.host, &*o.port, &*o.uri);
            assert_eq!(got, (authority, host.as_bytes(), port.as_bytes(), uri.as_bytes()), "{url}");
        }
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        assert!(split(b"ftp://a").is_err());
        assert!(split(b"http:///x").is_err());
    }
}
