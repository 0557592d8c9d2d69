//! The directives of the main context and of `events {}`: rows and setters.
//!
//! A setter puts what is written into the draft and touches nothing else.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::draft::Draft;
use super::process::{Affinity, LogTarget, User};
use crate::conf::values::{self, once, verdict};
use crate::conf::{Action, Args, Contexts, Directive, Env, Error, Row, Word};
use crate::http;
use crate::log::{Level, syslog};

const MAIN: Contexts = Contexts::MAIN;
const EVENTS: Contexts = Contexts::EVENTS;

/// A row, as short as a table wants it.
const fn row(
    name: &'static str,
    contexts: Contexts,
    args: Args,
    action: Action<Draft>,
    doc: &'static str,
) -> Row<Draft> {
    Row { name, contexts, args, doc, action }
}

/// The directives of the main context and of `events {}`.
#[rustfmt::skip]
pub static DIRECTIVES: &[Row<Draft>] = &[
    row("user", MAIN, Args::Between(1, 2), Action::Set(user),
        "User, and group, that worker processes run as; the group's default is the user's name."),
    row("worker_processes", MAIN, Args::Exactly(1), Action::Set(worker_processes),
        "Number of worker processes; `auto` is the number of CPUs this process may use, control groups considered."),
    row("worker_rlimit_nofile", MAIN, Args::Exactly(1), Action::Set(|d, dir, _| values::number(&mut d.rlimit_nofile, dir)),
        "Open files a worker process may have."),
    row("worker_rlimit_core", MAIN, Args::Exactly(1), Action::Set(|d, dir, _| values::offset(&mut d.rlimit_core, dir)),
        "Largest core file of a worker process."),
    row("worker_shutdown_timeout", MAIN, Args::Exactly(1), Action::Set(|d, dir, _| values::msec(&mut d.shutdown_timeout, dir)),
        "How long a leaving worker process may finish its connections; what is left is closed one by one in the last fifth of that time."),
    row("worker_cpu_affinity", MAIN, Args::AtLeast(1), Action::Set(worker_cpu_affinity),
        "CPUs each worker process is bound to, as bit masks, or `auto` for one CPU each."),
    row("worker_priority", MAIN, Args::Exactly(1), Action::Set(worker_priority),
        "Nice value of the worker processes."),
    row("daemon", MAIN, Args::Flag, Action::Set(|d, dir, _| values::flag(&mut d.daemon, dir)),
        "Whether to go into the background."),
    row("master_process", MAIN, Args::Flag, Action::Set(|d, dir, _| values::flag(&mut d.master_process, dir)),
        "Whether to start worker processes; `off` is one process that serves, for debugging."),
    row("pid", MAIN, Args::Exactly(1), Action::Set(|d, dir, _| values::path(&mut d.pid, dir)),
        "File that holds the process id of the master."),
    row("control", MAIN, Args::Exactly(1), Action::Set(control),
        "Unix socket of the control API; the default is the `pid` file's name with `.ctl` added."),
    row("runtime_state", MAIN, Args::Exactly(1), Action::Set(runtime_state),
        "File that keeps what was switched while the server ran; the default is the `pid` file's name with `.state` added."),
    row("working_directory", MAIN, Args::Exactly(1), Action::Set(|d, dir, _| values::path(&mut d.working_directory, dir)),
        "Directory of the worker processes, where core files go."),
    row("env", MAIN, Args::Exactly(1), Action::Set(environment),
        "Environment variable that worker processes keep, or get with this value."),
    row("error_log", MAIN, Args::Between(1, 2), Action::Set(error_log),
        "File, `stderr` or `syslog:` server, for messages of this level and above; may be given several times."),
    row("upgrade_watch", MAIN, Args::Exactly(1), Action::Set(|d, dir, _| values::msec(&mut d.upgrade_watch, dir)),
        "How long `-s upgrade` compares both versions before the old one retires; 0 is not at all (default 10s)."),
    row("upgrade_timeout", MAIN, Args::Exactly(1), Action::Set(upgrade_timeout),
        "How long an upgrade waits for the new version to be ready (default 30s)."),
    row("upgrade_rollback_window", MAIN, Args::Exactly(1), Action::Set(|d, dir, _| values::msec(&mut d.upgrade_rollback_window, dir)),
        "How long after `-s upgrade` the old version takes over again if the new one dies (default 60s)."),
    row("max_draining_generations", MAIN, Args::Exactly(1), Action::Set(max_draining_generations),
        "How many replaced generations may finish their connections at the same time (default 8)."),
    row("events", MAIN, Args::None, Action::Block(events),
        "Holds what concerns the handling of connections."),
    row("http", MAIN, Args::None, Action::Block(http_block),
        "Holds the HTTP servers."),
    row("load_module", MAIN, Args::Exactly(1), Action::Set(load_module),
        "Accepted without effect for nginx's own modules: what is here is built in."),
    row("stream", MAIN, Args::None, Action::NotYet, "Not supported yet: servers for TCP and UDP are not built yet."),
    row("mail", MAIN, Args::None, Action::NotYet, "Holds the mail servers."),
    row("lock_file", MAIN, Args::Exactly(1), Action::NoEffect, "There is no accept mutex to lock."),
    row("timer_resolution", MAIN, Args::Exactly(1), Action::NoEffect, "Time is read when it is needed."),
    row("pcre_jit", MAIN, Args::Flag, Action::NoEffect, "Patterns are always compiled."),
    row("thread_pool", MAIN, Args::AtLeast(2), Action::NoEffect, "File operations have their own threads."),
    row("ssl_engine", MAIN, Args::Exactly(1), Action::NotYet, "Hardware for TLS."),
    row("ssl_object_cache_inheritable", MAIN, Args::Flag, Action::NoEffect, "Certificates are read with the configuration."),
    row("debug_points", MAIN, Args::Exactly(1), Action::NoEffect, "For debugging nginx itself."),
    row("quic_bpf", MAIN, Args::Flag, Action::NotYet, "Routing of QUIC packets with eBPF."),
    row("google_perftools_profiles", MAIN, Args::Exactly(1), Action::NoEffect, "For profiling nginx itself."),
    row("worker_connections", EVENTS, Args::Exactly(1), Action::Set(worker_connections),
        "Connections a worker process may have at once, those to upstream servers included."),
    row("use", EVENTS, Args::Exactly(1), Action::Set(event_method),
        "Accepted without effect: connections are always handled with epoll."),
    row("multi_accept", EVENTS, Args::Flag, Action::NoEffect, "Connections are accepted as they come."),
    row("accept_mutex", EVENTS, Args::Flag, Action::NoEffect, "Workers accept side by side."),
    row("accept_mutex_delay", EVENTS, Args::Exactly(1), Action::NoEffect, "Workers accept side by side."),
    row("debug_connection", EVENTS, Args::Exactly(1), Action::NoEffect, "There are no debug lines for single clients."),
    row("worker_aio_requests", EVENTS, Args::Exactly(1), Action::NoEffect, "Files are read without Linux AIO."),
    row("epoll_events", EVENTS, Args::Exactly(1), Action::NoEffect, "The number of events taken at once adapts."),
];

