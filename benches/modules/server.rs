//! Owns a server that is measured: how it is started, asked what it costs, and stopped.

use crate::{Outcome, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One worker under measurement; stopped when dropped.
pub struct Server {
    child: Child,
    pids: Vec<Pid>,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts it with this configuration, in which `LISTEN` stands for its address.
    pub fn start(program: &PathBuf, configuration: &str) -> Outcome<Server> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("logs"))?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let conf = dir.path().join("server.conf");
        std::fs::write(&conf, configuration.replace("LISTEN", &address.to_string()))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(dir.path()).arg("-c").arg(conf).args(["-e", "error.log"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Server { child, pids: Vec::new(), address, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.greet().is_err() {
            if Instant::now() > deadline {
                return Err("does not serve".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        server.pids = process::tree(Pid::from_raw(i32::try_from(server.child.id())?))?;
        Ok(server)
    }

    /// An answer, whatever it is: only a worker gives one.
    fn greet(&self) -> Outcome<()> {
        let mut stream = self.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        match stream.read(&mut [0; 1])? {
            0 => Err("no answer".into()),
            _ => Ok(()),
        }
    }

    pub fn connect(&self) -> Outcome<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Has it read its configuration again, as changed.
    pub fn reload(&self, configuration: &str) -> Outcome<()> {
        let text = configuration.replace("LISTEN", &self.address.to_string());
        std::fs::write(self.dir().join("server.conf"), text)?;
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGHUP)?)
    }

    /// CPU microseconds for each of so many requests.
    pub fn cost(&self, requests: u32, work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
        let before = process::cpu(&self.pids)?;
        work()?;
        let spent = process::cpu(&self.pids)?.saturating_sub(before);
        Ok(spent.as_secs_f64() * 1e6 / f64::from(requests))
    }

    /// Of the whole tree, in MiB.
    pub fn resident(&self) -> Outcome<f64> {
        Ok(f64::from(process::resident(&self.pids)?.kib) / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
