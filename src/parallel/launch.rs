//! How the ranks of a job come into being and end: `mpirun` and `srun` start them, `train --ranks N` starts `mpirun`.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::console::interrupt;
use crate::error::InputError;

/// Variables that a launcher sets: the number of ranks of the job. Open MPI, MPICH and Intel MPI, Slurm.
const RANKS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
/// This rank and the number of ranks on this machine, by launcher.
const LOCAL: [[&str; 2]; 2] = [
    ["OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
    ["MPI_LOCALRANKID", "MPI_LOCALNRANKS"],
];

/// How often this process looks for a signal and for the launcher's end.
const LOOK: Duration = Duration::from_millis(20);

/// What Open MPI reads from the environment, versions 4 and 5. The ranks may be more than the cores and are bound to none; root may start them,
/// as in a container; a machine that has fallen silent ends the job in half a minute.
///
/// Version 4 leaves out its own words after a refusal or a kill, which [`Ended`] has shorter; the user can have them back ([`QUIET`]). Version 5 has no such variable.
const OPEN_MPI: [(&str, &str); 10] = [
    (QUIET, "1"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    ("OMPI_MCA_hwloc_base_binding_policy", "none"),
    ("PRTE_MCA_hwloc_default_binding_policy", "none"),
    ("OMPI_MCA_oob_tcp_keepalive_time", "5"),
    ("OMPI_MCA_oob_tcp_keepalive_intvl", "5"),
    ("OMPI_MCA_oob_tcp_keepalive_probes", "3"),
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
];

/// Has Open MPI 4 leave out its explanations.
const QUIET: &str = "OMPI_MCA_orte_execute_quiet";

/// Tells a rank that [`run`] waits for the job: what it has told its user it marks in its exit status ([`marked`]).
const WAITED_FOR: &str = "MVPBENCH_RANKS_WAITED_FOR";
/// What is added to the exit status of a rank that has said why it ends. A program's own are below it, or between 128 and 192 after a signal.
const TOLD: u8 = 64;

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.trim().parse().ok()
}

/// How many ranks a launcher has started this process among; none for a process of its own.
pub fn launched() -> Option<usize> {
    RANKS.iter().find_map(|variable| number(variable))
}

/// This rank among those on this machine, and how many they are, as far as the launcher says.
pub fn local() -> Option<(usize, usize)> {
    let of = |[rank, ranks]: &[&str; 2]| Some((number(rank)?, number(ranks)?));
    let slurm = || Some((number("SLURM_LOCALID")?, number("SLURM_NTASKS_PER_NODE")?));
    LOCAL.iter().find_map(of).or_else(slurm)
}

/// How a rank ends when its launcher is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It is told to end, and saves first.
    Asked,
    /// It is ended.
    Killed,
}

/// Has the system end this process when its launcher ends, by whatever means. Linux alone; elsewhere it is for the launcher to do.
#[expect(unsafe_code, reason = "a system call")]
pub fn end_with_the_launcher(parting: Parting) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let signal = match parting {
            Parting::Asked => libc::SIGTERM,
            Parting::Killed => libc::SIGKILL,
        };
        // SAFETY: it takes a number and touches no memory of this process.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parting;
    Ok(())
}

/// The ranks have ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// One has said why, and would have had this exit status alone.
    #[error("a rank has ended with exit status {0}")]
    Told(u8),
    /// This signal ended one.
    #[error("signal {0} ended a rank, and the others with it")]
    Signalled(u8),
    /// `mpirun` ended with this exit status.
    #[error("`mpirun` has ended with exit status {0}, and no rank has said why")]
    Launcher(u8),
}

impl Ended {
    /// Of the exit status of `mpirun`, which is that of the rank that failed.
    fn of(code: Option<i32>) -> Self {
        let status = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        match status {
            TOLD..=127 | 192.. => Self::Told(status - TOLD),
            129..=191 => Self::Signalled(status - 128),
            _ => Self::Launcher(status),
        }
    }

    /// The exit status of this program.
    pub fn status(self) -> u8 {
        match self {
            Self::Told(status) | Self::Launcher(status) => status,
            Self::Signalled(signal) => 128 + signal,
        }
    }

    /// What helps; nothing where a rank has said it.
    pub fn remedy(self) -> Option<String> {
        match self {
            Self::Told(_) => None,
            Self::Signalled(_) => Some(
                "finished work is saved, the same command resumes it, on any number of ranks; signal 9 is often the system's for want of memory"
                    .to_owned(),
            ),
            Self::Launcher(_) => Some(format!("`{QUIET}=0` before the command shows what Open MPI says")),
        }
    }
}

/// The exit status of a rank that has said why it ends, marked where [`run`] waits for it.
pub fn marked(status: u8) -> u8 {
    if std::env::var_os(WAITED_FOR).is_some() { status.saturating_add(TOLD) } else { status }
}

/// Has `mpirun` start this program again, `ranks` times, and waits for its end; an error, [`Ended`], if that is not a success.
///
/// A signal to this process reaches the ranks as `SIGUSR1`, which launchers pass on at once: to their own end they leave ranks a second.
pub fn run(ranks: usize) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut mpirun = Command::new("mpirun");
    mpirun.arg("-n").arg(ranks.to_string()).arg(program).args(std::env::args_os().skip(1));
    for (name, value) in OPEN_MPI {
        if std::env::var_os(name).is_none() {
            mpirun.env(name, value);
        }
    }
    mpirun.env(WAITED_FOR, "1");
    // A group of its own: Ctrl-C of a terminal comes to this process alone. Such a group may not read the terminal.
    mpirun.process_group(0);
    if std::io::stdin().is_terminal() {
        mpirun.stdin(Stdio::null());
    }
    in_child(&mut mpirun, || end_with_the_launcher(Parting::Asked));
    let mut mpirun = mpirun.spawn().map_err(|error| {
        let what = format!("`--ranks {ranks}`: `mpirun` cannot be started");
        InputError::of_path(what, error, |error| {
            error.hint("install Open MPI, or lay one out with `scripts/setup-mpi.sh`; docs/clusters.md has both")
        })
    })?;
    let mut is_passed_on = false;
    let status = loop {
        if let Some(status) = mpirun.try_wait()? {
            break status;
        }
        if interrupt::is_signalled() && !is_passed_on {
            send(mpirun.id(), libc::SIGUSR1)?;
            is_passed_on = true;
        }
        std::thread::sleep(LOOK);
    };
    match status.code() {
        Some(0) => Ok(()),
        _ if is_passed_on => Err(Ended::Told(interrupt::status()).into()),
        code => Err(Ended::of(code).into()),
    }
}

/// Runs `first` between fork and exec.
#[expect(unsafe_code, reason = "between fork and exec")]
fn in_child(command: &mut Command, first: fn() -> std::io::Result<()>) {
    // SAFETY: `first` makes system calls alone: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(first) };
}

#[expect(unsafe_code, reason = "a system call")]
fn send(process: u32, signal: i32) -> std::io::Result<()> {
    // SAFETY: it takes two numbers and touches no memory of this process.
    match unsafe { libc::kill(process as libc::pid_t, signal) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_of_mpirun_says_who_has_the_word() {
        for (code, ended) in [
            (Some(64 + 2), Ended::Told(2)),
            (Some(64 + 143), Ended::Told(143)),
            (Some(137), Ended::Signalled(9)),
            (Some(1), Ended::Launcher(1)),
            (None, Ended::Launcher(1)),
        ] {
            assert_eq!(Ended::of(code), ended);
            assert_eq!(ended.remedy().is_none(), matches!(ended, Ended::Told(_)), "{ended}");
        }
    }
}
