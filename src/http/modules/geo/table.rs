//! Owns the lines of a `geo` block, and what they make of an address.
//!
//! Must not know a request.

use super::ranges::{self, Clash, Range, Ranges};
use crate::conf::{Directive, Env, Error, Word};
use crate::http::cidr;
use crate::http::forwarded::Trusted;
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Values by network or range.
#[derive(Debug, Default)]
pub(super) struct Table {
    nets: HashMap<IpNet, usize>,
    /// The lengths of masks that occur, the longest first.
    v4_lengths: Vec<u8>,
    v6_lengths: Vec<u8>,
    ranges: Vec<Range>,
    /// What applies where no range does. Networks have /0 for that.
    default: Option<usize>,
    values: Vec<Arc<[u8]>>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Trusted,
    pub proxy_recursive: bool,
    pub volatile: bool,
}

impl Table {
    /// Reads a block; errors and warnings about its lines go to `env`.
    pub fn read(dir: &Directive, env: &mut Env) -> Self {
        let mut reader = Reader::default();
        for line in dir.block.as_deref().unwrap_or_default() {
            if let Err(error) = reader.line(line, env) {
                env.report(error);
            }
        }
        reader.finish()
    }

    /// The value for an address; `None` stands for a client that has none.
    pub fn find(&self, address: Option<IpAddr>) -> &[u8] {
        // An address that is none counts as the last one there is.
        let address = address.map_or(IpAddr::V4(Ipv4Addr::BROADCAST), cidr::unmapped);
        let found =
            if self.nets.is_empty() { self.find_range(address) } else { self.find_net(address) };
        found.and_then(|at| self.values.get(at)).map_or(b"", |value| value)
    }

    fn find_range(&self, address: IpAddr) -> Option<usize> {
        let address = match address {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(_) => u32::MAX,
        };
        ranges::find(&self.ranges, address).or(self.default)
    }

    fn find_net(&self, address: IpAddr) -> Option<usize> {
        let lengths = if address.is_ipv4() { &self.v4_lengths } else { &self.v6_lengths };
        let nets = lengths.iter().filter_map(|length| IpNet::new(address, *length).ok());
        nets.into_iter().find_map(|net| self.nets.get(&net.trunc())).copied()
    }
}

/// A table while it is read.
#[derive(Default)]
struct Reader {
    table: Table,
    numbers: HashMap<Arc<[u8]>, usize>,
    ranges: Ranges,
    by_ranges: bool,
    /// Networks have been read: it is too late for `ranges`.
    by_nets: bool,
}

impl Reader {
    fn line(&mut self, line: &Directive, env: &mut Env) -> Result<(), Error> {
        if line.block.is_some() {
            return Err(line.error("unexpected \"{\""));
        }
        match (&line.name.text[..], &line.args[..]) {
            (b"ranges", []) if self.by_nets => Err(line.error(
                "the \"ranges\" directive must be the first directive inside \"geo\" block",
            )),
            (b"ranges", []) => {
                self.by_ranges = true;
                Ok(())
            }
            (b"proxy_recursive", []) => {
                self.table.proxy_recursive = true;
                Ok(())
            }
            (b"volatile", []) => {
                self.table.volatile = true;
                Ok(())
            }
            (b"proxy", [net]) => {
                self.table.proxies.nets.push(network(net, env)?);
                Ok(())
            }
            (_, [value]) if self.by_ranges => self.range(&line.name, value, env),
            (_, [value]) => self.net(&line.name, value, env),
            _ => Err(line.error("invalid number of the geo parameters")),
        }
    }

    /// The number of a value; equal ones share it.
    fn number(&mut self, value: &[u8]) -> usize {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let value: Arc<[u8]> = value.into();
        self.table.values.push(value.clone());
        self.numbers.insert(value, self.table.values.len() - 1);
        self.table.values.len() - 1
    }

    /// A value for messages.
    fn shown(&self, number: usize) -> String {
        self.table
            .values
            .get(number)
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .unwrap_or_default()
    }

