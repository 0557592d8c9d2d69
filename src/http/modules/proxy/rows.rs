//! Owns the table of the proxy directives.

use super::bind;
use super::conf::HttpVersion;
use super::cookies;
use super::redirect::{RedirectsDraft, RuleDraft};
use super::reply;
use super::retry;
use super::store;
use super::target::PassDraft;
use crate::conf::{Args, Contexts, Directive, Error, Row, values};
use crate::http::draft::{HSL, Scope, no_effect, row};
use crate::http::size::Size;
use std::path::PathBuf;

const PASS: Contexts = Contexts::LOCATION.or(Contexts::IF_IN_LOCATION).or(Contexts::LIMIT_EXCEPT);

pub static ROWS: &[Row<Scope>] = &[
    row(
        "proxy_pass",
        PASS,
        Args::Exactly(1),
        "Passes requests to this server or upstream group.",
        |s, dir, _| {
            let draft = PassDraft::new(dir.arg(0), s);
            let slot = &mut s.drafts.proxy.pass;
            if slot.is_some() {
                return Err(dir.error("\"proxy_pass\" directive is duplicate"));
            }
            *slot = Some(draft);
            Ok(())
        },
    ),
    row(
        "proxy_set_header",
        HSL,
        Args::Exactly(2),
        "Sets a field of the request to the upstream; an empty value removes it.",
        |s, dir, _| {
            let line = (dir.arg(0).clone(), dir.arg(1).clone());
            s.drafts.proxy.set_header.get_or_insert_default().push(line);
            Ok(())
        },
    ),
    row(
        "proxy_store",
        HSL,
        Args::Exactly(1),
        "Keeps a copy of each answer with status 200 as a file: `on` where the request's file would be, or a path \
         with variables; `off` (default).",
        |s, dir, _| store::read(&mut s.drafts.proxy.store, dir),
    ),
    row(
        "proxy_store_access",
        HSL,
        Args::Between(1, 3),
        "Who may read and write such a file: `user:rw group:r all:r` (default `user:rw`).",
        |s, dir, _| store::read_access(&mut s.drafts.proxy.store_access, dir),
    ),
    row(
        "proxy_force_ranges",
        HSL,
        Args::Flag,
        "A range of an answer is sent even if the upstream does not say that it may be asked for.",
        |s, dir, _| values::flag(&mut s.drafts.proxy.force_ranges, dir),
    ),
    row(
        "proxy_pass_trailers",
        HSL,
        Args::Flag,
        "Fields behind the body of an upstream's answer go on to the client.",
        |s, dir, _| values::flag(&mut s.drafts.proxy.pass_trailers, dir),
    ),
    row(
        "early_hints",
        HSL,
        Args::AtLeast(1),
        "An upstream's 103 goes on to a client of HTTP/1.1 if one of these is neither empty nor `0`.",
        |s, dir, _| {
            values::once(&s.drafts.proxy.early_hints, dir)?;
            s.drafts.proxy.early_hints = Some(dir.args.clone());
            Ok(())
        },
    ),
    row(
        "proxy_hide_header",
        HSL,
        Args::Exactly(1),
        "A field of answers that clients do not get.",
        |s, dir, _| {
            s.drafts.proxy.hide_header.get_or_insert_default().push(dir.arg(0).clone());
            Ok(())
        },
    ),
    row(
        "proxy_pass_header",
        HSL,
        Args::Exactly(1),
        "A field of answers that is otherwise hidden and passes.",
        |s, dir, _| {
            s.drafts.proxy.pass_header.get_or_insert_default().push(dir.arg(0).clone());
            Ok(())
        },
    ),
    row(
        "proxy_http_version",
        HSL,
        Args::Exactly(1),
        "The version spoken to upstreams: 1.0, 1.1 (default) or 2.",
        |s, dir, _| {
            let choices = [
                ("1.0", HttpVersion::Http10),
                ("1.1", HttpVersion::Http11),
                ("2", HttpVersion::Http2),
            ];
            values::choice(&mut s.drafts.proxy.http_version, dir, &choices)
        },
    ),
    row(
        "proxy_connect_timeout",
        HSL,
        Args::Exactly(1),
        "Time to connect to an upstream (default 60s).",
        |s, dir, _| values::msec(&mut s.drafts.proxy.connect_timeout, dir),
    ),
    row(
        "proxy_send_timeout",
        HSL,
        Args::Exactly(1),
        "Time between two writes to an upstream (default 60s).",
        |s, dir, _| values::msec(&mut s.drafts.proxy.send_timeout, dir),
    ),
    row(
        "proxy_read_timeout",
        HSL,
        Args::Exactly(1),
        "Time between two reads from an upstream (default 60s).",
        |s, dir, _| values::msec(&mut s.drafts.proxy.read_timeout, dir),
    ),
    row(
        "proxy_next_upstream",
        HSL,
        Args::AtLeast(1),
        "Failures after which the next server is asked (default error timeout).",
        |s, dir, env| {
            let slot = &mut s.drafts.proxy.next_upstream;
            values::once(slot, dir)?;
            let mut mask = 0;
            values::mask(&mut mask, dir, retry::WORDS, env)?;
            *slot = Some(mask);
            Ok(())
        },
    ),
    row(
        "proxy_next_upstream_tries",
        HSL,
        Args::Exactly(1),
        "How many servers may be asked; 0 for all (default).",
        |s, dir, _| values::number(&mut s.drafts.proxy.next_tries, dir),
    ),
    row(
        "proxy_next_upstream_timeout",
        HSL,
        Args::Exactly(1),
        "Time in which the next server may be asked; 0 for any (default).",
        |s, dir, _| values::msec(&mut s.drafts.proxy.next_timeout, dir),
    ),
    row(
        "proxy_redirect",
        HSL,
        Args::Between(1, 2),
        "Rewrites Location and Refresh of answers: `default`, `off`, or from and to.",
        |s, dir, _| redirect(&mut s.drafts.proxy.redirects, dir),
    ),
    row(
        "proxy_buffering",
        HSL,
        Args::Flag,
        "Whether an answer is read ahead for a slow client, up to proxy_buffers (default on).",
        |s, dir, _| values::flag(&mut s.drafts.proxy.buffering, dir),
    ),
    row(
        "proxy_request_buffering",
        HSL,
        Args::Flag,
        "Whether a request is read whole before it is passed on (default on).",
        |s, dir, _| values::flag(&mut s.drafts.proxy.request_buffering, dir),
    ),
    row(
        "proxy_buffer_size",
        HSL,
        Args::Exactly(1),
        "The longest head of an answer (default 4k).",
        |s, dir, _| values::size(&mut s.drafts.proxy.buffer_size, dir),
    ),
    row(
        "proxy_buffers",
        HSL,
        Args::Exactly(2),
        "Number and size of the buffers for an answer read ahead (default 16 8k).",
        |s, dir, _| values::buffers(&mut s.drafts.proxy.buffers, dir),
    ),
    row(
        "proxy_intercept_errors",
        HSL,
        Args::Flag,
        "Whether answers of 300 and above go to error_page (default off).",
        |s, dir, _| values::flag(&mut s.drafts.proxy.intercept_errors, dir),
    ),
    row(
        "proxy_ignore_client_abort",
        HSL,
        Args::Flag,
        "Whether an upstream is still asked when the client has gone (default off).",
        |s, dir, _| values::flag(&mut s.drafts.proxy.ignore_abort, dir),
    ),
    row(
        "proxy_pass_request_headers",
        HSL,
        Args::Flag,
        "Whether the client's fields are passed on (default on).",
        |s, dir, _| values::flag(&mut s.drafts.proxy.pass_request_headers, dir),
    ),
    row(
        "proxy_pass_request_body",
        HSL,
        Args::Flag,
        "Whether the client's body is passed on (default on).",
        |s, dir, _| values::flag(&mut s.drafts.proxy.pass_request_body, dir),
    ),
    row(
        "proxy_method",
        HSL,
        Args::Exactly(1),
        "The method used towards upstreams instead of the client's.",
        |s, dir, _| values::word(&mut s.drafts.proxy.method, dir),
    ),
    row(
        "proxy_set_body",
        HSL,
        Args::Exactly(1),
        "The body sent to upstreams instead of the client's.",
        |s, dir, _| values::word(&mut s.drafts.proxy.set_body, dir),
    ),
    row(
        "proxy_socket_keepalive",
        HSL,
        Args::Flag,
        "Whether TCP keep-alive probes are sent to upstreams (default off).",
        |s, dir, _| values::flag(&mut s.drafts.proxy.socket_keepalive, dir),
    ),
    row(
        "proxy_socket_rcvbuf",
        HSL,
        Args::Exactly(1),
        "Size of the receive buffer of sockets to upstreams (default: the system's).",
        |s, dir, _| values::size(&mut s.drafts.proxy.rcvbuf, dir),
    ),
    row(
        "proxy_socket_sndbuf",
        HSL,
        Args::Exactly(1),
        "Size of the send buffer of sockets to upstreams (default: the system's).",
        |s, dir, _| values::size(&mut s.drafts.proxy.sndbuf, dir),
    ),
    row(
        "proxy_bind",
        HSL,
        Args::Between(1, 2),
        "The address that connections to upstreams come from, or `off`; `transparent` is not supported yet.",
        |s, dir, _| bind::read(&mut s.drafts.proxy.bind, dir),
    ),
    row(
        "proxy_cookie_domain",
        HSL,
        Args::Between(1, 2),
        "Rewrites the domain of cookies that answers set: `off`, or from and to.",
        |s, dir, _| {
            cookies::read(&mut s.drafts.proxy.cookies.domain, dir, |dir| {
                (dir.arg(0).clone(), dir.arg(1).clone())
            })
        },
    ),
    row(
        "proxy_cookie_path",
        HSL,
        Args::Between(1, 2),
        "Rewrites the path of cookies that answers set: `off`, or from and to.",
        |s, dir, _| {
            cookies::read(&mut s.drafts.proxy.cookies.path, dir, |dir| {
                (dir.arg(0).clone(), dir.arg(1).clone())
            })
        },
    ),
    row(
        "proxy_cookie_flags",
        HSL,
        Args::Between(1, 4),
        "Flags of cookies that answers set: `off`, or a name and `[no]secure`, `[no]httponly`, `samesite=`, `nosamesite`.",
        |s, dir, _| {
            cookies::read(&mut s.drafts.proxy.cookies.flags, dir, |dir| {
                (dir.arg(0).clone(), dir.args[1..].to_vec())
            })
        },
    ),
    row(
        "proxy_limit_rate",
        HSL,
        Args::Exactly(1),
        "Bytes a second read from an upstream for one request; 0 is any (default).",
        |s, dir, _| Size::read(&mut s.drafts.proxy.limit_rate, dir),
    ),
    row(
        "proxy_ignore_headers",
        HSL,
        Args::AtLeast(1),
        "Fields of answers that are not listened to: X-Accel-*, and those that only a cache would listen to.",
        |s, dir, env| {
            let slot = &mut s.drafts.proxy.ignore_headers;
            values::once(slot, dir)?;
            let mut mask = 0;
            values::mask(&mut mask, dir, reply::IGNORED, env)?;
            *slot = Some(mask);
            Ok(())
        },
    ),
    no_effect(
        "proxy_busy_buffers_size",
        HSL,
        "Without effect: what has been read goes out as soon as the client takes it.",
    ),
    row(
        "proxy_temp_path",
        HSL,
        Args::Between(1, 4),
        "Directory for answers that a client is too slow for; levels are accepted and not used (default proxy_temp).",
        |s, dir, _| {
            let slot = &mut s.drafts.proxy.temp_path;
            values::once(slot, dir)?;
            *slot = Some(PathBuf::from(dir.arg(0).str()?));
            Ok(())
        },
    ),
    row(
        "proxy_max_temp_file_size",
        HSL,
        Args::Exactly(1),
        "How much of an answer may wait in a file for a slow client; 0 is nothing: the upstream waits (default 1024m).",
        |s, dir, _| values::size(&mut s.drafts.proxy.temp_max, dir),
    ),
    row(
        "proxy_temp_file_write_size",
        HSL,
        Args::Exactly(1),
        "How much of it is written at a time (default twice a buffer of proxy_buffers).",
        |s, dir, _| values::size(&mut s.drafts.proxy.temp_step, dir),
    ),
    no_effect("proxy_headers_hash_max_size", HSL, "Without effect: there is no such table."),
    no_effect("proxy_headers_hash_bucket_size", HSL, "Without effect: there is no such table."),
    no_effect("proxy_send_lowat", HSL, "Without effect on Linux, as in nginx."),
];

fn redirect(slot: &mut Option<RedirectsDraft>, dir: &Directive) -> Result<(), Error> {
    let first = dir.arg(0);
    let rules = slot.get_or_insert_with(|| RedirectsDraft(Some(Vec::new())));
    if dir.args.len() == 1 {
        match &*first.text {
            b"off" | b"false" => rules.0 = None,
            b"default" => rules.0.get_or_insert_default().push(RuleDraft::Default),
            _ => return Err(dir.error(format!("invalid parameter \"{}\"", first.lossy()))),
        }
        return Ok(());
    }
    let to = dir.arg(1).clone();
    let rule = if first.text.starts_with(b"~") {
        let caseless = first.text.starts_with(b"~*");
        RuleDraft::Regex { pattern: first.clone(), caseless, to }
    } else {
        RuleDraft::Plain(first.clone(), to)
    };
    rules.0.get_or_insert_default().push(rule);
    Ok(())
}
