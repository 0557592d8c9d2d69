//! `docs/directives.md` is written from the tables of directives and compared with them here.
//!
//! `UPDATE_DOCS=1 cargo test --test directives` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::{env, fs};

use proxyd::conf::{Action, Args, Row};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/directives.md");

const COMPATIBILITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");

const HEAD: &str = "\
# Directives

What proxyd understands of `nginx.conf`, written from its own tables. Names, places, arguments and
defaults are nginx's unless the text says otherwise; [differences.md](differences.md) lists what
behaves differently on purpose. A directive that takes a block is marked `{ }`.
";

const NO_EFFECT: &str = "\
## Without effect

Accepted, so that a configuration written for nginx loads; `-t` lists those it met. They tune what
only nginx has, or what proxyd decides by itself.
";

const NOT_YET: &str = "\
## Not supported yet

nginx has these. A configuration with one is refused by name, so that nothing is left out unseen.
";

/// One directive, whatever its row fills.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: &'static str,
    places: String,
    arguments: String,
    doc: &'static str,
}

#[derive(Default)]
struct Listing {
    /// By the block they concern.
    sections: BTreeMap<Section, Vec<Entry>>,
    no_effect: Vec<Entry>,
    not_yet: Vec<Entry>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Section {
    Processes,
    Http,
    Upstream,
}

impl Section {
    fn title(self) -> &'static str {
        match self {
            Section::Processes => "Processes and connections",
            Section::Http => "HTTP",
            Section::Upstream => "Groups of upstream servers",
        }
    }
}

impl Listing {
    fn add<T: 'static>(&mut self, section: Section, rows: impl Iterator<Item = &'static Row<T>>) {
        for row in rows {
            let places: Vec<_> = row.contexts.names().collect();
            let section = if places == ["upstream"] { Section::Upstream } else { section };
            let entry = Entry {
                name: row.name,
                places: places.join(", "),
                arguments: arguments(row.args, matches!(row.action, Action::Block(_))),
                doc: row.doc,
            };
            match row.action {
                Action::Set(_) | Action::Block(_) => {
                    self.sections.entry(section).or_default().push(entry);
                }
                Action::NoEffect => self.no_effect.push(entry),
                Action::NotYet => self.not_yet.push(entry),
            }
        }
    }

    fn text(mut self) -> String {
        let mut text = HEAD.to_owned();
        for (section, mut entries) in std::mem::take(&mut self.sections) {
            entries.sort();
            let _ = write!(text, "\n## {}\n\n", section.title());
            text.push_str("| Directive | Places | Arguments | What it does |\n|---|---|---|---|\n");
            for entry in entries {
                let Entry { name, places, arguments, doc } = entry;
                let doc = doc.replace('|', "\\|");
                let _ = writeln!(text, "| `{name}` | {places} | {arguments} | {doc} |");
            }
        }
        let names = |entries: &[Entry]| {
            let names: Vec<_> = entries.iter().map(|entry| format!("`{}`", entry.name)).collect();
            wrapped(&names.join(", "))
        };
        self.no_effect.sort();
        self.no_effect.dedup_by_key(|entry| entry.name);
        let _ = write!(text, "\n{NO_EFFECT}\n{}\n", names(&self.no_effect));
        let _ = write!(text, "\n{NOT_YET}");
        self.not_yet.sort_by_key(|entry| (reason(entry.doc), entry.name));
        self.not_yet.dedup_by_key(|entry| entry.name);
        for entries in self.not_yet.chunk_by(|a, b| reason(a.doc) == reason(b.doc)) {
            let why = entries.first().map_or("", |entry| reason(entry.doc));
            let why = if why.is_empty() { String::new() } else { format!("{}: ", upper(why)) };
            let _ = write!(text, "\n{why}{}\n", names(entries));
        }
        text
    }
}

/// Why a directive is refused, if its row says so.
fn reason(doc: &str) -> &str {
    let why = doc.strip_prefix("Not supported yet: ").and_then(|why| why.strip_suffix('.'));
    why.unwrap_or_default()
}

/// With a capital letter.
fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn arguments(args: Args, block: bool) -> String {
    let count = match args {
        Args::None => String::new(),
        Args::Exactly(n) => n.to_string(),
        Args::Between(least, most) if least + 1 == most => format!("{least} or {most}"),
        Args::Between(least, most) => format!("{least} to {most}"),
        Args::AtLeast(least) => format!("{least} or more"),
        Args::Flag => "`on` or `off`".to_owned(),
        Args::Any => "any".to_owned(),
    };
    match (count.is_empty(), block) {
        (true, true) => "`{ }`".to_owned(),
        (true, false) => "none".to_owned(),
        (false, true) => format!("{count}, `{{ }}`"),
        (false, false) => count,
    }
}

