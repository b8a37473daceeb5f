//! What only the start needed is given back: on an edge device the megabytes are somebody's.
//!
//! Loading policies, certificates and configuration runs through most of the program once, and what was run stays mapped
//! for as long as nobody else needs the memory. Measured on the demo: of 25 MB that were resident after the start some 12 were
//! the program's own code, and 1.6 of these were mapped again ten seconds later.

/// Unmaps the program's code; what runs is mapped again when it is next run, from the system's cache and not from disk.
#[cfg(target_os = "linux")]
pub(crate) fn give_back_code() {
    use rustix::mm::{Advice, madvise};

    // Where the system tells nothing of this, everything stays as it is.
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/maps"), std::fs::read_link("/proc/self/exe"))
    else {
        return;
    };
    let code = maps.lines().filter_map(|line| code_range(line, &program.to_string_lossy()));
    for (start, end) in code {
        // SAFETY: the range is a mapping of the program's file that nobody may write to, and that nobody has written to:
        // code has no relocations on the systems we build for. Its pages therefore hold what the file holds, and the
        // system reads them from there when they are touched again, by whichever thread. Measured above.
        #[allow(unsafe_code)]
        let _ = unsafe { madvise(start as *mut std::ffi::c_void, end - start, Advice::LinuxDontNeed) };
    }
}

/// Other systems look after this by themselves, or offer nothing that would be safe.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_back_code() {}

/// The addresses of one line of `/proc/self/maps`, if it is a private mapping of code of `program`.
#[cfg(target_os = "linux")]
fn code_range(line: &str, program: &str) -> Option<(usize, usize)> {
    // `start-end permissions offset device inode path`; the path may hold blanks.
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp";
    let is_ours = line.ends_with(program) && line.get(..line.len() - program.len())?.ends_with(' ');
    let range = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (is_code && is_ours && range.0 < range.1).then_some(range)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_given_back() {
        let program = "/opt/port cullis/portcullis";
        let line = |rest: &str| format!("7f00-8000 {rest}");
        let found = |rest: &str| code_range(&line(rest), program);
        assert_eq!(found("r-xp 00000000 fe:00 10 /opt/port cullis/portcullis"), Some((0x7f00, 0x8000)));
        for other in [
            "r--p 00000000 fe:00 10 /opt/port cullis/portcullis",
            "rwxp 00000000 fe:00 10 /opt/port cullis/portcullis",
            "r-xs 00000000 fe:00 10 /opt/port cullis/portcullis",
            "r-xp 00000000 fe:00 10 /usr/lib/libc.so.6",
            "r-xp 00000000 fe:00 10 /other/opt/port cullis/portcullis",
            "r-xp 00000000 00:00 0",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
        assert_eq!(code_range("", program), None);
    }

    #[test]
    fn the_program_runs_on() {
        give_back_code();
        assert_eq!((1..=10).map(|n: u32| n.pow(2)).sum::<u32>(), 385);
    }
}
