//! Owns what is said about what was measured, and the verdict on proxyd.

use crate::endurance::{self, Endurance};
use crate::loss::{self, Loss};
use crate::options::{Kind, Subject};
use crate::speed::{self, Speed};
use crate::table::{Table, longest, middle, middle_and_longest, ms, shares};
use crate::tally::Class;
use std::time::Duration;

/// What one server showed, if it could be measured.
pub type Column<T> = (Subject, Option<T>);

fn table<T>(title: String, columns: &[Column<T>]) -> Table {
    Table::new(title, columns.iter().map(|(subject, _)| subject.name).collect())
}

fn cells<T>(columns: &[Column<T>], cell: impl Fn(&T) -> String) -> Vec<String> {
    let cell = |(_, measured): &Column<T>| measured.as_ref().map_or("-".to_owned(), &cell);
    columns.iter().map(cell).collect()
}

/// How many, and what became of them.
fn failed(class: &Class) -> String {
    let kinds: Vec<String> =
        class.lost.iter().map(|(loss, count)| format!("{count} {loss}")).collect();
    match class.failed() {
        0 => "0".to_owned(),
        count => format!("{count} ({})", kinds.join(", ")),
    }
}

pub fn loss(columns: &[Column<Loss>]) {
    let count = loss::ROUNDS * loss::UPGRADES;
    let volume = loss::VOLUME;
    let title = format!(
        "{count} upgrades, {} keep-alive clients, {} new connections/s",
        volume.clients, volume.rate
    );
    let mut table = table(title, columns);
    let mut row = |name: &str, target, cell: fn(&Loss) -> String| {
        table.row(name, cells(columns, cell), target);
    };
    row("requests", "", |l| l.upgrades.requests().to_string());
    row("failed on new connections", "0", |l| failed(&l.upgrades.new));
    row("failed on kept-alive connections", "0", |l| failed(&l.upgrades.kept));
    row("told `Connection: close`", "", |l| l.upgrades.kept.told.to_string());
    row("closed while idle, noticed in time", "", |l| l.upgrades.kept.idle.to_string());
    row("longest gap between accepts in a calm while: median / longest, ms", "", |l| {
        middle_and_longest(&l.calm_gaps)
    });
    row("in that of an upgrade, ms", "", |l| middle_and_longest(&l.gaps));
    row("beyond a calm while, ms", "< 5", |l| {
        let beyond =
            |at: fn(&[Duration]) -> Duration| ms(at(&l.gaps).saturating_sub(at(&l.calm_gaps)));
        format!("{} / {}", beyond(middle), beyond(longest))
    });
    row("answer on a new connection without upgrades: median / 99.9 % / longest, ms", "", |l| {
        shares(&l.calm.new.times, &[500, 999, 1000])
    });
    row("with upgrades, ms", "", |l| shares(&l.upgrades.new.times, &[500, 999, 1000]));
    row("first answer of the new one: median / longest, ms", "", |l| middle_and_longest(&l.first));
    row("old processes gone: median / longest, ms", "", |l| middle_and_longest(&l.end));
    row("the clients' own delay without / with upgrades, ms", "", |l| {
        format!("{} / {}", ms(l.calm.late), ms(l.upgrades.late))
    });
    table.print();
}

pub fn speed(columns: &[Column<Speed>]) {
    let title = format!("an upgrade without load, {} times: median / longest, ms", speed::UPGRADES);
    let mut table = table(title, columns);
    let mut row = |name: &str, target, cell: fn(&Speed) -> String| {
        table.row(name, cells(columns, cell), target);
    };
    row("both answer, one server block", "< 50", |s| middle_and_longest(&s.first[0]));
    let more = speed::OTHERS[1];
    row(&format!("both answer, {more} more"), "< 1000", |s| middle_and_longest(&s.first[1]));
    row("the old one is told to go, one server block", "", |s| middle_and_longest(&s.done[0]));
    row(&format!("the old one is told to go, {more} more"), "", |s| middle_and_longest(&s.done[1]));
    let idle = speed::IDLE;
    row(&format!("old processes gone with {idle} idle clients, once"), "< 13000", |s| ms(s.end));
    row("idle clients that saw a reset", "0", |s| s.resets.to_string());
    table.print();
}

pub fn endurance(columns: &[Column<Endurance>]) {
    let title = format!("{} upgrades: at start / after some / at the end", endurance::UPGRADES);
    let mut table = table(title, columns);
    let mut row = |name: &str, target, cell: fn(&Endurance) -> String| {
        table.row(name, cells(columns, cell), target);
    };
    row("of these made to fail", "", |e| e.failing.to_string());
    row("requests", "", |e| e.seen.requests().to_string());
    row("failed on new connections", "0", |e| failed(&e.seen.new));
    row("failed on kept-alive connections", "0", |e| failed(&e.seen.kept));
    row("descriptors of the master", "no more", |e| {
        format!("{} / {} / {}", e.start.descriptors, e.warm.descriptors, e.end.descriptors)
    });
    row("its resident memory, KiB", "", |e| {
        format!("{} / {} / {}", e.start.resident, e.warm.resident, e.end.resident)
    });
    row("zombies below it", "0", |e| {
        format!("{} / {} / {}", e.start.zombies, e.warm.zombies, e.end.zombies)
    });
    row("processes of the server", "no more", |e| {
        format!("{} / {} / {}", e.start.processes, e.warm.processes, e.end.processes)
    });
    table.print();
}

/// Sentences about what proxyd missed; times are no part of it, they depend on the machine.
pub fn misses<T>(columns: &[Column<T>], missed: fn(&T) -> Option<String>) -> Vec<String> {
    let proxyd = columns.iter().filter(|(s, _)| matches!(s.kind, Kind::Proxyd { .. }));
    let miss = |(subject, measured): &Column<T>| {
        let what = match measured {
            Some(measured) => missed(measured)?,
            None => "could not be measured".to_owned(),
        };
        Some(format!("{}: {what}", subject.name))
    };
    proxyd.filter_map(miss).collect()
}

pub fn loss_missed(loss: &Loss) -> Option<String> {
    let failed = loss.upgrades.failed() + loss.calm.failed();
    (failed > 0).then(|| format!("{failed} failed requests"))
}

pub fn speed_missed(speed: &Speed) -> Option<String> {
    (speed.resets > 0).then(|| format!("{} idle clients saw a reset", speed.resets))
}

pub fn endurance_missed(endurance: &Endurance) -> Option<String> {
    let (start, warm, end) = (endurance.start, endurance.warm, endurance.end);
    let failed = endurance.seen.failed();
    let grown = end.descriptors > warm.descriptors || end.processes > start.processes;
    let missed = failed > 0 || grown || end.zombies > 0;
    missed.then(|| format!("{failed} failed requests, from {warm:?} to {end:?}"))
}