fn user(draft: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    once(&draft.user, dir)?;
    draft.user_written = true;
    if !draft.machine.superuser {
        env.warn(dir.error(
            "the \"user\" directive makes sense only if the master process runs with super-user \
             privileges, ignored",
        ));
        return Ok(());
    }
    let name = dir.arg(0).str()?;
    let Some((uid, _)) = (draft.machine.user)(name) else {
        return Err(dir.arg(0).error(format_args!("getpwnam(\"{name}\") failed")));
    };
    let group_word = dir.args.get(1).unwrap_or(dir.arg(0));
    let group = group_word.str()?;
    let Some(gid) = (draft.machine.group)(group) else {
        let error = group_word.error(format_args!("getgrnam(\"{group}\") failed"));
        return Err(
            error.with_help("the group is the second argument; without one it has the user's name")
        );
    };
    draft.user = Some(User { name: name.to_owned(), uid, gid });
    Ok(())
}

fn worker_processes(draft: &mut Draft, dir: &Directive, _: &mut Env<'_>) -> Result<(), Error> {
    /// The shared counters have this many slots; nginx's limit on processes is 1024.
    const MOST: usize = 512;
    once(&draft.workers, dir)?;
    let word = dir.arg(0);
    if word.text == b"auto" {
        draft.workers = Some(draft.machine.cpus.clamp(1, MOST));
        return Ok(());
    }
    let number = values::parse_number(&word.text).and_then(|n| usize::try_from(n).ok());
    let Some(number) = number.filter(|n| (1..=MOST).contains(n)) else {
        let error = verdict(dir, "invalid value");
        return Err(error.with_help(format!("a number from 1 to {MOST}, or auto")));
    };
    draft.workers = Some(number);
    Ok(())
}

