//! Owns the table of the maintenance directives and what their arguments mean.
//!
//! Must not read files or resolve anything; that waits until the level is finished.

use super::assets::WrittenAssets;
use super::bypass::WrittenBypass;
use super::conf::{
    File, Joined, RetryAfter, Websocket, WrittenCookie, WrittenJson, WrittenRedirect,
};
use super::cors::Cors;
use crate::conf::values::{once, parse_msec, parse_number, parse_sec};
use crate::conf::{Args, Directive, Env, Error, Row, Word};
use crate::http::cidr;
use crate::http::draft::{HSL, Scope, row};
use crate::zone::gates::MAX_NAME;
use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;
use std::time::Duration;

pub static ROWS: &[Row<Scope>] = &[
    row(
        "maintenance",
        HSL,
        Args::Exactly(1),
        "The switch of maintenance mode that this level is joined to (default `default`), or `off`: what is \
         here is served whatever the state is. Locations with `stub_status` and \
         `/.well-known/acme-challenge/` always are.",
        joined,
    ),
    row(
        "maintenance_page",
        HSL,
        Args::Exactly(1),
        "The page that clients get while the switch is closed, kept in memory; without it proxyd's own. \
         `<!--#reason-->`, `<!--#until-->` and `<!--#retry_after-->` in it are replaced, and \
         `<!--#languages en zh-->` has the `lang` of its `html` element follow `Accept-Language`.",
        |s, dir, _| {
            let slot = &mut s.drafts.maintenance.page;
            once(slot, dir)?;
            *slot = Some(File::new(dir.arg(0)));
            Ok(())
        },
    ),
    row(
        "maintenance_root",
        HSL,
        Args::Between(1, 2),
        "A directory with what the page needs, kept in memory and served below `prefix=` (default \
         `/.maintenance/`) while the switch is closed.",
        |s, dir, _| {
            let slot = &mut s.drafts.maintenance.assets;
            once(slot, dir)?;
            *slot = Some(WrittenAssets::read(dir)?);
            Ok(())
        },
    ),
    row(
        "maintenance_json",
        HSL,
        Args::Exactly(1),
        "What clients that want JSON get while the switch is closed: a problem document (`default`), a file, \
         or with `off` the page like all others.",
        json,
    ),
    row(
        "maintenance_status",
        HSL,
        Args::Exactly(1),
        "Status of the page and of the JSON document, 400 to 599 (default 503).",
        |s, dir, _| {
            let slot = &mut s.drafts.maintenance.status;
            once(slot, dir)?;
            let word = dir.arg(0);
            let status = parse_number(&word.text).and_then(|number| u16::try_from(number).ok());
            let status = status.filter(|status| (400..=599).contains(status));
            *slot = Some(status.ok_or_else(|| {
                word.error(format!("value \"{}\" must be between 400 and 599", word.lossy()))
            })?);
            Ok(())
        },
    ),
    row(
        "maintenance_retry_after",
        HSL,
        Args::Between(1, 2),
        "`Retry-After` of a closed switch when no end has been announced (default 120s); every client gets its \
         own share of `jitter=` on top (default 20%), so that they do not come back in the same second.",
        retry_after,
    ),
    row(
        "maintenance_allow",
        HSL,
        Args::AtLeast(1),
        "Addresses and networks that are let in while the switch is closed. Their answers say \
         `X-Maintenance: bypass` and are not to be cached.",
        allow,
    ),
    row(
        "maintenance_redirect",
        HSL,
        Args::Between(1, 2),
        "Sends browsers that open a page to this address while the switch is closed, with 302 or 307; `off` \
         (default) answers in place. A path of this host shows the page. What a redirect would break gets the \
         status: other methods, JSON and gRPC clients, scripts, upgrades.",
        redirect,
    ),
    row(
        "maintenance_bypass_cookie",
        HSL,
        Args::Between(1, 4),
        "Lets in who shows a signed token in this cookie: `key_file=` with the key, `ttl=` for the longest life \
         of the cookie (default 12h), `secure` for `Secure`. `/.proxyd/bypass/TOKEN` sets it and leads to \
         `/`. Upstreams do not see it. `off` ends it for this level.",
        bypass_cookie,
    ),
    row(
        "maintenance_bypass_header",
        HSL,
        Args::Exactly(1),
        "A field of the request that may hold the token instead of the cookie. Upstreams do not see it.",
        |s, dir, _| word(&mut s.drafts.maintenance.header, dir),
    ),
    row(
        "maintenance_flag_file",
        HSL,
        Args::Exactly(1),
        "A file that closes the switch of this level while it exists. Workers look for it once a second.",
        |s, dir, _| word(&mut s.drafts.maintenance.flag_file, dir),
    ),
    row(
        "maintenance_cors",
        HSL,
        Args::AtLeast(1),
        "Pages of these origins (`https://app.example.com`), or with `*` all, whose scripts may read what a \
         closed switch answers; their preflights are answered too. `off` (default): nobody's.",
        |s, dir, _| {
            let slot = &mut s.drafts.maintenance.cors;
            once(slot, dir)?;
            *slot = Some(Cors::read(dir)?);
            Ok(())
        },
    ),
    row(
        "maintenance_websocket",
        HSL,
        Args::Between(1, 2),
        "What becomes of upgraded connections when the switch closes: `close` (default) ends them `after=` a while \
         (default 5s), WebSockets with status 1012; `keep` leaves them alone.",
        websocket,
    ),
];