    /// `default value`, `network value`, `delete network`.
    fn net(&mut self, key: &Word, value: &Word, env: &mut Env) -> Result<(), Error> {
        self.by_nets = true;
        if key.text == b"delete" {
            if self.table.nets.remove(&network(value, env)?).is_none() {
                let shown = value.lossy();
                env.warn(value.error(format_args!("no network \"{shown}\" to delete")));
            }
            return Ok(());
        }
        let nets = match &key.text[..] {
            b"default" => {
                let anywhere: [IpAddr; 2] =
                    [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
                anywhere.iter().filter_map(|address| IpNet::new(*address, 0).ok()).collect()
            }
            _ => vec![network(key, env)?],
        };
        let number = self.number(&value.text);
        for net in nets {
            if let Some(old) = self.table.nets.insert(net, number) {
                self.warn("network", key, value, old, env);
            }
        }
        Ok(())
    }

    /// `default value`, `first-last value`, `delete first-last`.
    fn range(&mut self, key: &Word, value: &Word, env: &mut Env) -> Result<(), Error> {
        if key.text == b"delete" {
            let (first, last) = range(value)?;
            if !self.ranges.delete(first, last) {
                let shown = value.lossy();
                env.warn(value.error(format_args!("no address range \"{shown}\" to delete")));
            }
            return Ok(());
        }
        if key.text == b"default" {
            let number = self.number(&value.text);
            if let Some(old) = self.table.default.replace(number) {
                let (shown, old) = (value.lossy(), self.shown(old));
                env.warn(value.error(format_args!(
                    "duplicate default geo range value: \"{shown}\", old value: \"{old}\""
                )));
            }
            return Ok(());
        }
        let (first, last) = range(key)?;
        let number = self.number(&value.text);
        match self.ranges.add(first, last, number) {
            Ok(()) => {}
            Err(Clash::Replaced(old)) => self.warn("range", key, value, old, env),
            Err(Clash::Overlaps(first, last)) => {
                let shown = key.lossy();
                return Err(
                    key.error(format_args!("range \"{shown}\" overlaps \"{first}-{last}\""))
                );
            }
        }
        Ok(())
    }

    fn warn(&self, what: &str, key: &Word, value: &Word, old: usize, env: &mut Env) {
        let (key_shown, value, old) = (key.lossy(), value.lossy(), self.shown(old));
        env.warn(key.error(format_args!(
            "duplicate {what} \"{key_shown}\", value: \"{value}\", old value: \"{old}\""
        )));
    }

    fn finish(self) -> Table {
        let mut table = self.table;
        let lengths = |v4: bool| {
            let nets = table.nets.keys().filter(|net| matches!(net, IpNet::V4(_)) == v4);
            nets.map(IpNet::prefix_len).collect::<BTreeSet<_>>().into_iter().rev().collect()
        };
        (table.v4_lengths, table.v6_lengths) = (lengths(true), lengths(false));
        table.ranges = self.ranges.finish();
        table
    }
}

fn network(word: &Word, env: &mut Env) -> Result<IpNet, Error> {
    let shown = word.lossy();
    let parsed = cidr::parse(&word.text);
    let cidr = parsed.ok_or_else(|| word.error(format_args!("invalid network \"{shown}\"")))?;
    if cidr.low_bits {
        env.warn(word.error(format_args!("low address bits of {shown} are meaningless")));
    }
    Ok(cidr.net)
}

/// `first-last`. nginx takes the very last address for none.
fn range(word: &Word) -> Result<(u32, u32), Error> {
    let parse = |text| cidr::parse_v4(text).map(Ipv4Addr::to_bits).filter(|bits| *bits != u32::MAX);
    let ends = || {
        let dash = memchr::memchr(b'-', &word.text)?;
        Some((parse(&word.text[..dash])?, parse(&word.text[dash + 1..])?))
    };
    let ends = ends().filter(|(first, last)| first <= last);
    ends.ok_or_else(|| word.error(format_args!("invalid range \"{}\"", word.lossy())))
}
