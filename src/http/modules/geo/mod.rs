//! Owns `geo`: a variable whose value depends on an address.
//!
//! Must not keep values from one reading to the next; `computed` does.

mod ranges;
mod table;

use crate::conf::{Args, Contexts, Directive, Error, Row, Word};
use crate::http::cidr;
use crate::http::computed::{self, How};
use crate::http::draft::{Scope, block};
use crate::http::finish::Finish;
use crate::http::forwarded;
use crate::http::headers::Name;
use crate::http::request::Request;
use crate::http::template::Template;
use crate::http::vars::Variable;
use crate::net::Peer;
use std::net::IpAddr;
use std::sync::Arc;
use table::Table;

/// As written: the blocks of `http`.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    blocks: Vec<Arc<Written>>,
}

/// In force: nothing but the variables.
#[derive(Debug)]
pub struct Conf {}

impl Draft {
    pub fn inherit(&mut self, _outer: &Self) {}

    pub fn finish(&self, _cx: &mut Finish) -> Conf {
        Conf {}
    }
}

#[derive(Debug)]
struct Written {
    /// The variable that holds the address; none for the client's own.
    source: Option<Word>,
    /// Without its dollar sign.
    name: Word,
    table: Arc<Table>,
}

pub static ROWS: &[Row<Scope>] = &[block(
    "geo",
    Contexts::HTTP,
    Args::Between(1, 2),
    "A variable whose value is looked up by the client's address, or by that in another variable, among \
     networks or `ranges` of addresses; behind a `proxy` by `X-Forwarded-For`.",
    |scope, dir, env| {
        let (source, name) = variables(dir)?;
        let table = Arc::new(Table::read(dir, env));
        scope.drafts.geo.blocks.push(Arc::new(Written { source, name, table }));
        Ok(())
    },
)];

fn variables(dir: &Directive) -> Result<(Option<Word>, Word), Error> {
    match &dir.args[..] {
        [source, name] => {
            computed::name_of(source)?;
            Ok((Some(source.clone()), computed::name_of(name)?))
        }
        _ => Ok((None, computed::name_of(dir.arg(0))?)),
    }
}

pub static VARIABLES: &[Variable] = &[];

/// Makes the variables known everywhere, before anything is compiled.
pub fn define(http: &Scope, cx: &mut Finish) {
    for written in &http.drafts.geo.blocks {
        computed::define(&written.name, cx);
    }
}

/// Compiles them; all names are known by now.
pub fn compile(http: &Scope, cx: &mut Finish) {
    for written in &http.drafts.geo.blocks {
        let source = written.source.as_ref().map(|word| cx.template(word));
        let geo = Geo {
            own: source.is_none(),
            source: source.unwrap_or_default(),
            table: written.table.clone(),
        };
        computed::keep(&written.name, written.table.volatile, How::Geo(geo), cx);
    }
}

/// The variable, compiled.
#[derive(Debug)]
pub struct Geo {
    /// The client's own address is meant.
    own: bool,
    source: Template,
    table: Arc<Table>,
}

impl Geo {
    /// What holds the address.
    pub fn source(&self) -> &Template {
        &self.source
    }

    /// Appends the value for this request.
    pub fn append(&self, req: &Request, out: &mut Vec<u8>) {
        out.extend_from_slice(self.table.find(self.address(req)));
    }

    fn address(&self, req: &Request) -> Option<IpAddr> {
        let address =
            if self.own { req.peer().ip() } else { cidr::parse_address(&self.source.value(req)) };
        let Table { proxies, proxy_recursive, .. } = &*self.table;
        if proxies.is_empty() {
            return address;
        }
        let fields: Vec<_> = req.head.headers.get_all(Name::XForwardedFor).collect();
        let own = Peer::Inet((address?, 0).into());
        forwarded::client(own, &fields, proxies, *proxy_recursive).unwrap_or(own).ip()
    }
}

#[cfg(test)]
mod tests;
