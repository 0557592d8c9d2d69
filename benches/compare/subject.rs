//! Owns the proxies that are compared: how each is configured, started and stopped.
//! Must not measure.

use crate::{Outcome, load, process};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    /// nginx with `proxy_buffers` that hold the large answer.
    NginxBuffers,
    Haproxy,
    Proxyd,
    Relay,
}

/// A proxy that can be started.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: &'static str,
    pub kind: Kind,
    pub program: PathBuf,
}

/// A proxy that runs, with its files; stopped when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub pids: Vec<Pid>,
    child: Child,
    dir: tempfile::TempDir,
}

/// Addresses in the configurations below, to be replaced.
const LISTEN: &str = "127.0.0.1:8000";
const ORIGIN: &str = "127.0.0.1:9000";

/// nginx makes all its temporary directories, and Debian's are where only root may make them.
const NGINX_ONLY: &str = "http {
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
";

impl Subject {
    fn configuration(&self) -> String {
        match self.kind {
            Kind::Nginx => include_str!("nginx.conf").replacen("http {\n", NGINX_ONLY, 1),
            Kind::NginxBuffers => {
                let larger = format!("{NGINX_ONLY}    proxy_buffers 16 16k;\n");
                include_str!("nginx.conf").replacen("http {\n", &larger, 1)
            }
            Kind::Proxyd => include_str!("nginx.conf").to_owned(),
            Kind::Haproxy => include_str!("haproxy.cfg").to_owned(),
            Kind::Relay => String::new(),
        }
    }

    fn command(&self, dir: &Path, listen: SocketAddr, origin: SocketAddr) -> Outcome<Command> {
        let (listen, origin) = (listen.to_string(), origin.to_string());
        let text = self.configuration().replace(LISTEN, &listen).replace(ORIGIN, &origin);
        let conf = dir.join("proxy.conf");
        std::fs::write(&conf, text)?;
        let files = dir.join("files");
        std::fs::create_dir(&files)?;
        std::fs::write(files.join("small"), vec![b'x'; 1024])?;
        std::fs::write(files.join("huge"), vec![b'x'; crate::origin::HUGE])?;
        let mut command = leashed(&self.program)?;
        match self.kind {
            Kind::Nginx | Kind::NginxBuffers | Kind::Proxyd => {
                command.arg("-p").arg(dir).arg("-c").arg(conf).args(["-e", "error.log"])
            }
            Kind::Haproxy => command.arg("-db").arg("-f").arg(conf),
            Kind::Relay => command.args(["relay", &listen, &origin]),
        };
        Ok(command)
    }

    /// Starts on one core and waits until it answers.
    pub fn start(&self, core: usize, origin: SocketAddr) -> Outcome<Running> {
        let dir = tempfile::tempdir()?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut command = self.command(dir.path(), address, origin)?;
        let output = std::fs::File::create(dir.path().join("output"))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = on_core(core, || command.spawn())?;
        let root = Pid::from_raw(i32::try_from(child.id())?);
        let mut running = Running { address, pids: vec![root], child, dir };
        if let Err(e) = running.wait_for_answer() {
            let said = ["output", "error.log"].map(|name| {
                std::fs::read_to_string(running.dir.path().join(name)).unwrap_or_default()
            });
            return Err(format!("{} does not serve: {e}\n{}", self.name, said.concat()).into());
        }
        running.pids = process::tree(root)?;
        Ok(running)
    }
}

impl Running {
    /// There is no common way to tell readiness, so it is asked for until there is an answer.
    fn wait_for_answer(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let work = load::Work::small(self.address, 1);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            match load::idle(&work) {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > deadline => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Whether the processes are still those that were there at the start.
    pub fn check(&self) -> Outcome<()> {
        let root = Pid::from_raw(i32::try_from(self.child.id())?);
        if process::tree(root)? == self.pids {
            return Ok(());
        }
        Err("processes of a proxy came or went while it was measured".into())
    }
}

impl Drop for Running {
    /// TERM to the first process, which ends the others; KILL to all when that took too long.
    fn drop(&mut self) {
        if let Some(pid) = self.pids.first() {
            let _ = kill(*pid, Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in &self.pids {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A command that ends when this process does, however that ends: see `leash`.
pub fn leashed(program: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("leash").arg(program);
    Ok(command)
}

/// Asks for TERM at the parent's death and becomes the program.
pub fn leash(program: &str, arguments: &[&str]) -> std::io::Error {
    match nix::sys::prctl::set_pdeathsig(Signal::SIGTERM) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(e) => e.into(),
    }
}

/// Calls `start` on one core, which a process that it starts inherits.
pub fn on_core<T>(core: usize, start: impl FnOnce() -> std::io::Result<T>) -> Outcome<T> {
    let here = Pid::from_raw(0);
    let back = sched_getaffinity(here)?;
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(here, &set)?;
    let started = start();
    sched_setaffinity(here, &back)?;
    Ok(started?)
}
