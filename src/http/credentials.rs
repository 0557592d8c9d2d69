//! Owns the reading of basic credentials (RFC 7617).
//!
//! Must not check a password.

use super::headers::Name;
use super::method::Method;
use super::request::Request;
use crate::base64::{Alphabet, decode};

/// What a client has given to be let in.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: Vec<u8>,
    pub password: Vec<u8>,
}

/// The credentials of a request. CONNECT asks a proxy, and proxies have a field of their own.
pub fn of(req: &Request) -> Option<Credentials> {
    let proxy = req.method == Method::Connect;
    let field = if proxy { Name::ProxyAuthorization } else { Name::Authorization };
    req.head.headers.get(field).and_then(read)
}

/// What such a field holds; `None` for other schemes, bad base64, or no user.
fn read(value: &[u8]) -> Option<Credentials> {
    let (scheme, rest) = value.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    let mut user = decode(rest.get(spaces..)?, Alphabet::Standard)?;
    let colon = memchr::memchr(b':', &user).filter(|at| *at > 0)?;
    let password = user.get(colon + 1..)?.to_vec();
    user.truncate(colon);
    Some(Credentials { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_stands_before_the_colon() {
        let given = |user: &str, password: &str| {
            Some(Credentials { user: user.into(), password: password.into() })
        };
        let aladdin = given("Aladdin", "open sesame");
        assert_eq!(read(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), aladdin);
        assert_eq!(read(b"bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ"), aladdin);
        assert_eq!(read(b"Basic YTo"), given("a", ""));
        assert_eq!(read(b"Basic YTpiOmM"), given("a", "b:c"));
    }

    #[test]
    fn what_is_no_user_is_not_found() {
        let bad = [
            "",
            "Basic",
            "Basic ",
            "Bearer QWxhOg==",
            "Basic Q",
            "Basic QQ==",
            "Basic OmE=",
            "Basic Q!E=",
        ];
        for value in bad {
            assert_eq!(read(value.as_bytes()), None, "{value}");
        }
    }
}
