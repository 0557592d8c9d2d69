//! What is to take over, and when it may: an order of the control API or a signal becomes a plan, or a
//! sentence that says why not.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::Master;
use super::event::{Event, Order};
use super::spawn::Launch;
use super::telling::Told;
use super::upgrade::not_executed;
use crate::control::upgrade::{Progress, Request};
use crate::handover;
use crate::log::{Level, os_error};
use crate::sys::exec::Program;
use crate::version;

/// A program that a rollback can go back to, with the configuration it ran with.
#[derive(Clone)]
pub(super) struct Previous {
    pub program: Rc<OwnedFd>,
    pub config: Rc<OwnedFd>,
    pub version: String,
    pub words: Vec<OsString>,
}

/// Which way a change of the program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Upgrade,
    Rollback,
}

impl Direction {
    /// As it is called in messages and in the status.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Upgrade => "upgrade",
            Direction::Rollback => "rollback",
        }
    }
}

/// What is to take over.
pub(super) struct Plan {
    pub direction: Direction,
    pub program: Program,
    /// What it is called in messages, and by its first word.
    pub path: PathBuf,
    pub words: Vec<OsString>,
    /// What it is to serve with instead of reading its configuration.
    pub config: Option<Rc<OwnedFd>>,
    pub version: Option<String>,
    pub canary: Option<usize>,
    pub manual: bool,
    pub foreign: bool,
}

impl Plan {
    fn new(direction: Direction, program: Program, path: PathBuf, words: Vec<OsString>) -> Plan {
        Plan {
            direction,
            program,
            path,
            words,
            config: None,
            version: None,
            canary: None,
            manual: false,
            foreign: false,
        }
    }
}

impl Master {
    /// `USR2`: the program that is now where this one was started from.
    pub(super) fn change_binary(&mut self) {
        let path = self.origin.clone();
        match open_program(&path)
            .and_then(|program| Ok((handover::understands(&program)?, program)))
        {
            Ok((understands, program)) => {
                let plan = Plan::new(Direction::Upgrade, program, path, self.words.clone());
                let plan = Plan { manual: true, foreign: !understands, ..plan };
                self.begin(plan, &Request::default());
            }
            Err(error) => drop(self.not_executed(&path, &error)),
        }
    }

    /// Whether `USR2` can be followed: a person has to be able to tell the old master and the new one
    /// apart, and there may be two of them but not three.
    pub(super) fn may_change_binary(&self) -> bool {
        self.daemon
            && !self.has_living_parent()
            && self.state.upgrade_refusal().is_none()
            && self.is_process()
    }

    fn is_process(&self) -> bool {
        matches!(self.launch, Launch::Exec(_))
    }

    /// An upgrade or a rollback was asked for over the control API.
    pub(super) fn order(
        &mut self,
        direction: Direction,
        request: &Request,
        reply: UnboundedSender<Progress>,
    ) {
        let is_rollback = direction == Direction::Rollback;
        if is_rollback && self.state.can_undo() && !request.dry_run {
            self.take(Event::Undo);
            let text = format!("rollback: {} goes on alone", version::PROXYD);
            let _ = reply.send(Progress { state: "done".to_owned(), text, code: Some(0) });
            return;
        }
        let refusal = self.state.upgrade_refusal().map(str::to_owned);
        let refusal = refusal.or_else(|| {
            (!self.is_process()).then(|| "not possible with \"master_process off\"".to_owned())
        });
        let plan = match refusal {
            Some(why) => Err(why),
            None if is_rollback => self.plan_rollback(),
            None => self.plan_upgrade(request),
        };
        match plan {
            Ok(plan) => {
                self.upgrading.watchers.push((reply, request.wait));
                self.begin(plan, request);
            }
            Err(why) => {
                let text = format!("{} {} -> ?: {why}", direction.name(), version::PROXYD);
                self.log().write(Level::Error, None, format_args!("{text}"));
                let _ = reply.send(Progress { state: "refused".to_owned(), text, code: Some(1) });
            }
        }
    }

    fn plan_upgrade(&self, request: &Request) -> Result<Plan, String> {
        let path = request.executable.clone().ok_or("no executable named")?;
        let program = Program::open(&path).map_err(|error| not_executed(&path, &error))?;
        let mut words = vec![path.clone().into_os_string()];
        match &request.arguments {
            Some(given) => words.extend(given.iter().map(OsString::from)),
            None => words.extend(self.words.iter().skip(1).cloned()),
        }
        let plan = Plan::new(Direction::Upgrade, program, path, words);
        Ok(Plan { canary: request.canary, ..plan })
    }

    /// What this master has replaced; after a restart, the file beside its own that was kept.
    fn plan_rollback(&self) -> Result<Plan, String> {
        let plan = |program: Program, words: Vec<OsString>| {
            let path = program.path().unwrap_or_default();
            Plan::new(Direction::Rollback, program, path, words)
        };
        let failed =
            |error: io::Error| format!("no previous generation can be used{}", os_error(&error));
        if let Some(previous) = &self.previous {
            let program = Program::from_fd(previous.program.try_clone().map_err(failed)?);
            let mut plan = plan(program, previous.words.clone());
            plan.config = Some(Rc::clone(&previous.config));
            plan.version = Some(previous.version.clone());
            return Ok(plan);
        }
        let mut name = self.origin.clone().into_os_string();
        name.push(".old");
        let path = PathBuf::from(name);
        match Program::open(&path) {
            Ok(program) => {
                // The first word stays: it says where the next program is expected.
                Ok(plan(program, self.words.clone()))
            }
            Err(_) => Err(format!(
                "no previous generation is held and \"{}\" does not exist",
                path.display()
            )),
        }
    }

    fn begin(&mut self, plan: Plan, request: &Request) {
        let settings = &self.current.process;
        let order = Order {
            manual: plan.manual,
            foreign: plan.foreign,
            dry_run: request.dry_run,
            patience: settings.upgrade_timeout,
            watch: request.watch.map_or(settings.upgrade_watch, Duration::from_millis),
            window: settings.upgrade_rollback_window,
        };
        let same = |own: &Program| own.inode().ok() == plan.program.inode().ok();
        if let Launch::Exec(own) = &self.launch
            && !plan.manual
            && same(own)
        {
            let text = "the executable is the one that runs already";
            self.log().write(Level::Notice, None, format_args!("{text}"));
        }
        self.upgrading.plan = Some(plan);
        self.upgrading.end.clear();
        self.upgrading.told = Told::default();
        self.take(Event::Upgrade(order));
    }
}

/// Opens what `USR2` means; what is no program at all, such as half a copy, is not even tried, because
/// nginx's order would show the pid file as that of an old master by then.
fn open_program(path: &Path) -> io::Result<Program> {
    let program = Program::open(path)?;
    let mut magic = [0; 4];
    let whole = program.contents()?.read_exact(&mut magic).is_ok();
    if whole && magic == *b"\x7fELF" { Ok(program) } else { Err(nix::Error::ENOEXEC.into()) }
}
