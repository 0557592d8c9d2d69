//! What the server says about itself: its generations, who is in them, and what is under way.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::Master;
use super::event::Id;
use super::spawn::Launch;
use super::survey::upstreams;
use crate::control::upgrade::{GenerationStatus, Reload, Status};
use crate::version;
use crate::zone::FLOODS;

impl Master {
    /// Answers as soon as the workers have.
    pub(super) fn tell_status(&mut self, reply: oneshot::Sender<Status>) {
        let (mut status, survey) = (self.status(), self.survey());
        tokio::task::spawn_local(async move {
            status.upstreams = upstreams(&survey.answers().await);
            let _ = reply.send(status);
        });
    }

    pub(super) fn status(&self) -> Status {
        self.sweep_counters();
        let executable = match &self.launch {
            Launch::Exec(program) => program.path().unwrap_or_default(),
            Launch::Here(_) => PathBuf::new(),
        };
        let word = |word: &std::ffi::OsString| word.to_string_lossy().into_owned();
        Status {
            version: version::PROXYD.to_owned(),
            pid: std::process::id(),
            generation: self.current.number,
            executable: executable.display().to_string(),
            arguments: self.words.iter().skip(1).map(word).collect(),
            prefix: self.options.prefix.clone(),
            configuration: self.options.conf_file.clone(),
            change: self.change_in_hand(),
            rollback: self.previous.as_ref().map(|previous| previous.version.clone()),
            generations: self.generations(),
            reload: self.last_reload.as_ref().map(|(at, outcome)| Reload {
                age: at.elapsed().as_secs(),
                done: outcome.done,
                logs: outcome.logs.clone(),
            }),
            switches: self.all_switches(),
            upstreams: Vec::new(),
            floods: FLOODS
                .map(|(flood, name)| (name.to_owned(), self.counters.floods(flood)))
                .into(),
        }
    }

    fn change_in_hand(&self) -> Option<String> {
        let plan = self.upgrading.plan.as_ref().filter(|_| self.state.can_undo());
        let reload = self.candidate.as_ref().map(|_| "reload");
        plan.map(|plan| plan.direction.name()).or(reload).map(str::to_owned)
    }

    fn generations(&self) -> Vec<GenerationStatus> {
        let mut all = vec![self.serving()];
        let leaving = self.state.leaving().into_iter().rev();
        all.extend(leaving.map(|(generation, ids)| self.leaving(generation, ids)));
        for link in self.links() {
            let master = &link.master;
            all.push(self.other(
                "draining",
                master.generation,
                &master.version,
                master.pid,
                link.age(),
            ));
        }
        for undone in self.undone.values() {
            let pid = u32::try_from(undone.pid.as_raw()).unwrap_or_default();
            let (number, age) = (self.current.number + 1, undone.begun.elapsed().as_secs());
            all.push(self.other("draining", number, &undone.version, pid, age));
        }
        if let Some(successor) = &self.upgrading.successor {
            let pid = u32::try_from(successor.pid.as_raw()).unwrap_or_default();
            let (number, age) = (self.current.number + 1, successor.begun.elapsed().as_secs());
            all.push(self.other("starting", number, &successor.version, pid, age));
        }
        all
    }

    fn serving(&self) -> GenerationStatus {
        let present = self.state.workers().filter(|(_, leaving)| !leaving).map(|(id, _)| id);
        let age = self.born.elapsed().as_secs();
        GenerationStatus { age, ..self.own("serving", self.current.number, present) }
    }

    /// Workers of this master that finish what they had: as old as the oldest of them.
    fn leaving(&self, generation: u64, ids: Vec<Id>) -> GenerationStatus {
        let children = ids.iter().filter_map(|id| self.children.get(id));
        let age = children.map(|child| child.begun.elapsed().as_secs()).max();
        let age = age.unwrap_or_default();
        GenerationStatus { age, ..self.own("draining", generation, ids) }
    }

    /// These workers of this master.
    fn own(
        &self,
        state: &str,
        generation: u64,
        ids: impl IntoIterator<Item = Id>,
    ) -> GenerationStatus {
        let (mut workers, mut connections) = (Vec::new(), 0);
        for child in ids.into_iter().filter_map(|id| self.children.get(&id)) {
            workers.push(u32::try_from(child.pid.as_raw()).unwrap_or_default());
            connections += self.counters.of_slot(child.counters).active;
        }
        GenerationStatus {
            generation,
            version: version::PROXYD.to_owned(),
            state: state.to_owned(),
            master: std::process::id(),
            workers,
            age: 0,
            connections,
        }
    }

    fn other(
        &self,
        state: &str,
        generation: u64,
        version: &str,
        master: u32,
        age: u64,
    ) -> GenerationStatus {
        let workers = self.counters.workers_of(master);
        // It stays for a while, to take over again if this one dies.
        let idle = state == "draining" && workers.is_empty();
        GenerationStatus {
            generation,
            version: version.to_owned(),
            state: if idle { "standby" } else { state }.to_owned(),
            master,
            workers,
            age,
            connections: self.counters.of_master(master).active,
        }
    }
}
