//! Owns the passage from what was written to what is in force: inheritance top down, then each
//! module's `finish`, then routing tables.
//!
//! Must not know any directive by name.

use super::affinity::Affinity;
use super::certificates::kept;
use super::computed::{self, Computed};
use super::draft::{LocationDraft, Matcher, Scope};
use super::modules::Common;
use super::regex::Regex;
use super::route::Lookup;
use super::snapshot::{Kind, Location, NeededSwitch, Needs, Server, Snapshot};
use super::template::{self, Piece, Template};
use super::upstream_ssl;
use super::vars::{Names, Var};
use super::zones::SharedZone;
use crate::conf::{Contexts, Env, Error, Pattern, Severity, Span, Word};
use crate::dns::ResolverSpec;
use crate::log::Level;
use crate::log::kept::Keeping;
use crate::upstream::GroupSpec;
use crate::zone::{gates, keyed};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What modules may ask while they finish.
pub struct Finish<'a, 'w> {
    pub env: &'a mut Env<'w>,
    pub names: Names,
    /// Upstream groups so far, and where the named ones stand.
    pub groups: Vec<GroupSpec>,
    pub group_names: HashMap<String, usize>,
    /// What requests say of their server, by the index of the group.
    pub affinities: HashMap<usize, Affinity>,
    resolvers: Vec<ResolverSpec>,
    /// Log formats by name.
    pub formats: HashMap<String, std::sync::Arc<super::modules::access_log::Format>>,
    /// What answers to health checks may be like, by name.
    pub matches: HashMap<Vec<u8>, std::sync::Arc<super::modules::proxy::health::Expected>>,
    /// Zones of keyed records so far.
    pub zones: Vec<SharedZone>,
    /// How the block being finished is introduced; `None` for `http` and `server`.
    pub matcher: Option<Matcher>,
    pub context: Contexts,
    /// The server being finished speaks HTTP/2.
    pub http2: bool,
    /// Requests may be passed on over TLS from the block being finished.
    pub upstream_https: bool,
    /// And they are over HTTP/2.
    pub upstream_http2: bool,
    /// Index of the block's first inner location, for modules that enter them by number.
    pub inner: Vec<usize>,
    /// `server_name` of the server being finished.
    pub server_names: Vec<Word>,
    /// Computed variables so far, by their numbers.
    pub computed: Vec<Option<Computed>>,
    /// Where each variable name was first used.
    uses: HashMap<String, Span>,
    /// How servers speak TLS.
    pub tls: Vec<crate::tls::Server>,
    /// How TLS is spoken with upstreams.
    pub upstream_ssl: Vec<upstream_ssl::Settings>,
    /// What was written for each of them.
    pub upstream_ssl_written: Vec<String>,
    log_files: Vec<PathBuf>,
    temp_dirs: Vec<PathBuf>,
    switches: Vec<NeededSwitch>,
    error_logs: Vec<Vec<(Level, usize)>>,
    kept_logs: Vec<(Keeping, Span)>,
    kept_certificates: Vec<(kept::Keeping, Span)>,
    locations: Vec<Location>,
}

impl<'a, 'w> Finish<'a, 'w> {
    /// Before the first block.
    fn new(env: &'a mut Env<'w>) -> Self {
        Finish {
            env,
            names: Names::default(),
            groups: Vec::new(),
            group_names: HashMap::new(),
            affinities: HashMap::new(),
            resolvers: Vec::new(),
            formats: HashMap::new(),
            matches: HashMap::new(),
            zones: Vec::new(),
            matcher: None,
            context: Contexts::HTTP,
            http2: false,
            upstream_https: false,
            upstream_http2: false,
            inner: Vec::new(),
            server_names: Vec::new(),
            computed: Vec::new(),
            uses: HashMap::new(),
            tls: Vec::new(),
            upstream_ssl: Vec::new(),
            upstream_ssl_written: Vec::new(),
            log_files: Vec::new(),
            temp_dirs: Vec::new(),
            switches: vec![NeededSwitch {
                name: gates::DEFAULT.to_owned(),
                flag_files: Vec::new(),
            }],
            error_logs: Vec::new(),
            kept_logs: Vec::new(),
            kept_certificates: Vec::new(),
            locations: Vec::new(),
        }
    }

