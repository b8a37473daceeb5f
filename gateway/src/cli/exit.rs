//! How the process ends: what scripts and supervisors may rely on.

use std::process::ExitCode;

/// Exit codes. Part of the interface: they are not renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Success,
    /// It did not work; standard error says why.
    Failure,
    /// The command line makes no sense (clap's own code).
    Usage,
    /// The configuration is wrong. A supervisor that restarts the gateway will not help.
    Config,
    /// What was named is not there: a client, a policy, an entry of the directory.
    NotFound,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::NotFound => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
