//! Owns the comparing of passwords with the forms in which files keep them: those of `crypt`, Apache's
//! `$apr1$`, and `{PLAIN}`, `{SHA}`, `{SSHA}` of LDAP.
//!
//! Must not read files, and must not know who asks. It is all computation, some of it slow on purpose.

mod apr1;

use crate::base64::Alphabet::Standard;
use crate::base64::decode;
use crate::sys::crypt;
use sha1::{Digest, Sha1};
use std::hint::black_box;

/// Whether a password is the one that was stored. The time this takes says nothing about what would
/// have been right.
pub fn matches(given: &[u8], stored: &[u8]) -> bool {
    if let Some(plain) = stored.strip_prefix(b"{PLAIN}") {
        return same(given, plain);
    }
    if let Some(encoded) = stored.strip_prefix(b"{SSHA}") {
        return salted(given, encoded);
    }
    if let Some(encoded) = stored.strip_prefix(b"{SHA}") {
        return decode(encoded, Standard).is_some_and(|digest| same(&Sha1::digest(given), &digest));
    }
    if let Some(rest) = stored.strip_prefix(apr1::MAGIC) {
        return same(&apr1::crypt(given, rest), stored);
    }
    crypt::crypt(given, stored).is_some_and(|made| same(&made, stored))
}

/// Whether comparing with this form takes long enough to keep others waiting.
pub fn is_slow(stored: &[u8]) -> bool {
    !["{PLAIN}", "{SHA}", "{SSHA}"].iter().any(|form| stored.starts_with(form.as_bytes()))
}

/// The digest of password and salt, then the salt.
fn salted(given: &[u8], encoded: &[u8]) -> bool {
    let Some(decoded) = decode(encoded, Standard) else { return false };
    let Some((digest, salt)) = decoded.split_first_chunk::<20>() else { return false };
    same(&Sha1::new().chain_update(given).chain_update(salt).finalize(), digest)
}

/// Whether two values are the same; all bytes are compared, whatever the first difference is.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        for stored in [
            "{PLAIN}password",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "{SSHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0",
            "$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.",
            "$apr1$.......$CoaiTblbJfKXmM2r8P1Ff0",
            "rqVTKtRlPS2tM",
        ] {
            let password = if stored.contains("...") { "" } else { "password" };
            assert!(matches(password.as_bytes(), stored.as_bytes()), "{stored}");
            assert!(!matches(b"passwore", stored.as_bytes()), "{stored}");
        }
    }

    #[test]
    fn what_is_no_form_lets_nobody_in() {
        for stored in
            ["", "!", "*", "{SHA}", "{SSHA}", "{SSHA}W6ph", "{SHA}=", "$apr1$", "$5$", "{MD5}x"]
        {
            for given in ["", "*", "*0", "!", stored] {
                assert!(!matches(given.as_bytes(), stored.as_bytes()), "{stored} {given}");
            }
        }
        assert!(matches(b"", b"{PLAIN}"), "an empty password may be stored");
    }

    #[test]
    fn only_computing_is_slow() {
        assert!(is_slow(b"$2y$05$x") && is_slow(b"$apr1$") && is_slow(b""));
        assert!(!is_slow(b"{PLAIN}x") && !is_slow(b"{SSHA}x"));
    }

    #[test]
    fn comparing_looks_at_all() {
        assert!(same(b"ab", b"ab") && same(b"", b""));
        assert!(!same(b"ab", b"aB") && !same(b"ab", b"abc") && !same(b"", b"x"));
    }
}