    /// Reports an error; finishing goes on so that all are found in one run.
    pub fn report(&mut self, error: Error) {
        match error.level {
            Severity::Warn => self.env.warnings.push(error),
            Severity::Emerg => self.env.errors.push(error),
        }
    }

    /// Compiles a word with variables.
    pub fn template(&mut self, word: &Word) -> Template {
        self.template_of(&word.text, word)
    }

    /// Compiles bytes that come from a word (a part of it, or what it stands for).
    pub fn template_of(&mut self, text: &[u8], word: &Word) -> Template {
        let pieces = match template::split(text) {
            Ok(pieces) => pieces,
            Err(message) => {
                self.report(word.error(message));
                return Template::default();
            }
        };
        for piece in &pieces {
            if let Piece::Name(name) = piece {
                self.uses.entry(name.to_ascii_lowercase()).or_insert(word.span);
            }
        }
        let names = &mut self.names;
        let compiled = template::compile(&pieces, |name| Ok::<_, ()>(names.resolve(name)));
        compiled.unwrap_or_default()
    }

    /// Resolves one variable, for those who have to tell what is not found from what is empty.
    pub fn variable(&mut self, name: &str, word: &Word) -> Var {
        self.uses.entry(name.to_ascii_lowercase()).or_insert(word.span);
        self.names.resolve(name)
    }

    /// Compiles a regular expression and gives its named groups their slots.
    pub fn regex(&mut self, word: &Word, text: &str, caseless: bool) -> Option<Regex> {
        match Pattern::new(text, caseless) {
            Ok(pattern) => {
                let names =
                    pattern.names().map(|(n, name)| (n, name.to_owned())).collect::<Vec<_>>();
                let slots = names.into_iter().map(|(n, name)| (n, self.names.define(&name)));
                let slots = slots.collect();
                Some(Regex::new(pattern, slots))
            }
            Err(message) => {
                self.report(word.error(message));
                None
            }
        }
    }

    /// The index of a log file, opened by the master once for all who write to it.
    pub fn log_file(&mut self, path: &Path) -> usize {
        if let Some(at) = self.log_files.iter().position(|p| p == path) {
            return at;
        }
        self.log_files.push(path.to_owned());
        self.log_files.len() - 1
    }

    /// A directory for temporary files, made by the master.
    pub fn temp_dir(&mut self, path: &Path) {
        if !self.temp_dirs.iter().any(|p| p == path) {
            self.temp_dirs.push(path.to_owned());
        }
    }

    /// The index of a switch of maintenance mode, and a file that closes it while it exists.
    pub fn switch(&mut self, name: &str, flag_file: Option<PathBuf>) -> usize {
        let known = self.switches.iter().position(|needed| needed.name == name);
        let at = known.unwrap_or_else(|| {
            self.switches.push(NeededSwitch { name: name.to_owned(), flag_files: Vec::new() });
            self.switches.len() - 1
        });
        let files = &mut self.switches[at].flag_files;
        if let Some(path) = flag_file.filter(|path| !files.contains(path)) {
            files.push(path);
        }
        at
    }

    /// The name of a switch by its index.
    pub fn switch_name(&self, at: usize) -> &str {
        self.switches.get(at).map_or(gates::DEFAULT, |needed| &needed.name)
    }

    /// The index of a resolver: one for all who ask the same servers in the same way.
    pub fn resolver(&mut self, spec: ResolverSpec) -> usize {
        if let Some(at) = self.resolvers.iter().position(|s| *s == spec) {
            return at;
        }
        self.resolvers.push(spec);
        self.resolvers.len() - 1
    }

