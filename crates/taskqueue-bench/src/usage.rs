//! What this process uses, as Linux tells: CPU time and memory.

use std::time::Duration;

use anyhow::{Context, Result};

/// Linux counts a process's CPU time in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u32 = 100;

/// The CPU time of all threads so far.
///
/// # Errors
/// Where there is no `/proc`.
pub(crate) fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("CPU time is read from /proc")?;
    ticks(&stat).map(|ticks| Duration::from_secs(ticks) / TICKS_PER_SECOND).context("/proc/self/stat")
}

/// The time that all processors of the machine were busy so far: this process, a server on the same machine, and
/// whatever else runs.
///
/// # Errors
/// Where there is no `/proc`.
pub(crate) fn machine_cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("CPU time is read from /proc")?;
    busy_ticks(&stat).map(|ticks| Duration::from_secs(ticks) / TICKS_PER_SECOND).context("/proc/stat")
}

/// Memory in use now, and the most so far, in KiB.
///
/// # Errors
/// Where there is no `/proc`.
pub(crate) fn memory_kib() -> Result<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status").context("memory is read from /proc")?;
    kib(&status, "VmRSS:").zip(kib(&status, "VmHWM:")).context("/proc/self/status")
}

/// The 14th and 15th fields, user and system time. The second field, a name, may hold blanks.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The first line: user, nice, system, idle, waiting, interrupts, soft interrupts; then what guests take.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, ..] = ticks[..] else {
        return None;
    };
    Some(user + nice + system + interrupts + soft_interrupts)
}

fn kib(status: &str, field: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_blanks() {
        assert_eq!(ticks("7 (a b) c) S 1 1 1 0 -1 4 1 0 0 0 250 50 0 0 20 0"), Some(300));
        assert_eq!(busy_ticks("cpu  10 2 30 999 888 4 5 0 0 0\ncpu0 1 1 1 1 1 1 1"), Some(51));
        assert_eq!(kib("VmPeak:\t 9 kB\nVmRSS:\t   1234 kB\n", "VmRSS:"), Some(1234.0));
    }
}