fn word(slot: &mut Option<Word>, dir: &Directive) -> Result<(), Error> {
    once(slot, dir)?;
    if dir.arg(0).text.is_empty() {
        return Err(invalid(dir.arg(0)));
    }
    *slot = Some(dir.arg(0).clone());
    Ok(())
}

pub(super) fn invalid(word: &Word) -> Error {
    word.error(format!("invalid parameter \"{}\"", word.lossy()))
}

/// The value of `name=value`.
pub(super) fn value<'a>(word: &'a Word, name: &str) -> Option<&'a [u8]> {
    word.text.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn joined(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.maintenance.joined;
    once(slot, dir)?;
    let word = dir.arg(0);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    *slot = Some(match &word.text[..] {
        b"off" => Joined::Off,
        name if !name.is_empty() && name.len() <= MAX_NAME && name.iter().all(plain) => {
            Joined::Switch(word.clone())
        }
        _ => {
            let help =
                format!("a name is at most {MAX_NAME} letters, digits and \"_\", \"-\", \".\"");
            return Err(invalid(word).with_help(help));
        }
    });
    Ok(())
}

fn json(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.maintenance.json;
    once(slot, dir)?;
    *slot = Some(match &dir.arg(0).text[..] {
        b"default" => WrittenJson::Default,
        b"off" => WrittenJson::Off,
        _ => WrittenJson::File(File::new(dir.arg(0))),
    });
    Ok(())
}

fn retry_after(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.maintenance.retry_after;
    once(slot, dir)?;
    let time = parse_sec(&dir.arg(0).text).ok_or_else(|| invalid(dir.arg(0)))?;
    let mut jitter = 20;
    if let Some(word) = dir.args.get(1) {
        let percent = value(word, "jitter").and_then(|value| value.strip_suffix(b"%"));
        let percent = percent.and_then(parse_number).filter(|percent| *percent <= 100);
        jitter = percent.and_then(|n| u8::try_from(n).ok()).ok_or_else(|| invalid(word))?;
    }
    *slot = Some(RetryAfter { time, jitter });
    Ok(())
}

fn allow(scope: &mut Scope, dir: &Directive, env: &mut Env) -> Result<(), Error> {
    scope.drafts.maintenance.allow_at.get_or_insert(dir.arg(0).span);
    for word in &dir.args {
        let cidr = cidr::parse(&word.text).ok_or_else(|| invalid(word))?;
        if cidr.low_bits {
            let shown = word.lossy();
            env.warn(word.error(format_args!("low address bits of {shown} are meaningless")));
        }
        let list = &mut scope.drafts.maintenance.allow;
        list.get_or_insert_default().push(unmapped(cidr.net));
    }
    Ok(())
}

/// A network of IPv4 addresses in IPv6's clothes as what it is.
pub(super) fn unmapped(net: IpNet) -> IpNet {
    let length = net.prefix_len().checked_sub(96);
    match (cidr::unmapped(net.network()), length) {
        (IpAddr::V4(address), Some(length)) if net.network().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

fn redirect(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.maintenance.redirect;
    once(slot, dir)?;
    *slot = Some(redirect_to(dir)?);
    Ok(())
}

fn redirect_to(dir: &Directive) -> Result<WrittenRedirect, Error> {
    let target = dir.arg(0);
    if &target.text[..] == b"off" && dir.args.len() == 1 {
        return Ok(None);
    }
    let starts = [&b"/"[..], b"http://", b"https://", b"$"];
    if !starts.iter().any(|start| target.text.starts_with(start)) {
        return Err(invalid(target).with_help("a path, or an address with http:// or https://"));
    }
    let status = match dir.args.get(1).map(|word| &word.text[..]) {
        None | Some(b"302") => 302,
        Some(b"307") => 307,
        Some(_) => return Err(invalid(dir.arg(1)).with_help("it must be 302 or 307")),
    };
    Ok(Some((target.clone(), status)))
}

fn bypass_cookie(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.maintenance.bypass;
    once(slot, dir)?;
    let off = &dir.arg(0).text[..] == b"off" && dir.args.len() == 1;
    *slot = Some(if off {
        WrittenCookie::Off
    } else {
        WrittenCookie::Bypass(WrittenBypass::read(dir)?)
    });
    Ok(())
}

fn websocket(scope: &mut Scope, dir: &Directive, _: &mut Env) -> Result<(), Error> {
    let slot = &mut scope.drafts.maintenance.websocket;
    once(slot, dir)?;
    let after = match dir.args.get(1) {
        None => Duration::from_secs(5),
        Some(word) => value(word, "after").and_then(parse_msec).ok_or_else(|| invalid(word))?,
    };
    *slot = Some(match (&dir.arg(0).text[..], dir.args.len()) {
        (b"keep", 1) => Websocket::Keep,
        (b"close", _) => Websocket::Close { after },
        _ => return Err(invalid(dir.arg(0)).with_help("it must be \"keep\" or \"close\"")),
    });
    Ok(())
}