    /// What a block that has been finished came to.
    pub fn conf(&self, location: usize) -> Option<&super::modules::Conf> {
        self.locations.get(location).map(|location| &location.conf)
    }

    /// The index of what one `open_log_file_cache` keeps open, for all who inherit it.
    pub fn kept_logs(&mut self, kept: (Keeping, Span)) -> usize {
        if let Some(at) = self.kept_logs.iter().position(|known| *known == kept) {
            return at;
        }
        self.kept_logs.push(kept);
        self.kept_logs.len() - 1
    }

    /// The index of what one `…ssl_certificate_cache` keeps, for all who inherit it.
    pub fn kept_certificates(&mut self, kept: (kept::Keeping, Span)) -> usize {
        if let Some(at) = self.kept_certificates.iter().position(|known| *known == kept) {
            return at;
        }
        self.kept_certificates.push(kept);
        self.kept_certificates.len() - 1
    }

    /// The index of a set of error logs.
    pub fn error_log(&mut self, set: Vec<(Level, usize)>) -> usize {
        if let Some(at) = self.error_logs.iter().position(|s| *s == set) {
            return at;
        }
        self.error_logs.push(set);
        self.error_logs.len() - 1
    }
}

/// Builds the snapshot; `None` when there were errors (they are in `env`).
pub fn finish(mut http: Scope, env: &mut Env) -> Option<Snapshot> {
    let mut common = Common::default();
    push_down(&mut http, &mut common);
    super::lint::run(&http, env);
    let errors_before = env.errors.len();
    let mut cx = Finish::new(env);
    super::modules::define(&http, &mut cx);
    computed::check_cycles(&mut cx);
    let servers: Vec<_> =
        http.servers.iter().map(|server| finish_server(server, &mut cx, &mut common)).collect();
    let (endpoints, listen) = super::modules::server::endpoints(&http.servers, &mut cx);
    super::modules::ssl::check(&http, &servers, &endpoints, &mut cx);
    let names: Vec<_> = http.servers.iter().map(super::modules::server::written_names).collect();
    super::modules::ssl::coverage::warn(&names, &servers, &endpoints, &mut cx);
    undefined_variables(&mut cx);
    if cx.env.errors.len() > errors_before {
        return None;
    }
    let (zones, ticket_zone) = zones(&cx);
    Some(Snapshot {
        servers,
        endpoints,
        groups: cx.groups,
        resolvers: cx.resolvers,
        affinities: cx.affinities,
        tls: cx.tls,
        upstream_ssl: cx.upstream_ssl,
        ticket_zone,
        error_logs: cx.error_logs,
        kept_logs: cx.kept_logs.into_iter().map(|(how, _)| how).collect(),
        kept_certificates: cx.kept_certificates.into_iter().map(|(how, _)| how).collect(),
        slots: cx.names.slots(),
        shows_body_files: cx.uses.contains_key("request_body_file"),
        names: cx.names,
        computed: cx.computed.into_iter().flatten().collect(),
        needs: Needs {
            listen,
            log_files: cx.log_files,
            temp_dirs: cx.temp_dirs,
            switches: cx.switches,
            zones,
        },
        zones: cx.zones,
        locations: cx.locations,
    })
}

/// Finishes a server and all locations in it.
fn finish_server(server: &Scope, cx: &mut Finish, common: &mut Common) -> Server {
    let first = cx.locations.len();
    cx.server_names = super::modules::server::written_names(server);
    let root = block(server, Kind::Server, Vec::new(), cx, common);
    let name = super::modules::server::first_name(server);
    Server { name, root, locations: first..cx.locations.len() }
}

/// The zones that are needed, and which of them has the keys of session tickets.
fn zones(cx: &Finish) -> (Vec<keyed::Spec>, Option<usize>) {
    let mut zones: Vec<_> = cx.zones.iter().map(|zone| zone.spec.clone()).collect();
    let tickets = cx.tls.iter().any(|server| server.tickets).then_some(zones.len());
    zones.extend(tickets.map(|_| super::tickets::zone()));
    (zones, tickets)
}

