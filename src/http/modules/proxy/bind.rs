//! Owns `proxy_bind`: the address that connections to upstreams come from.

use crate::conf::{Directive, Error, Word, values};
use crate::http::finish::Finish;
use crate::http::request::Request;
use crate::http::template::Template;
use std::net::{IpAddr, SocketAddr};

/// As written; `None` inside is `off`.
pub type BindDraft = Option<Word>;

/// In force.
#[derive(Debug, Default)]
pub enum Bind {
    /// The system chooses.
    #[default]
    Off,
    Known(SocketAddr),
    Asked(Template),
}

/// `proxy_bind address [transparent] | off`.
pub fn read(slot: &mut Option<BindDraft>, dir: &Directive) -> Result<(), Error> {
    values::once(slot, dir)?;
    let word = dir.arg(0);
    if let Some(second) = dir.args.get(1) {
        let shown = second.lossy();
        return Err(match &*second.text {
            b"transparent" => {
                let error =
                    second.error(format_args!("parameter \"{shown}\" is not supported yet"));
                error.with_help("workers have no right to take foreign addresses")
            }
            _ => second.error(format_args!("invalid parameter \"{shown}\"")),
        });
    }
    let known = word.text.contains(&b'$') || word.text == b"off" || address(&word.text).is_some();
    if !known {
        return Err(word.error(format_args!("invalid address \"{}\"", word.lossy())));
    }
    *slot = Some((word.text != b"off").then(|| word.clone()));
    Ok(())
}

/// Compiles it.
pub fn finish(draft: Option<&BindDraft>, cx: &mut Finish) -> Bind {
    let Some(Some(word)) = draft else { return Bind::Off };
    match address(&word.text) {
        Some(known) => Bind::Known(known),
        None => Bind::Asked(cx.template(word)),
    }
}

impl Bind {
    /// The address for this request. An invalid one is as none, as in nginx.
    pub fn value(&self, req: &Request) -> Option<SocketAddr> {
        let text = match self {
            Self::Off => return None,
            Self::Known(address) => return Some(*address),
            Self::Asked(template) => template.value(req),
        };
        let found = address(&text);
        if found.is_none() && !text.is_empty() {
            let shown = String::from_utf8_lossy(&text);
            req.log_error(format_args!("invalid local address \"{shown}\""));
        }
        found
    }
}

/// An address with or without a port.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = |text: &str| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
    let bracketed = || bare(text.strip_prefix('[')?.strip_suffix(']')?);
    text.parse().ok().or_else(|| bare(text)).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Site, errors};

    #[test]
    fn addresses_have_ports_or_not() {
        for (text, expected) in [
            ("127.0.0.1", Some("127.0.0.1:0")),
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("::1", Some("[::1]:0")),
            ("[::1]:80", Some("[::1]:80")),
            ("[::1]", Some("[::1]:0")),
            ("localhost", None),
        ] {
            let shown = address(text.as_bytes()).map(|address| address.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        let error = |line: &str| errors(line, "listen 1;");
        assert_eq!(error("proxy_bind here;"), ["invalid address \"here\""]);
        assert_eq!(error("proxy_bind ::1 opaque;"), ["invalid parameter \"opaque\""]);
        let site = Site::new("", "listen 1; proxy_bind $arg_from;");
        let mut req = site.request();
        req.args = b"from=127.0.0.9".to_vec();
        assert_eq!(req.conf().proxy.bind.value(&req), Some(([127, 0, 0, 9], 0).into()));
        req.args = b"from=here".to_vec();
        assert_eq!(req.conf().proxy.bind.value(&req), None);
        assert!(site.text("error.log").contains("invalid local address \"here\""));
    }
}
