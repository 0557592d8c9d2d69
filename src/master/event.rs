//! The vocabulary between the master's loop and its decisions: what can happen, what can be done.
//! Plain data; it decides and performs nothing.

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
    /// A worker is gone, or could not be started.
    Gone(Id, End),
    /// A moment named by `State::deadline` has come.
    Tick,
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
}