/// nginx's inheritance: an inner block takes over what it does not say itself.
fn push_down(outer: &mut Scope, common: &mut Common) {
    for server in &mut outer.servers {
        server.drafts.inherit(&outer.drafts, common);
        push_down(server, common);
    }
    for location in &mut outer.locations {
        location.scope.drafts.inherit(&outer.drafts, common);
        if let Matcher::Inner = location.matcher {
            location.scope.drafts.enter(&outer.drafts);
        }
        push_down(&mut location.scope, common);
    }
}

/// Finishes a block and everything in it; its index in the arena.
fn block(scope: &Scope, kind: Kind, name: Vec<u8>, cx: &mut Finish, common: &mut Common) -> usize {
    let mut inner = Lookup::default();
    let mut numbers = Vec::with_capacity(scope.locations.len());
    for location in &scope.locations {
        let Some((kind, name)) = introduce(&location.matcher, cx) else {
            numbers.push(0);
            continue;
        };
        let at = block(&location.scope, kind, name, cx, common);
        register(&mut inner, location, at, cx);
        numbers.push(at);
    }
    inner.link();
    cx.matcher.clone_from(&scope.matcher);
    cx.context = scope.context;
    cx.http2 = scope.drafts.speaks_http2();
    cx.upstream_https = scope.drafts.passes_https();
    cx.upstream_http2 = scope.drafts.passes_http2();
    cx.inner = numbers;
    let conf = scope.drafts.finish(cx, common);
    let auto_redirect = matches!(kind, Kind::Prefix { .. } | Kind::Exact)
        && name.ends_with(b"/")
        && conf.proxy.pass.is_some();
    cx.locations.push(Location { name, kind, conf, inner, auto_redirect });
    cx.locations.len() - 1
}

/// Compiles how a location is introduced.
fn introduce(matcher: &Matcher, cx: &mut Finish) -> Option<(Kind, Vec<u8>)> {
    Some(match matcher {
        Matcher::Exact(w) => (Kind::Exact, w.text.clone()),
        Matcher::Prefix { path, stops_regex } => {
            (Kind::Prefix { stops_regex: *stops_regex }, path.text.clone())
        }
        Matcher::Regex { pattern, caseless } => {
            let text = pattern.str().map_err(|e| cx.report(e)).ok()?.to_owned();
            (Kind::Regex(cx.regex(pattern, &text, *caseless)?), pattern.text.clone())
        }
        Matcher::Named(w) => (Kind::Named, w.text.clone()),
        Matcher::Predicate(w) => (Kind::Predicate(cx.template(w)), w.text.clone()),
        Matcher::Inner => (Kind::Inner, Vec::new()),
    })
}

/// Enters a location into its parent's lookup.
fn register(inner: &mut Lookup, location: &LocationDraft, at: usize, cx: &mut Finish) {
    let fresh = match &location.matcher {
        Matcher::Exact(w) => inner.add_exact(&w.text, at),
        Matcher::Prefix { path, .. } => inner.add_prefix(&path.text, at),
        Matcher::Named(w) => inner.named.insert(w.text.clone(), at).is_none(),
        Matcher::Regex { .. } => {
            inner.regexes.push(at);
            true
        }
        Matcher::Predicate(_) => {
            inner.predicates.push(at);
            true
        }
        Matcher::Inner => true,
    };
    if !fresh {
        let name = super::draft::shown(&location.matcher);
        cx.report(Error::new(format!("duplicate location \"{name}\""), location.span));
    }
}

/// `unknown "x" variable`, at the place of its first use.
fn undefined_variables(cx: &mut Finish) {
    let unknown: Vec<String> = cx.names.undefined().map(str::to_owned).collect();
    for name in unknown {
        if let Some(span) = cx.uses.get(&name) {
            let error = Error::new(format!("unknown \"{name}\" variable"), *span);
            cx.env.errors.push(error);
        }
    }
}
