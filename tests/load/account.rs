//! What a process has used, by the system's own books.

pub(crate) use portcullis_tests::processor::time as processor_time;

/// Octets of memory that are the process's own. Its program's file is not: those pages come and go with what runs.
pub(crate) fn memory(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss_Anon:")
}

/// The most that was resident at one time.
pub(crate) fn peak(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("the broker lives");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field of /proc");
    line.split_ascii_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("kilobytes") * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_time_and_memory() {
        let me = std::process::id();
        let before = processor_time(me);
        let sum = (0..5_000_000u64).fold(0u64, |sum, n| sum.wrapping_mul(31) ^ n);
        assert!(processor_time(me) > before, "{sum}");
        assert!(memory(me) > 0 && peak(me) >= 4096);
    }
}
