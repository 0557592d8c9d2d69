//! Owns the questions and answers of DNS as bytes (RFC 1035, RFC 3596, RFC 2782).
//!
//! Must not send, receive or remember anything.

use domain::base::iana::{Opcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ParsedName};
use domain::rdata::{A, Aaaa, Cname, Srv};
use std::net::IpAddr;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
}

/// A server of a service, as an SRV record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower is asked first.
    pub priority: u16,
    /// At least 1.
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// The records of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub addresses: Vec<IpAddr>,
    pub services: Vec<Service>,
    /// Another name for what was asked.
    pub alias: Option<String>,
    /// Seconds that all of it may be kept.
    pub ttl: u32,
}

/// A question that is under way.
#[derive(Debug)]
pub struct Query {
    pub kind: Kind,
    message: Message<Vec<u8>>,
}

/// What a datagram is to a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not its answer, or one that cannot be believed: the sentence for the log.
    Ignored(&'static str),
    /// The answer is too long for a datagram.
    Truncated,
    /// The server's error code.
    Failed(u8),
    Found(Records),
}

impl Query {
    /// `None` for a name that cannot be asked for.
    pub fn new(id: u16, kind: Kind, name: &str) -> Option<Self> {
        let name = Name::<Vec<u8>>::from_chars(name.chars()).ok().filter(|name| !name.is_root())?;
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(id);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((name, kind.rtype())).ok()?;
        Some(Self { kind, message: builder.into_message() })
    }

    /// What is sent.
    pub fn bytes(&self) -> &[u8] {
        self.message.as_slice()
    }

    /// Judges what has come.
    pub fn judge(&self, bytes: &[u8]) -> Verdict {
        let Ok(answer) = Message::from_octets(bytes) else {
            return Verdict::Ignored("short DNS response");
        };
        let header = answer.header();
        if !header.qr() || header.opcode() != Opcode::QUERY {
            return Verdict::Ignored("invalid DNS response");
        }
        if header.id() != self.message.header().id() {
            return Verdict::Ignored("wrong ident in DNS response");
        }
        match header.rcode().to_int() {
            1 => return Verdict::Ignored("DNS error (1: Format error)"),
            6.. => return Verdict::Ignored("DNS error"),
            _ => {}
        }
        if !answer.is_answer(&self.message) {
            return Verdict::Ignored("unexpected DNS response");
        }
        match header.rcode().to_int() {
            _ if header.tc() => Verdict::Truncated,
            0 => self.records(&answer),
            code => Verdict::Failed(code),
        }
    }

    fn records(&self, answer: &Message<&[u8]>) -> Verdict {
        let mut records = Records { ttl: u32::MAX, ..Records::default() };
        let count = answer.header_counts().ancount();
        let Ok(section) = answer.answer() else {
            return Verdict::Ignored("short DNS response");
        };
        for record in section {
            let Ok(record) = record else { return Verdict::Ignored("short DNS response") };
            let ttl = record.ttl().as_secs();
            // RFC 2181, section 8: a time with its highest bit set is none.
            records.ttl = records.ttl.min(if ttl > i32::MAX as u32 { 0 } else { ttl });
            match record.rtype() {
                Rtype::A if self.kind == Kind::A => match record.to_record::<A>() {
                    Ok(Some(a)) => records.addresses.push(a.data().addr().into()),
                    _ => return Verdict::Ignored("invalid A record in DNS response"),
                },
                Rtype::AAAA if self.kind == Kind::Aaaa => match record.to_record::<Aaaa>() {
                    Ok(Some(aaaa)) => records.addresses.push(aaaa.data().addr().into()),
                    _ => return Verdict::Ignored("invalid AAAA record in DNS response"),
                },
                Rtype::SRV if self.kind == Kind::Srv => {
                    match record.to_record::<Srv<ParsedName<&[u8]>>>() {
                        Ok(Some(srv)) => records.services.push(service(srv.data())),
                        _ => return Verdict::Ignored("short DNS response"),
                    }
                }
                Rtype::CNAME => match record.to_record::<Cname<ParsedName<&[u8]>>>() {
                    Ok(Some(cname)) => records.alias = Some(plain(cname.data().cname())),
                    _ => return Verdict::Ignored("short DNS response"),
                },
                Rtype::A | Rtype::AAAA => {
                    return Verdict::Ignored("unexpected record in DNS response");
                }
                _ => {}
            }
        }
        let nothing = records.addresses.is_empty() && records.services.is_empty();
        if nothing && records.alias.is_none() && count > 0 {
            return Verdict::Ignored("no usable types in DNS response");
        }
        Verdict::Found(records)
    }
}

impl Kind {
    fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
            Self::Srv => Rtype::SRV,
        }
    }
}

fn service(srv: &Srv<ParsedName<&[u8]>>) -> Service {
    Service {
        priority: srv.priority(),
        weight: srv.weight().max(1),
        port: srv.port(),
        target: plain(srv.target()),
    }
}

/// A name as it is asked for.
fn plain(name: &ParsedName<&[u8]>) -> String {
    name.to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::iana::Rcode;
    use proptest::prelude::*;

    /// The answer to `query` with one A record for each last byte.
    fn answer(
        query: &Query,
        last: &[u8],
        change: impl FnOnce(&mut MessageBuilder<Vec<u8>>),
    ) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        change(&mut builder);
        let mut builder = builder.start_answer(&query.message, Rcode::NOERROR).unwrap();
        let name = Name::<Vec<u8>>::from_chars("a.example".chars()).unwrap();
        for last in last {
            builder.push((&name, 60, A::from_octets(10, 0, 0, *last))).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn an_answer_is_known_by_its_question() {
        let query = Query::new(7, Kind::A, "A.example").unwrap();
        let Verdict::Found(found) = query.judge(&answer(&query, &[1, 2], |_| {})) else { panic!() };
        assert_eq!(found.addresses, [IpAddr::from([10, 0, 0, 1]), [10, 0, 0, 2].into()]);
        assert_eq!(found.ttl, 60);
        let other = Query::new(8, Kind::A, "a.example").unwrap();
        assert!(matches!(other.judge(&answer(&query, &[1], |_| {})), Verdict::Ignored(_)));
        let other = Query::new(7, Kind::A, "b.example").unwrap();
        assert!(matches!(other.judge(&answer(&query, &[1], |_| {})), Verdict::Ignored(_)));
        let other = Query::new(7, Kind::Aaaa, "a.example").unwrap();
        assert!(matches!(other.judge(&answer(&query, &[1], |_| {})), Verdict::Ignored(_)));
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_not() {
        for name in ["", ".", "a..b", &"x".repeat(64)] {
            assert!(Query::new(1, Kind::A, name).is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_a_fault_here(
            cut in 0_usize..80, at in 0_usize..80, byte in any::<u8>(),
        ) {
            let query = Query::new(7, Kind::A, "a.example").unwrap();
            let mut bytes = answer(&query, &[1, 2], |_| {});
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = query.judge(&bytes);
        }
    }
}
