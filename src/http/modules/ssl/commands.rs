//! Owns `ssl_conf_command`: what OpenSSL's own commands say goes before the directives.
//!
//! Must not take a command that it does not carry out.

use super::Draft;
use crate::conf::{Directive, Error, Word};
use crate::http::tls_words;
use crate::tls::ciphers::Protocols;
use std::borrow::Cow;

/// Takes a command if it can be carried out.
pub(super) fn read(draft: &mut Draft, dir: &Directive) -> Result<(), Error> {
    let (command, value) = (dir.arg(0), dir.arg(1));
    let text = value.lossy();
    let is_fine = match &*command.lossy().to_ascii_lowercase() {
        "ciphersuites" => tls_words::suites13(value).is_ok(),
        "minprotocol" | "maxprotocol" => matches!(&*text, "TLSv1.2" | "TLSv1.3" | "None"),
        "options" => text.split(',').all(|option| switch(option).is_some()),
        "cipherstring" | "curves" | "groups" | "certificate" | "privatekey" => true,
        name => {
            let text = format_args!("\"ssl_conf_command {name}\" is not supported yet");
            return Err(command.error(text));
        }
    };
    if !is_fine {
        let text = format_args!("\"{}\" does not support \"{text}\"", command.lossy());
        return Err(value.error(text));
    }
    draft.commands.get_or_insert_default().push((command.clone(), value.clone()));
    Ok(())
}

/// The draft with all commands carried out, in their order.
pub(super) fn apply(draft: &Draft) -> Cow<'_, Draft> {
    let Some(commands) = &draft.commands else { return Cow::Borrowed(draft) };
    let mut changed = draft.clone();
    let (mut certificate, mut key) = (None, None);
    for (command, value) in commands {
        match &*command.lossy().to_ascii_lowercase() {
            "certificate" => certificate = Some(value),
            "privatekey" => key = Some(value),
            name => carry_out(&mut changed, name, value),
        }
    }
    // The first one of its kind is the one that is shown.
    put_first(&mut changed.certificates, certificate);
    put_first(&mut changed.keys, key);
    Cow::Owned(changed)
}

/// A server that is given nothing is not to look as if it had something of its own.
fn put_first(words: &mut Option<Vec<Word>>, word: Option<&Word>) {
    if let Some(word) = word {
        words.get_or_insert_default().insert(0, word.clone());
    }
}

fn carry_out(draft: &mut Draft, name: &str, value: &Word) {
    let text = value.lossy();
    match name {
        "ciphersuites" => draft.suites13 = tls_words::suites13(value).ok(),
        "cipherstring" => draft.ciphers = Some(value.clone()),
        "curves" | "groups" => draft.curves = Some(value.clone()),
        "minprotocol" | "maxprotocol" => {
            let now = draft.protocols.unwrap_or_default();
            draft.protocols = Some(match (name, &*text) {
                ("minprotocol", "TLSv1.3") => Protocols { tls12: false, ..now },
                ("maxprotocol", "TLSv1.2") => Protocols { tls13: false, ..now },
                _ => now,
            });
        }
        _ => {
            for (what, on) in text.split(',').filter_map(switch) {
                match what {
                    Switch::Tickets => draft.tickets = Some(on),
                    Switch::OwnOrder => draft.own_order = Some(on),
                    Switch::None => {}
                }
            }
        }
    }
}

enum Switch {
    Tickets,
    OwnOrder,
    /// What it asks for is so in any case.
    None,
}

/// An option, and whether it is on. `None`: not one that is known here.
fn switch(option: &str) -> Option<(Switch, bool)> {
    let option = option.trim();
    let (name, on) = match option.strip_prefix('-') {
        Some(name) => (name, false),
        None => (option.strip_prefix('+').unwrap_or(option), true),
    };
    let what = match (&*name.to_ascii_lowercase(), on) {
        ("sessionticket", _) => Switch::Tickets,
        ("serverpreference", _) => Switch::OwnOrder,
        (
            "norenegotiation"
            | "ecdhsingle"
            | "dhsingle"
            | "encryptthenmac"
            | "extendedmastersecret"
            | "middleboxcompat",
            true,
        )
        | ("compression" | "unsafelegacyrenegotiation" | "ktls", false) => Switch::None,
        _ => return None,
    };
    Some((what, on))
}

#[cfg(test)]
mod tests {
    use crate::http::fixture::{Site, errors};

    #[test]
    fn commands_go_before_directives() {
        let site = Site::new(
            "",
            "listen 1 ssl; ssl_reject_handshake on; ssl_session_tickets off;
             ssl_prefer_server_ciphers on; ssl_conf_command MaxProtocol TLSv1.2;
             ssl_conf_command Options SessionTicket,-ServerPreference,NoRenegotiation;",
        );
        let server = &site.snapshot.tls[0];
        assert!(server.tickets && !server.own_order);
        assert!(server.protocols.tls12 && !server.protocols.tls13);
    }

    #[test]
    fn a_command_alone_is_no_certificate() {
        let http = "ssl_conf_command Options SessionTicket;";
        let said = errors(http, "listen 1 ssl;").concat();
        assert!(said.contains("no \"ssl_certificate\" is defined"), "{said}");
        let said = errors(http, "listen 1 ssl; ssl_conf_command Certificate none.pem;").concat();
        assert!(said.contains("no \"ssl_certificate_key\" is defined"), "{said}");
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        for line in ["Options UnsafeLegacyRenegotiation", "Ciphersuites X", "MinProtocol TLSv1"] {
            let said = errors("", &format!("ssl_conf_command {line};")).concat();
            assert!(said.contains("does not support"), "{said}");
        }
        let said = errors("", "ssl_conf_command VerifyMode Require;").concat();
        assert!(said.contains("is not supported yet"), "{said}");
    }
}