fn worker_connections(draft: &mut Draft, dir: &Directive, _: &mut Env<'_>) -> Result<(), Error> {
    once(&draft.worker_connections, dir)?;
    let word = dir.arg(0);
    let number = values::parse_number(&word.text).and_then(|n| usize::try_from(n).ok());
    let invalid = || word.error(format_args!("invalid number \"{}\"", word.lossy()));
    draft.worker_connections = Some(number.filter(|n| *n > 0).ok_or_else(invalid)?);
    Ok(())
}

fn upgrade_timeout(draft: &mut Draft, dir: &Directive, _: &mut Env<'_>) -> Result<(), Error> {
    values::msec(&mut draft.upgrade_timeout, dir)?;
    if draft.upgrade_timeout.is_some_and(|time| time.is_zero()) {
        return Err(verdict(dir, "invalid value").with_help("a time above 0"));
    }
    Ok(())
}

fn max_draining_generations(
    draft: &mut Draft,
    dir: &Directive,
    _: &mut Env<'_>,
) -> Result<(), Error> {
    values::number(&mut draft.max_draining, dir)?;
    if draft.max_draining == Some(0) {
        return Err(verdict(dir, "invalid value").with_help("at least 1"));
    }
    Ok(())
}

fn worker_priority(draft: &mut Draft, dir: &Directive, _: &mut Env<'_>) -> Result<(), Error> {
    once(&draft.priority, dir)?;
    let text = dir.arg(0).text.as_slice();
    let (sign, digits) = match text.split_first() {
        Some((b'-', rest)) => (-1, rest),
        Some((b'+', rest)) => (1, rest),
        _ => (1, text),
    };
    let number = values::parse_number(digits).and_then(|n| i32::try_from(n).ok());
    draft.priority = Some(sign * number.ok_or_else(|| verdict(dir, "invalid number"))?);
    Ok(())
}

fn worker_cpu_affinity(draft: &mut Draft, dir: &Directive, _: &mut Env<'_>) -> Result<(), Error> {
    once(&draft.affinity, dir)?;
    draft.affinity_span = dir.name.span;
    if dir.arg(0).text != b"auto" {
        let masks = dir.args.iter().map(|word| mask(word, dir)).collect::<Result<_, _>>()?;
        draft.affinity = Some(Affinity::Masks(masks));
        return Ok(());
    }
    let cpus = match dir.args.as_slice() {
        [_] => (0..draft.machine.cpus).collect(),
        [_, allowed] => mask(allowed, dir)?,
        _ => {
            let name = dir.name_str();
            let text = format_args!("invalid number of arguments in \"{name}\" directive");
            return Err(dir.error(text));
        }
    };
    draft.affinity = Some(Affinity::Auto(cpus));
    Ok(())
}

/// A bit mask written with the first CPU last, as `0101`.
fn mask(word: &Word, dir: &Directive) -> Result<Vec<usize>, Error> {
    /// glibc's `CPU_SETSIZE`.
    const MOST: usize = 1024;
    let name = dir.name_str();
    if word.text.len() > MOST {
        return Err(word.error(format_args!("\"{name}\" supports up to {MOST} CPUs only")));
    }
    let mut cpus = Vec::new();
    let digits = word.text.iter().rev().filter(|byte| **byte != b' ');
    for (cpu, byte) in digits.enumerate() {
        match byte {
            b'0' => {}
            b'1' => cpus.push(cpu),
            other => {
                let shown = char::from(*other);
                let text = format_args!("invalid character \"{shown}\" in \"{name}\"");
                return Err(word.error(text));
            }
        }
    }
    Ok(cpus)
}

