//! The command line, as nginx's: what it says, and which of the program's lives begins with it.
//!
//! Must not know how a server runs; that is the master's and the worker's.

mod arguments;
mod compat;
mod contact;
mod ctl;
mod screen;
mod signal;
mod start;
mod status;
mod successor;
mod table;
mod upgrade;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::conf::{Disk, World};
use crate::config::{self, Line, Loaded, Options, Report};
use crate::log::{ErrorLog, Level, LogFile, os_error};
use crate::master::generation::machine;
use crate::sys::process::set_name;
use crate::{version, worker};

use arguments::Arguments;

/// Where the configuration is as long as the command line does not say it.
#[derive(Clone, Copy)]
struct Home {
    /// What relative names start from without `-p`.
    prefix: &'static str,
    /// The configuration file without `-c`, in the prefix.
    conf_file: &'static str,
}

impl Home {
    /// By the name the program was started under. A running nginx whose executable was replaced by
    /// this one starts it under its own name, and what it does not say it means as nginx does.
    fn of(name: Option<&OsString>) -> Home {
        let file = name.and_then(|name| Path::new(name).file_name());
        if file.is_some_and(|file| file == "nginx") {
            return Home { prefix: "/etc/nginx", conf_file: "nginx.conf" };
        }
        Home { prefix: "/etc/proxyd", conf_file: "proxyd.conf" }
    }
}

