//! The vocabulary between the master's loop and its decisions: what can happen, what can be done.
//! Plain data; it decides and performs nothing.

use std::time::Duration;

/// One worker process, for the lifetime of the master.
pub type Id = u64;
/// One configuration, counted from 1.
pub type Generation = u64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Sockets listen and the pid file is written.
    Start,
    /// `TERM` or `INT`.
    Terminate,
    /// `QUIT`.
    Quit,
    /// The successor of this retired master wants it gone: at once, or when nothing is under way.
    Hurry { fast: bool },
    /// Another master has taken over from the successor of this retired master.
    Superseded,
    /// `HUP`, or a reload asked for over the control API.
    Reload,
    /// `USR1`.
    Reopen,
    /// `WINCH`, in a daemon.
    StopAccepting,
    /// The new configuration is valid and its sockets and logs are open.
    Loaded(Plan),
    /// The new configuration cannot be used.
    NotLoaded,
    /// A new worker has built its configuration; it accepts nothing before `Commit`.
    Ready(Id),
    /// A worker has built the configuration of this generation beside its present one.
    Prepared(Id, Generation),
    /// A worker cannot use the configuration of this generation; why.
    Refused(Id, Generation, String),
    /// A worker serves with the configuration of this generation.
    Committed(Id, Generation),
    /// A worker accepts no longer.
    Leaving(Id),
    /// A worker is gone, or could not be started.
    Gone(Id, End),
    /// A moment named by `State::deadline` has come.
    Tick,
    /// Another program is to take over.
    Upgrade(Order),
    /// The new master's process runs.
    SuccessorStarted,
    /// The new master has all it needs and can accept.
    SuccessorReady,
    /// The new master's workers accept.
    SuccessorAccepting,
    /// The new master is not what was hoped for; why.
    SuccessorTrouble(String),
    /// The new master's process is gone, or could not be started.
    SuccessorGone(End),
    /// The upgrade in hand is not wanted any more.
    Undo,
    /// How new and old have done since both accept.
    Measured(Sample),
    /// One of the undone successors is gone.
    UndoneGone(Id),
    /// So many retired masters still finish what they had.
    Retired(usize),
    /// The old master says: accept.
    Go,
    /// The old master says: you are the server.
    Confirmed,
    /// The old master says: you are not wanted.
    Abandoned,
    /// The old master is gone.
    PredecessorGone,
}

/// How another program is to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// A person commits or undoes it by signals (`USR2`).
    pub manual: bool,
    /// The program knows nothing of handing over: it accepts as soon as it runs.
    pub foreign: bool,
    /// Undo it as soon as the new master is ready.
    pub dry_run: bool,
    /// How long the new master may take to be ready.
    pub patience: Duration,
    /// How long both accept before the new one is the server.
    pub watch: Duration,
    /// How long after that the old one takes over again if the new one dies.
    pub window: Duration,
}

/// Requests answered since both accept, and those of them that failed here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    pub old_requests: u64,
    pub old_failed: u64,
    pub new_requests: u64,
    pub new_failed: u64,
}

/// What there is to tell about an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Milestone {
    /// The new master runs.
    Started,
    /// It is ready.
    Ready,
    /// Both accept.
    Overlap,
    /// The new one is the server.
    Committed,
    /// The rehearsal went well and is over.
    Rehearsed,
    /// Nothing was changed; why (empty where the end of its process tells).
    Refused(String),
    /// The same: it was not ready after this time.
    Late(Duration),
    /// It was begun and undone; why.
    Undone(String),
    /// The old side has nothing left to do.
    Done,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It left with this exit code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It never ran.
    NotStarted,
}

/// How a new configuration has to be put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many workers it wants.
    pub workers: usize,
    /// Whether something changed that a process cannot change about itself.
    pub replace: bool,
}

/// Something to be done by the loop, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Log a notice.
    Notice(&'static str),
    /// Read and check the configuration; the answer is `Loaded` or `NotLoaded`.
    Load,
    /// Start a worker process with the configuration of this generation.
    Spawn { id: Id, slot: usize, generation: Generation },
    /// Have a worker build the candidate configuration.
    Prepare(Id),
    /// Have a worker serve with the configuration of this generation, which it has built.
    Commit { id: Id, generation: Generation },
    /// Have a worker forget the candidate configuration.
    Abort(Id),
    /// The candidate configuration becomes the current one.
    Adopt,
    /// The candidate configuration is dropped, with what was opened for it alone.
    Discard,
    /// Answer those who asked for the reload in hand: it is in place, or the reason why not
    /// (empty when `NotLoaded` has said it already).
    Answer(Result<(), String>),
    /// Answer everyone who waits for a reload: there will be none, and why.
    Refuse(&'static str),
    /// Have a worker finish its work and leave; `replaced` when others go on serving its addresses.
    Quit { id: Id, replaced: bool },
    /// Have a worker leave at once.
    Terminate(Id),
    /// Kill a worker that did not obey.
    Kill(Id),
    /// Log that a worker left for a reason that starting it again would not cure.
    Fatal(Id),
    /// Stop listening: no successor will serve these addresses.
    CloseListeners,
    /// Open the log files again and hand them to every worker.
    ReopenLogs,
    /// All is done: leave.
    Exit,
    /// Start the program that is to take over; the answer is `SuccessorStarted` or `SuccessorGone`.
    StartSuccessor,
    /// Make sure that the pid files can be changed, then let the new master accept; trouble is the
    /// answer if they cannot.
    LetSuccessorAccept,
    /// Show the own pid file under its second name: both masters serve.
    ShowOld,
    /// Look how new and old do; the answer is `Measured`.
    Measure,
    /// The new master is the server. Whether it is to take the configuration anew, because that was
    /// asked for meanwhile.
    CommitSuccessor { reload: bool },
    /// The new master is to leave; it is known by this number from now on. The pid files are as before.
    DismissSuccessor(Id, String),
    /// The new master is gone; the pid files are as before, unless it was the server.
    ForgetSuccessor,
    /// Kill an undone successor.
    KillSuccessor(Id),
    /// Be the server again, after the new master has died.
    Return,
    /// Tell those who wait, and the log.
    Tell(Milestone),
    /// Have undone successors and retired masters stop.
    StopOthers { fast: bool },
    /// Tell the old master how many workers are ready, and of how many.
    Building { ready: usize, of: usize },
    /// Tell the old master that all is ready.
    AnnounceReady,
    /// Tell the old master that all workers accept, and put the pid file in place.
    AnnounceAccepting,
    /// Tell the old master that a worker has ended.
    AnnounceLost(Id, End),
    /// Tell the old master that this one was told to stop: for itself, or (`fast` or not) for the whole
    /// server, as a clock decides and the pid file names this one.
    AnnounceStop(Option<bool>),
    /// Tell the old master that this will not do; then leave.
    GiveUp(Id, End),
    /// Take what the server has: control socket, links to retired masters.
    TakeOver,
    /// Close the listening sockets; their files stay, somebody else serves them.
    LeaveListeners,
    /// Have the old master reload, because that was asked for here.
    PassReload,
}