fn control(draft: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    /// Room for a path in `sockaddr_un`, its end mark left out.
    const LONGEST: usize = 107;
    let word = dir.arg(0);
    let bytes = word.text.strip_prefix(b"unix:").unwrap_or(&word.text);
    once(&draft.control, dir)?;
    let path = env.prefix.join(OsStr::from_bytes(bytes));
    if path.as_os_str().len() > LONGEST {
        let shown = path.display();
        return Err(word.error(format_args!("too long path in the unix domain socket \"{shown}\"")));
    }
    draft.control = Some(path);
    Ok(())
}

fn runtime_state(draft: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    once(&draft.runtime_state, dir)?;
    let path = env.prefix.join(OsStr::from_bytes(&dir.arg(0).text));
    if path.file_name().is_none() {
        return Err(verdict(dir, "invalid value").with_help("the name of a file"));
    }
    draft.runtime_state = Some(path);
    Ok(())
}

// Every setter has this shape, this one cannot fail.
#[allow(clippy::unnecessary_wraps)]
fn environment(draft: &mut Draft, dir: &Directive, _: &mut Env<'_>) -> Result<(), Error> {
    draft.environment.push(OsString::from_vec(dir.arg(0).text.clone()));
    Ok(())
}

fn error_log(draft: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    let target = dir.arg(0);
    if target.text.starts_with(b"memory:") {
        return Err(target.error("\"error_log memory:\" is not supported yet"));
    }
    let level = match dir.args.get(1) {
        None => Level::Error,
        Some(word) => {
            let invalid = || word.error(format_args!("invalid log level \"{}\"", word.lossy()));
            Level::parse(&word.lossy()).ok_or_else(invalid)?
        }
    };
    let file = if target.text == b"stderr" {
        None
    } else {
        let resolve = |name: &str| env.world.resolve(name).ok()?.first().copied();
        let name = syslog::log_name(&target.text, &env.prefix, resolve);
        Some(name.map_err(|text| target.error(text))?)
    };
    draft.error_log.push(LogTarget { file, level });
    Ok(())
}

fn events(draft: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    if std::mem::replace(&mut draft.events, true) {
        return Err(verdict(dir, "is duplicate"));
    }
    super::read_block(draft, EVENTS, dir.block.as_deref().unwrap_or_default(), env);
    Ok(())
}

fn http_block(draft: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    once(&draft.http, dir)?;
    draft.http = Some(http::read(dir, env));
    Ok(())
}

fn event_method(draft: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    const KNOWN: [&[u8]; 6] = [b"epoll", b"poll", b"select", b"kqueue", b"eventport", b"/dev/poll"];
    once(&draft.event_method, dir)?;
    let word = dir.arg(0);
    if !KNOWN.contains(&word.text.as_slice()) {
        return Err(word.error(format_args!("invalid event type \"{}\"", word.lossy())));
    }
    draft.event_method = Some(());
    env.no_effect.entry("use".to_owned()).or_insert(dir.name.span);
    Ok(())
}

/// Distributions load nginx's dynamic modules by files that are included; they must not be an
/// obstacle. What such a module's directives would do is said when one of them is met.
fn load_module(_: &mut Draft, dir: &Directive, env: &mut Env<'_>) -> Result<(), Error> {
    let word = dir.arg(0);
    let path = env.prefix.join(OsStr::from_bytes(&word.text));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("ngx_") && name.ends_with("_module.so") {
        env.no_effect.entry("load_module".to_owned()).or_insert(dir.name.span);
        return Ok(());
    }
    let text = format_args!("dlopen() \"{}\" failed (modules cannot be loaded)", path.display());
    Err(word.error(text))
}
