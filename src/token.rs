//! Owns the tokens that let a person past a closed door: `EXPIRY.NAME.SIGNATURE`, signed with
//! HMAC-SHA256 for one switch and one epoch of it: with the next epoch all of them are void.
//!
//! Must not know how a token travels nor what it opens.

use std::fmt::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The shortest key that is worth the name.
const LEAST: usize = 16;
/// Bytes of a name.
const LONGEST_NAME: usize = 64;

/// What signs and checks.
pub struct Key(Hmac<Sha256>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Whose a valid token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    pub who: String,
    /// When it ends, in seconds of the epoch.
    pub until: u64,
}

impl Key {
    /// A key from a file; white space at its end is not part of it. The error is the end of a sentence.
    pub fn new(file: &[u8]) -> Result<Self, &'static str> {
        let key = file.trim_ascii_end();
        if key.len() < LEAST {
            return Err("is no key, it has less than 16 bytes");
        }
        Hmac::new_from_slice(key).map(Self).map_err(|_| "is no key")
    }

    /// A token for somebody, valid before `until` for this switch.
    pub fn sign(&self, switch: &str, epoch: u64, who: &str, until: u64) -> String {
        let mut token = format!("{until}.{who}.");
        for byte in self.mac(switch, epoch, who, until).finalize().into_bytes() {
            // Writing into a String cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        token
    }

    /// Whose a token is, if it is valid for this switch now. The time this takes says nothing about
    /// the signature that would have been right.
    pub fn verify(&self, switch: &str, epoch: u64, token: &[u8], now: u64) -> Option<Bearer> {
        let (rest, signature) = std::str::from_utf8(token).ok()?.rsplit_once('.')?;
        let (until, who) = rest.split_once('.')?;
        let digits = !until.is_empty() && until.bytes().all(|byte| byte.is_ascii_digit());
        let until = until.parse().ok().filter(|until| digits && *until > now)?;
        if !is_name(who) {
            return None;
        }
        self.mac(switch, epoch, who, until).verify_slice(&unhex(signature)?).ok()?;
        Some(Bearer { who: who.to_owned(), until })
    }

    fn mac(&self, switch: &str, epoch: u64, who: &str, until: u64) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(format!("proxyd-bypass\n{switch}\n{until}\n{who}").as_bytes());
        // The first epoch goes without saying, so that a token can be made by hand.
        if epoch > 0 {
            mac.update(format!("\n{epoch}").as_bytes());
        }
        mac
    }
}

/// Whether a token can be made out to this name: it has to stand in a cookie and in a path.
pub fn is_name(who: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@+".contains(&byte);
    !who.is_empty() && who.len() <= LONGEST_NAME && who.bytes().all(plain)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [b'0'..=b'9' | b'a'..=b'f', b'0'..=b'9' | b'a'..=b'f'] => {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        }
        _ => None,
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new(b"0123456789abcdef0123456789abcdef\n").unwrap()
    }

    #[test]
    fn a_token_is_valid_for_its_switch_until_its_end() {
        let token = key().sign("shop", 0, "alice@example.com", 1000);
        let bearer = Bearer { who: "alice@example.com".to_owned(), until: 1000 };
        assert_eq!(key().verify("shop", 0, token.as_bytes(), 999), Some(bearer));
        assert_eq!(key().verify("shop", 0, token.as_bytes(), 1000), None);
        assert_eq!(key().verify("api", 0, token.as_bytes(), 999), None);
        let other = Key::new(b"another key of sufficient length").unwrap();
        assert_eq!(other.verify("shop", 0, token.as_bytes(), 999), None);
    }

    /// What `openssl dgst -sha256 -hmac` makes of the same text.
    #[test]
    fn the_signature_is_hmac_sha256() {
        let token = key().sign("default", 0, "bob", 2_000_000_000);
        assert_eq!(
            token,
            concat!(
                "2000000000.bob.",
                "2ad885f7b42291fec3d89bf1d9337d1efae46e76b71e878020908ab3834fa404"
            )
        );
    }

    #[test]
    fn the_next_epoch_makes_them_void() {
        let token = key().sign("shop", 1, "alice", 1000);
        assert!(key().verify("shop", 1, token.as_bytes(), 1).is_some());
        for other in [0, 2, 11] {
            assert_eq!(key().verify("shop", other, token.as_bytes(), 1), None);
        }
        // The name of a switch may end in anything, the rest may not begin so.
        assert_ne!(token, key().sign("shop", 0, "alice", 1000));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let token = key().sign("shop", 0, "alice", 1000).into_bytes();
        for at in 0..token.len() {
            for bit in 0..8 {
                let mut altered = token.clone();
                altered[at] ^= 1 << bit;
                assert_eq!(key().verify("shop", 0, &altered, 1), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn nonsense_is_no_token() {
        for token in ["", ".", "..", "1000.alice", "1000.alice.", "1000..aa", "+1000.alice.aa"] {
            assert_eq!(key().verify("shop", 0, token.as_bytes(), 1), None, "{token}");
        }
        assert_eq!(key().verify("shop", 0, b"\xff.\xff.\xff", 1), None);
        assert!(is_name("alice-1.x_y@z+a"));
        for name in ["", "a b", "a\n", "a;b", "é", &"x".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_key_has_some_length() {
        assert!(Key::new(b"too short\n\n\n\n\n\n\n\n\n\n\n\n").is_err());
        assert!(Key::new(b"").is_err());
    }
}
