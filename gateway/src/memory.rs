//! No more memory than is used, since on an edge device the megabytes are somebody's: large pages only where they are filled,
//! and what only the start needed is given back.
//!
//! Loading policies, certificates and configuration runs through most of the program once, and what was run and read stays
//! mapped for as long as nobody else needs the memory. Measured on the demo: of 25 MB that were resident after the start some
//! 12 were the program's own code, and 1.6 of these were mapped again ten seconds later.

/// Leaves large pages to what asks for them: the tables of the router, which fill theirs.
///
/// Transparent huge pages back each worker's heap with 2 MiB pages of which a connection uses a few hundred octets: they double
/// the memory of idle connections. The allocator does not ask for them (its feature `no_thp`); this is for systems that give
/// them to everybody. Linux before 6.18 gives them to all of a program or to nothing of it: there the tables do without where
/// everybody would have them. Where the kernel knows neither switch there is nothing to switch.
#[cfg(target_os = "linux")]
pub(crate) fn no_large_pages_unasked() {
    /// `PR_THP_DISABLE_EXCEPT_ADVISED` of linux/prctl.h.
    const EXCEPT_ADVISED: libc::c_ulong = 1 << 1;
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: this switch of the process takes numbers alone, and changes nothing but how memory is backed.
    #[allow(unsafe_code)]
    let switched = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, ON, EXCEPT_ADVISED, UNUSED, UNUSED) };
    let to_whom = || std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if switched != 0 && to_whom().is_ok_and(|to_whom| to_whom.contains("[always]")) {
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
}

/// Other systems look after this by themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn no_large_pages_unasked() {}

/// Unmaps the program's code and constants; what is used is mapped again when it is next used, from the system's cache and
/// not from disk.
#[cfg(target_os = "linux")]
pub(crate) fn give_back_program() {
    use rustix::mm::{Advice, madvise};

    // Where the system tells nothing of this, everything stays as it is.
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/smaps"), std::fs::read_link("/proc/self/exe"))
    else {
        return;
    };
    for (start, end) in untouched(&maps, &program.to_string_lossy()) {
        // SAFETY: the range is a mapping of the program's file that nobody may write to, and the system has just said that
        // none of its pages is other than the file's (the loader has written to pages with relocations, and protected them
        // afterwards: those have). Its pages therefore hold what the file holds, and the system reads them from there when
        // they are touched again, by whichever thread. Measured above.
        #[allow(unsafe_code)]
        let _ = unsafe { madvise(start as *mut std::ffi::c_void, end - start, Advice::LinuxDontNeed) };
    }
}

/// Other systems look after this by themselves, or offer nothing that would be safe.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_back_program() {}

/// The addresses of private mappings of `program` in `/proc/self/smaps` that cannot be written to and never were.
#[cfg(target_os = "linux")]
fn untouched(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    // The mapping that the lines are about, and which of its own pages they have named as none.
    let mut now: Option<(usize, usize)> = None;
    let mut none = 0;
    for line in maps.lines() {
        match line.split_once(": ") {
            Some(("Anonymous" | "Swap", value)) => {
                none += usize::from(value.trim() == "0 kB");
                if let Some(range) = now.filter(|_| none == 2) {
                    found.push(range);
                    now = None;
                }
            }
            _ => {
                if let Some(header) = header(line, program) {
                    (now, none) = (header, 0);
                }
            }
        }
    }
    found
}

/// What a line says that begins a mapping: its addresses, if it is one of `program` that cannot be written to. None: it begins
/// no mapping.
#[cfg(target_os = "linux")]
fn header(line: &str, program: &str) -> Option<Option<(usize, usize)>> {
    // `start-end permissions offset device inode path`; the path may hold blanks.
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let range = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let cannot_be_written = matches!(words.next()?, "r-xp" | "r--p");
    let is_ours = line.strip_suffix(program).is_some_and(|before| before.ends_with(' '));
    Some((cannot_be_written && is_ours && range.0 < range.1).then_some(range))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const PROGRAM: &str = "/opt/port cullis/portcullis";

    /// A mapping as the system describes it.
    fn described(header: &str, anonymous: &str, swap: &str) -> String {
        format!(
            "7f00-8000 {header}\nSize:  1 kB\nRss:  9 kB\nAnonymous: {anonymous}\nAnonHugePages: 0 kB\nSwap: {swap}\nSwapPss: 0 kB\nVmFlags: rd mr\n"
        )
    }

    #[test]
    fn only_what_the_program_cannot_have_changed_is_given_back() {
        let found = |header: &str, anonymous, swap| untouched(&described(header, anonymous, swap), PROGRAM);
        let ours = |permissions: &str| format!("{permissions} 00000000 fe:00 10 {PROGRAM}");
        let all = vec![(0x7f00, 0x8000)];
        assert_eq!(found(&ours("r-xp"), "      0 kB", "  0 kB"), all);
        assert_eq!(found(&ours("r--p"), "      0 kB", "  0 kB"), all);
        // Relocated constants, in memory or swapped out.
        assert_eq!(found(&ours("r--p"), "      4 kB", "  0 kB"), []);
        assert_eq!(found(&ours("r--p"), "      0 kB", "  4 kB"), []);
        for other in [
            ours("rwxp"),
            ours("rw-p"),
            ours("r-xs"),
            "r-xp 00000000 fe:00 10 /usr/lib/libc.so.6".to_owned(),
            format!("r-xp 00000000 fe:00 10 /other{PROGRAM}"),
            "r-xp 00000000 00:00 0".to_owned(),
        ] {
            assert_eq!(found(&other, "0 kB", "0 kB"), [], "{other}");
        }
    }

    #[test]
    fn what_is_said_of_one_mapping_is_not_taken_for_another() {
        let ours = format!("r--p 00000000 fe:00 10 {PROGRAM}");
        let maps = described(&ours, "4 kB", "0 kB") + &described("rw-p 0 00:00 0", "0 kB", "0 kB");
        assert_eq!(untouched(&maps, PROGRAM), []);
        assert_eq!(untouched("", PROGRAM), []);
    }

    #[test]
    fn the_program_runs_on() {
        give_back_program();
        assert_eq!((1..=10).map(|n: u32| n.pow(2)).sum::<u32>(), 385);
    }
}
