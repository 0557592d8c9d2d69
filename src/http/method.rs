//! Request methods, as far as nginx tells them apart. The spelling a client used stays in the
//! request head; this file only gives it a small name.

/// A request method (RFC 9110, section 9; RFC 4918 for the `WebDAV` ones). `Other` is any other
/// name made of capitals, `_` and `-`: nginx accepts those and passes them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Mkcol,
    Copy,
    Move,
    Options,
    Propfind,
    Proppatch,
    Lock,
    Unlock,
    Patch,
    Trace,
    Connect,
    Other,
}

/// Every named method with its spelling, for the tables of `limit_except` and `dav_methods`.
pub const METHODS: [(&str, Method); 16] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("DELETE", Method::Delete),
    ("MKCOL", Method::Mkcol),
    ("COPY", Method::Copy),
    ("MOVE", Method::Move),
    ("OPTIONS", Method::Options),
    ("PROPFIND", Method::Propfind),
    ("PROPPATCH", Method::Proppatch),
    ("LOCK", Method::Lock),
    ("UNLOCK", Method::Unlock),
    ("PATCH", Method::Patch),
    ("TRACE", Method::Trace),
    ("CONNECT", Method::Connect),
];

impl Method {
    /// The method spelled `name`; methods are case-sensitive.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"MKCOL" => Self::Mkcol,
            b"COPY" => Self::Copy,
            b"MOVE" => Self::Move,
            b"OPTIONS" => Self::Options,
            b"PROPFIND" => Self::Propfind,
            b"PROPPATCH" => Self::Proppatch,
            b"LOCK" => Self::Lock,
            b"UNLOCK" => Self::Unlock,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// The usual spelling; empty for `Other`, whose name only the request head knows.
    pub fn as_str(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }

    /// Methods that may be sent to another upstream again without asking (RFC 9110, section
    /// 9.2.2, less the ones `proxy_next_upstream non_idempotent` names: POST, LOCK, PATCH).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Lock | Self::Patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_back_to_its_method() {
        for (name, method) in METHODS {
            assert_eq!(Method::of(name.as_bytes()), method);
            assert_eq!(method.as_str(), name);
        }
        assert_eq!(Method::of(b"get"), Method::Other);
        assert_eq!(Method::of(b"PURGE"), Method::Other);
        assert_eq!(Method::Other.as_str(), "");
    }

    #[test]
    fn only_post_lock_and_patch_are_not_sent_twice() {
        let not_twice: Vec<_> = METHODS
            .iter()
            .filter(|(_, method)| !method.is_idempotent())
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(not_twice, ["POST", "LOCK", "PATCH"]);
    }
}
