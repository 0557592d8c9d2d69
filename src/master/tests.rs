//! The loop with workers that are played by the test, in this process: what they are sent, and what
//! becomes of a reload. Decisions alone are tested beside `state`.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use super::generation::Base;
use super::*;
use crate::ipc::{AsyncWorkerEnd, Channel, Received};
use crate::sys::fds::read_memfd;

/// A worker that does what it is told, and refuses configurations that contain `refuse`.
fn obedient(channel: OwnedFd) -> spawn::Life {
    Box::pin(async move {
        let mut end: AsyncWorkerEnd = Channel::new(channel).unwrap().into_async().unwrap();
        loop {
            let answer = match end.receive().await.unwrap() {
                Received::Closed
                | Received::Message(ToWorker::Quit { .. } | ToWorker::Terminate, _) => {
                    return 0;
                }
                Received::Message(ToWorker::Spec(_), _) => FromWorker::Ready,
                Received::Message(ToWorker::Commit { generation }, _) => {
                    FromWorker::Committed { generation }
                }
                Received::Message(ToWorker::Prepare(bundle), fds) => {
                    let generation = bundle.generation;
                    let config = read_memfd(fds[0].as_fd()).unwrap();
                    if String::from_utf8_lossy(&config).contains("refuse") {
                        FromWorker::Refused { generation, text: "I will not".into() }
                    } else {
                        FromWorker::Prepared { generation }
                    }
                }
                Received::Message(..) => continue,
            };
            end.send(&answer, &[]).unwrap();
        }
    })
}

struct Stage {
    dir: tempfile::TempDir,
    master: Master,
    told: UnboundedReceiver<News>,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            prefix: dir.path().to_owned(),
            conf_file: dir.path().join("c"),
            globals: None,
            error_log: Some(dir.path().join("log")),
            control: None,
        };
        write(&dir, "one");
        let mut files = Files::new();
        let log = ErrorLog::new(Vec::new());
        let generation = Generation::build(1, &options, &mut files, Base::Nothing, &log).unwrap();
        let (news, told) = mpsc::unbounded_channel();
        let (asks, _) = mpsc::channel(1);
        let launch = Launch::Here(obedient);
        let setup = Setup {
            options,
            generation,
            files,
            launch,
            control: None,
            daemon: false,
            words: vec!["proxyd".into()],
            inheritance: None,
            is_rollback: false,
        };
        Stage { dir, master: Master::new(setup, news, asks).unwrap(), told }
    }

    /// Lets things happen until `enough`.
    async fn until(&mut self, enough: impl Fn(&Master) -> bool) {
        while !enough(&self.master) {
            let news = tokio::time::timeout(Duration::from_secs(10), self.told.recv()).await;
            self.master.hear(news.unwrap().unwrap());
        }
    }

    async fn reload(&mut self) -> ReloadOutcome {
        let (reply, mut outcome) = oneshot::channel();
        self.master.ask(Ask::Reload(reply));
        loop {
            if let Ok(outcome) = outcome.try_recv() {
                return outcome;
            }
            let news = self.told.recv().await.unwrap();
            self.master.hear(news);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn children(&self) -> Vec<Id> {
        self.master.children.keys().copied().collect()
    }
}

fn write(dir: &tempfile::TempDir, text: &str) {
    let head = "error_log log info; worker_processes 2; user root root; pid pid; events {}";
    std::fs::write(dir.path().join("c"), format!("{head} # {text}\n")).unwrap();
}

fn play(scene: impl AsyncFnOnce(&mut Stage)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut stage = Stage::new();
        stage.master.take(Event::Start);
        scene(&mut stage).await;
        stage.master.take(Event::Quit);
        stage.until(|master| master.done).await;
        assert!(stage.children().is_empty());
    });
}

#[test]
fn a_reload_keeps_the_workers() {
    play(async |stage| {
        write(&stage.dir, "two");
        assert!(stage.reload().await.done);
        assert_eq!(stage.children(), [1, 2]);
        assert_eq!(stage.master.current.number, 2);
        let text = String::from_utf8_lossy(&stage.master.current.files[0].1).into_owned();
        assert!(text.contains("# two"));
        assert!(stage.master.candidate.is_none());
    });
}

#[test]
fn a_bad_configuration_is_told_and_logged() {
    play(async |stage| {
        std::fs::write(stage.dir.path().join("c"), "bogus; events {}").unwrap();
        let outcome = stage.reload().await;
        assert!(!outcome.done);
        assert!(outcome.logs.iter().any(|line| line.starts_with("[emerg] unknown directive")));
        assert!(outcome.report.contains("bogus"));
        assert!(stage.log().contains("[emerg]"));
        assert_eq!(stage.master.current.number, 1);
        write(&stage.dir, "two");
        assert!(stage.reload().await.done);
    });
}

#[test]
fn a_workers_refusal_keeps_the_old() {
    play(async |stage| {
        write(&stage.dir, "refuse");
        let outcome = stage.reload().await;
        assert!(!outcome.done && outcome.report.contains("I will not"), "{outcome:?}");
        assert_eq!((stage.master.current.number, stage.children()), (1, vec![1, 2]));
        assert!(stage.master.candidate.is_none());
    });
}

#[test]
fn a_log_that_cannot_be_opened_keeps_the_old() {
    play(async |stage| {
        let config =
            "worker_processes 2; user root root; pid pid; error_log no/such/dir; events {}";
        std::fs::write(stage.dir.path().join("c"), config).unwrap();
        let outcome = stage.reload().await;
        assert!(!outcome.done && outcome.report.contains("failed (2: No such file"), "{outcome:?}");
    });
}

#[test]
fn a_change_of_user_or_number_replaces_the_workers() {
    play(async |stage| {
        let text = "error_log log info; worker_processes 3; user root root; pid pid; events {}";
        std::fs::write(stage.dir.path().join("c"), text).unwrap();
        assert!(stage.reload().await.done);
        stage.until(|master| master.children.len() == 3).await;
        assert_eq!(stage.children(), [3, 4, 5]);
        let slots: Vec<_> = stage.master.children.values().map(|child| child.counters).collect();
        assert_eq!(slots, [2, 3, 4], "counters are never shared by two that live");
    });
}

#[test]
fn a_worker_that_ends_is_started_again() {
    play(async |stage| {
        stage.until(|master| master.processes().len() == 2).await;
        stage.master.hear(News::Ended(1, 0));
        assert_eq!(stage.children(), [2, 3]);
    });
}

#[test]
fn logs_are_opened_again() {
    play(async |stage| {
        let (log, old): (PathBuf, _) = (stage.dir.path().join("log"), stage.dir.path().join("old"));
        std::fs::rename(&log, old).unwrap();
        stage.master.take(Event::Reopen);
        stage.master.take(Event::Reopen);
        assert!(stage.log().contains("reopening logs"));
    });
}