/// Lines of at most a hundred characters.
fn wrapped(text: &str) -> String {
    const WIDEST: usize = 100;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= WIDEST {
            let _ = write!(line, " {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

fn listing() -> Listing {
    let mut listing = Listing::default();
    listing.add(Section::Processes, proxyd::config::table().rows());
    listing.add(Section::Http, proxyd::http::draft::TABLE.rows());
    listing.add(Section::Upstream, proxyd::http::modules::upstream::TABLE.rows());
    listing
}

#[test]
fn the_document_is_what_the_tables_say() {
    let text = listing().text();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(FILE, &text).expect("docs/directives.md can be written");
    }
    let present = fs::read_to_string(FILE).unwrap_or_default();
    let differs = present.lines().zip(text.lines()).find(|(there, wanted)| there != wanted);
    assert!(
        present == text,
        "docs/directives.md is not what the tables say, first at {differs:?}; \
         write it anew: UPDATE_DOCS=1 cargo test --test directives"
    );
}

/// A sentence each: it is all the reader gets.
#[test]
fn every_directive_has_its_sentence() {
    for entry in listing().sections.values().flatten() {
        let Entry { name, places, doc, .. } = entry;
        assert!(doc.ends_with('.') && doc.len() > 12, "`{name}` says only {doc:?}");
        assert!(!places.is_empty(), "`{name}` may stand nowhere");
    }
}

#[test]
fn no_directive_has_two_meanings_in_one_place() {
    let mut seen = BTreeMap::new();
    let listing = listing();
    let all = listing.sections.values().flatten().chain(&listing.no_effect).chain(&listing.not_yet);
    for entry in all {
        for place in entry.places.split(", ") {
            let twice = seen.insert((entry.name, place.to_owned()), entry.doc);
            assert!(twice.is_none(), "`{}` is twice in the tables for {place}", entry.name);
        }
    }
}

/// Directives that three or more of 242 published edge configurations use. Each works, has no effect here,
/// or its absence is explained in docs/compatibility.md.
const USED: &str = "
absolute_redirect access_log acme_certificate add_header alias allow auth_basic
auth_basic_user_file auth_request auth_request_set autoindex charset chunked_transfer_encoding
client_body_buffer_size client_body_temp_path client_body_timeout client_max_body_size daemon
default_type deny disable_symlinks error_log error_page etag events expires fastcgi_hide_header
fastcgi_index fastcgi_param fastcgi_pass fastcgi_split_path_info fastcgi_temp_path grpc_pass
gzip gzip_buffers gzip_comp_level gzip_disable gzip_http_version gzip_min_length gzip_proxied
gzip_static gzip_types gzip_vary http http2 if ignore_invalid_headers include index internal
keepalive_timeout large_client_header_buffers limit_req limit_req_status limit_req_zone listen
location log_format log_not_found map multi_accept pid proxy_buffer_size proxy_buffering
proxy_buffers proxy_busy_buffers_size proxy_cache proxy_cache_background_update
proxy_cache_bypass proxy_cache_key proxy_cache_lock proxy_cache_path proxy_cache_use_stale
proxy_cache_valid proxy_connect_timeout proxy_cookie_path proxy_headers_hash_bucket_size
proxy_headers_hash_max_size proxy_hide_header proxy_http_version proxy_intercept_errors
proxy_next_upstream proxy_no_cache proxy_pass proxy_pass_header proxy_pass_request_body
proxy_read_timeout proxy_redirect proxy_request_buffering proxy_send_timeout proxy_set_header
proxy_ssl_server_name proxy_ssl_session_reuse proxy_ssl_trusted_certificate proxy_ssl_verify
proxy_ssl_verify_depth proxy_temp_path real_ip_header real_ip_recursive
reset_timedout_connection resolver return rewrite root satisfy scgi_temp_path send_timeout
sendfile server server_name server_names_hash_bucket_size server_tokens set set_real_ip_from
ssl_certificate ssl_certificate_key ssl_ciphers ssl_client_certificate ssl_conf_command
ssl_dhparam ssl_ecdh_curve ssl_password_file ssl_prefer_server_ciphers ssl_protocols
ssl_session_cache ssl_session_tickets ssl_session_timeout ssl_verify_client ssl_verify_depth
stream tcp_nodelay tcp_nopush try_files types_hash_max_size upstream use user uwsgi_cache
uwsgi_cache_key uwsgi_cache_path uwsgi_pass uwsgi_temp_path worker_connections worker_processes
";

#[test]
fn what_people_use_is_there_or_its_absence_is_explained() {
    let listing = listing();
    let known: Vec<_> = listing.sections.values().flatten().chain(&listing.no_effect).collect();
    let explained = fs::read_to_string(COMPATIBILITY).expect("docs/compatibility.md");
    for name in USED.split_whitespace().filter(|name| *name != "include") {
        let works = known.iter().any(|entry| entry.name == name);
        let refused = listing.not_yet.iter().any(|entry| entry.name == name);
        let mentioned = explained.contains(&format!("`{name}`"));
        assert!(
            works || (refused && mentioned),
            "`{name}` is used and neither there nor explained"
        );
    }
}
