//! Turns a fresh process into a worker: limits and priority first, while it still may, then the
//! user for good, then the doors closed behind it.

use crate::ipc::Settings;
use crate::log::os_error;
use crate::sys::{identity, process};

/// Applies the settings in the only order that works. The result is what could not be had but is no
/// reason not to serve, for the log; an error is fatal, because going on would mean to serve with
/// privileges that should be gone.
pub fn become_worker(settings: &Settings) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    let mut note = |what: String, result: std::io::Result<()>| {
        if let Err(error) = result {
            notes.push(format!("{what} failed{}", os_error(&error)));
        }
    };
    if settings.priority != 0 {
        let nice = settings.priority;
        note(format!("setpriority({nice})"), process::set_priority(nice));
    }
    if let Some(limit) = settings.nofile {
        note(format!("setrlimit(RLIMIT_NOFILE, {limit})"), process::set_nofile(limit));
    }
    if let Some(limit) = settings.core {
        note(format!("setrlimit(RLIMIT_CORE, {limit})"), process::set_core(limit));
    }
    if !settings.affinity.is_empty() {
        note("sched_setaffinity()".to_owned(), process::set_affinity(&settings.affinity));
    }
    drop_privileges(settings)?;
    if let Some(path) = &settings.directory {
        let failed = |error| format!("chdir(\"{}\") failed{}", path.display(), os_error(&error));
        std::env::set_current_dir(path).map_err(failed)?;
    }
    Ok(notes)
}

fn drop_privileges(settings: &Settings) -> Result<(), String> {
    if let Some(wanted) = &settings.identity {
        let failed = |error| {
            format!("setuid({}), setgid({}) failed{}", wanted.uid, wanted.gid, os_error(&error))
        };
        identity::drop_to(wanted).map_err(failed)?;
    }
    identity::no_new_privs()
        .map_err(|error| format!("prctl(PR_SET_NO_NEW_PRIVS) failed{}", os_error(&error)))?;
    // Who asks for core files wants a process that can be dumped.
    if settings.core.is_none_or(|limit| limit == 0) {
        identity::not_dumpable()
            .map_err(|error| format!("prctl(PR_SET_DUMPABLE) failed{}", os_error(&error)))?;
    }
    Ok(())
}
