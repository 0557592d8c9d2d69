//! Owns variables that the configuration computes, such as those of `map`: a value is computed when it
//! is first read and kept for the request, in the variable's slot, where `set` may replace it.
//!
//! Must not know how any of them is computed; the modules that define them do.

use super::finish::Finish;
use super::modules::geo::Geo;
use super::modules::map::Map;
use super::modules::split_clients::Split;
use super::request::Request;
use super::template::Template;
use super::vars;
use crate::conf::{Error, Word};
use std::collections::{BTreeSet, VecDeque};

/// How many computed variables may need one another in a row.
const DEPTH: usize = 100;

/// A variable that the configuration computes.
#[derive(Debug)]
pub struct Computed {
    name: Word,
    /// Where a request keeps the value, or what `set` has put in its place.
    slot: usize,
    /// Computed again each time it is read.
    volatile: bool,
    how: How,
}

/// What computes it.
#[derive(Debug)]
pub enum How {
    Map(Map),
    Split(Split),
    Geo(Geo),
}

impl Computed {
    /// What computes it.
    #[cfg(test)]
    pub fn how(&self) -> &How {
        &self.how
    }
}

impl How {
    fn append(&self, req: &Request, out: &mut Vec<u8>) {
        match self {
            Self::Map(map) => map.append(req, out),
            Self::Split(split) => split.append(req, out),
            Self::Geo(geo) => geo.append(req, out),
        }
    }

    /// What is evaluated each time.
    fn source(&self) -> &Template {
        match self {
            Self::Map(map) => map.source(),
            Self::Split(split) => split.source(),
            Self::Geo(geo) => geo.source(),
        }
    }

    /// Values of which one may be evaluated.
    fn values(&self) -> &[Template] {
        match self {
            Self::Map(map) => map.values(),
            Self::Split(_) | Self::Geo(_) => &[],
        }
    }
}

/// The name in `$name`, as the directives that define a variable take it.
pub fn name_of(word: &Word) -> Result<Word, Error> {
    match word.text.strip_prefix(b"$") {
        Some(name) if !name.is_empty() => Ok(Word { text: name.to_vec(), ..word.clone() }),
        _ => Err(word.error(format_args!("invalid variable name \"{}\"", word.lossy()))),
    }
}

/// Makes a name known before anything that may use it is compiled.
pub fn define(name: &Word, cx: &mut Finish) {
    let text = name.lossy().to_ascii_lowercase();
    if vars::rows().any(|row| row.name == text && !text.ends_with('_')) {
        cx.report(name.error(format_args!("the duplicate \"{text}\" variable")));
    }
    cx.names.define_computed(&text);
}

/// Keeps a variable whose name has been defined. A second one of the same name takes its place.
pub fn keep(name: &Word, volatile: bool, how: How, cx: &mut Finish) {
    let (slot, at) = cx.names.define_computed(&name.lossy());
    if cx.computed.len() <= at {
        cx.computed.resize_with(at + 1, || None);
    }
    if let Some(place) = cx.computed.get_mut(at) {
        *place = Some(Computed { name: name.clone(), slot, volatile, how });
    }
}

/// Appends a variable's value. False when it would need itself.
pub fn append(req: &Request, at: usize, out: &mut Vec<u8>) -> bool {
    let Some(variable) = req.snapshot.computed.get(at) else { return false };
    if vars::slot_value(req, variable.slot, out) {
        return true;
    }
    let depth = req.depth.get();
    if depth == DEPTH {
        let name = variable.name.lossy();
        req.log_error(format_args!("cycle while evaluating variable \"{name}\""));
        return false;
    }
    let start = out.len();
    req.depth.set(depth + 1);
    variable.how.append(req, out);
    req.depth.set(depth);
    if !variable.volatile {
        req.slots.set(variable.slot, out.get(start..).map(<[u8]>::to_vec));
    }
    true
}

/// Refuses variables that always need themselves, and warns of those that may: nginx finds out when a
/// request comes.
pub fn check_cycles(cx: &mut Finish) {
    let needs = |at: &Option<Computed>, values: bool| -> BTreeSet<usize> {
        let Some(Computed { how, .. }) = at else { return BTreeSet::new() };
        let values = if values { how.values() } else { &[] };
        how.source().computed().chain(values.iter().flat_map(Template::computed)).collect()
    };
    let always: Vec<_> = cx.computed.iter().map(|at| needs(at, false)).collect();
    let perhaps: Vec<_> = cx.computed.iter().map(|at| needs(at, true)).collect();
    for at in 0..always.len() {
        // Each cycle is told once, by the first of its variables.
        let first = |cycle: &Vec<usize>| cycle.iter().min() == Some(&at);
        if let Some(cycle) = cycle(&always, at) {
            if first(&cycle) {
                report(&cycle, true, cx);
            }
        } else if let Some(cycle) = cycle(&perhaps, at).filter(first) {
            report(&cycle, false, cx);
        }
    }
}

/// The shortest way from a variable to itself, if there is one; the variable comes first.
fn cycle(needs: &[BTreeSet<usize>], start: usize) -> Option<Vec<usize>> {
    let mut came_from = vec![None; needs.len()];
    let mut waiting = VecDeque::from([start]);
    while let Some(at) = waiting.pop_front() {
        for &next in needs.get(at)? {
            if next == start {
                let mut way = vec![at];
                while let Some(before) = way.last().and_then(|last| *came_from.get(*last)?) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            let place = came_from.get_mut(next)?;
            if place.is_none() {
                *place = Some(at);
                waiting.push_back(next);
            }
        }
    }
    None
}

fn report(cycle: &[usize], always: bool, cx: &mut Finish) {
    let variable = |at: &usize| cx.computed.get(*at)?.as_ref();
    let Some(first) = cycle.first().and_then(variable) else { return };
    let names = cycle.iter().chain(cycle.first()).filter_map(variable);
    let way: Vec<_> = names.map(|variable| format!("${}", variable.name.lossy())).collect();
    let (way, name) = (way.join(" -> "), first.name.lossy());
    if always {
        let message = format_args!("cycle while evaluating variable \"{name}\"");
        let error = first.name.error(message).with_help(format!("it needs itself: {way}"));
        cx.report(error);
    } else {
        let message = format_args!("variable \"{name}\" needs itself for some values: {way}");
        let warning = first.name.error(message);
        cx.env.warn(warning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[&[usize]]) -> Vec<BTreeSet<usize>> {
        edges.iter().map(|edges| edges.iter().copied().collect()).collect()
    }

    #[test]
    fn the_shortest_cycle_is_found() {
        let needs = graph(&[&[1], &[2, 0], &[0], &[3], &[0]]);
        assert_eq!(cycle(&needs, 0), Some(vec![0, 1]));
        assert_eq!(cycle(&needs, 2), Some(vec![2, 0, 1]));
        assert_eq!(cycle(&needs, 3), Some(vec![3]));
        assert_eq!(cycle(&needs, 4), None);
        assert_eq!(cycle(&graph(&[&[]]), 0), None);
    }
}