/// Runs the program to its end.
pub fn run() -> ExitCode {
    // A program that was run from a descriptor may bear a number for a name.
    let _ = set_name(c"proxyd");
    if let Some(channel) = worker::role() {
        return worker::main(channel);
    }
    let words: Vec<_> = std::env::args_os().collect();
    if let Some(rest) = ctl::words(&words) {
        return ctl::run(rest, &words);
    }
    if let Some(rest) = compat::words(&words) {
        return compat::run(rest);
    }
    match Arguments::parse(words.iter().skip(1).cloned()) {
        Ok(arguments) => dispatch(&arguments, &words),
        Err(error) => {
            eprintln!("proxyd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &Arguments, words: &[OsString]) -> ExitCode {
    let home = Home::of(words.first());
    if arguments.version {
        show_version(arguments, home);
        if !arguments.test {
            return ExitCode::SUCCESS;
        }
    }
    let options = options(arguments, home);
    if arguments.test {
        return test(arguments, &options);
    }
    match &arguments.signal {
        Some(request) => signal::send(*request, arguments, &options, home, &built_in_log(&options)),
        None => start::start(options, words),
    }
}

/// Resolves what was given against the prefix and the current directory, so that nothing depends on
/// the latter any more.
fn options(arguments: &Arguments, home: Home) -> Options {
    let prefix = arguments.prefix.as_deref().unwrap_or(Path::new(home.prefix));
    let prefix = std::path::absolute(prefix).unwrap_or_else(|_| prefix.to_owned());
    let conf_file = prefix.join(arguments.conf.as_deref().unwrap_or(Path::new(home.conf_file)));
    let error_log = arguments.error_log.as_deref().filter(|name| *name != Path::new("stderr"));
    Options {
        conf_file,
        globals: arguments.globals.clone(),
        error_log: error_log.map(|name| prefix.join(name)),
        control: arguments.control.as_ref().map(|name| prefix.join(name)),
        prefix,
    }
}

/// The log of the time before the configuration is known: a file of `-e`, and the terminal.
fn built_in_log(options: &Options) -> ErrorLog {
    let file = options.error_log.as_ref().and_then(|path| match LogFile::open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            let (path, cause) = (path.display(), os_error(&error));
            eprintln!(
                "proxyd: [alert] could not open error log file: open() \"{path}\" failed{cause}"
            );
            None
        }
    });
    let log = match file {
        Some(file) => ErrorLog::single(file.into(), Level::Notice),
        None => ErrorLog::new(Vec::new()),
    };
    log.with_console("proxyd")
}

/// Puts what was found in a configuration before the user and into the log.
fn tell(report: &Report, log: &ErrorLog) {
    eprint!("{}", report.text);
    for Line { fatal, text } in &report.lines {
        let level = if *fatal { Level::Emerg } else { Level::Warn };
        for target in log.targets().iter().filter(|target| target.file.path().is_some()) {
            ErrorLog::new(vec![target.clone()]).write(level, None, format_args!("{text}"));
        }
    }
}

fn load(world: &mut dyn World, options: &Options) -> Result<Loaded, Report> {
    config::load(world, options, machine())
}

/// `-t` and `-T`: reads and judges, and leaves no trace.
fn test(arguments: &Arguments, options: &Options) -> ExitCode {
    let file = options.conf_file.display();
    match load(&mut Disk, options) {
        Err(report) => {
            eprint!("{}", report.text);
            eprintln!("proxyd: configuration file {file} test failed");
            ExitCode::FAILURE
        }
        Ok(loaded) => {
            eprint!("{}", loaded.report.text);
            if !arguments.quiet {
                tell_no_effect(&loaded.no_effect);
                eprintln!("proxyd: the configuration file {file} syntax is ok");
                eprintln!("proxyd: configuration file {file} test is successful");
            }
            if arguments.dump && dump(&loaded.files).is_err() {
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
    }
}

fn tell_no_effect(directives: &[(String, String)]) {
    if directives.is_empty() {
        return;
    }
    eprintln!("proxyd: [notice] these directives are accepted and have no effect:");
    for (name, place) in directives {
        eprintln!("  {name} in {place}");
    }
}

fn dump(files: &[(PathBuf, Vec<u8>)]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (path, text) in files {
        writeln!(out, "# configuration file {}:", path.display())?;
        out.write_all(text)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Modules of nginx's default build that are not here, in the words of its `configure`.
const WITHOUT: &[&str] = &[
    "http_fastcgi",
    "http_uwsgi",
    "http_scgi",
    "http_grpc",
    "http_memcached",
    "http_browser",
    "http_tunnel",
];

/// Modules that nginx leaves out unless it is told to have them; all of these are here.
const WITH: &[&str] = &[
    "http_addition",
    "http_auth_request",
    "http_gunzip",
    "http_gzip_static",
    "http_random_index",
    "http_realip",
    "http_secure_link",
    "http_ssl",
    "http_stub_status",
    "http_sub",
    "http_v2",
];

fn show_version(arguments: &Arguments, home: Home) {
    if arguments.configure {
        eprintln!("proxyd version: proxyd/{}", version::PROXYD);
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let (arch, system) = (std::env::consts::ARCH, std::env::consts::OS);
        eprintln!("built for {arch}-{system} ({build})");
    }
    eprintln!("nginx version: {}", version::banner());
    if arguments.help {
        eprint!("{}", arguments::help(home.prefix, home.conf_file));
    }
    if arguments.configure {
        eprintln!("built with rustls (aws-lc-rs), compatible with OpenSSL 1.1.1");
        eprintln!("TLS SNI support enabled");
        let mut line = String::from("configure arguments:");
        for module in WITH {
            line.extend([" --with-", module, "_module"]);
        }
        for module in WITHOUT {
            line.extend([" --without-", module, "_module"]);
        }
        line.push_str(" --without-http-cache");
        eprintln!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_nginxs_name_files_are_where_nginx_has_them() {
        let conf_file = |name: &str| {
            let home = Home::of(Some(&name.into()));
            options(&Arguments::default(), home).conf_file
        };
        for name in ["nginx", "/usr/sbin/nginx", "./nginx"] {
            assert_eq!(conf_file(name), Path::new("/etc/nginx/nginx.conf"));
        }
        for name in ["proxyd", "/nginx/proxyd", "/usr/sbin/nginx.old", ""] {
            assert_eq!(conf_file(name), Path::new("/etc/proxyd/proxyd.conf"));
        }
        let here = Arguments { prefix: Some("/p".into()), ..Arguments::default() };
        let found = options(&here, Home::of(Some(&"nginx".into())));
        assert_eq!(found.conf_file, Path::new("/p/nginx.conf"));
    }
}
