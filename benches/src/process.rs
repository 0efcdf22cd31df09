//! What the operating system knows of a process.

use crate::Outcome;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::time::Duration;

/// As many descriptors as we may have: ten thousand clients are ten thousand of them.
pub fn allow_many_sockets() -> Outcome<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(())
}

/// The CPU time that all threads of a process have used, also those that have ended.
pub fn cpu_time(pid: i32) -> Outcome<Duration> {
    Ok(Duration::from(clock_gettime(clock_getcpuclockid(
        Pid::from_raw(pid),
    )?)?))
}

/// KiB of memory a process has now, and has had at most.
pub fn memory_kib(pid: i32) -> Outcome<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Outcome<u64> {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.ok_or("no such line in /proc")?.parse()?)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
