//! What machine code is for: this machine's processor, another one, or the interpreter.
//!
//! wasmtime has an interpreter, Pulley, with machine code of its own. It runs where there is no code generator for the
//! processor (32-bit ARM), and where an operating system lets no program make code.

/// The interpreter's code for machines of this kind.
pub const INTERPRETED: &str = match (cfg!(target_pointer_width = "64"), cfg!(target_endian = "little")) {
    (true, true) => "pulley64",
    (true, false) => "pulley64be",
    (false, true) => "pulley32",
    (false, false) => "pulley32be",
};

/// Whether there is a code generator for this machine's processor. Elsewhere everything is interpreted.
const NATIVE: bool =
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "s390x"));

/// What an engine is told: None is this very processor, with all that it can do.
pub(crate) fn of_engine(interpret: bool) -> Option<&'static str> {
    (interpret || !NATIVE).then_some(INTERPRETED)
}

/// The word for the code that an engine runs, as the first word of a target has it.
#[must_use]
pub fn word(target: Option<&str>) -> &str {
    match target {
        Some(target) => target.split('-').next().unwrap_or(target),
        None => std::env::consts::ARCH,
    }
}

/// A target as people name it, as wasmtime wants it: a processor alone means Linux on it.
#[must_use]
pub fn full_name(target: &str) -> String {
    if target.contains('-') || target.starts_with("pulley") {
        target.to_owned()
    } else {
        format!("{target}-unknown-linux-gnu")
    }
}

/// Whether code for `target` is what an engine for `runs` takes. wasmtime looks closely; this is for a good sentence.
pub(crate) fn suits(target: &str, runs: Option<&str>) -> bool {
    // Some targets have a variant in the word: riscv64gc.
    match runs {
        Some(interpreted) => word(Some(target)) == interpreted,
        None => word(Some(target)).starts_with(std::env::consts::ARCH),
    }
}

/// Whether memory is addressed with 32 bits there.
pub(crate) fn is_narrow(target: Option<&str>) -> bool {
    target.map_or(cfg!(target_pointer_width = "32"), |target| target.starts_with("pulley32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_alone_means_linux() {
        assert_eq!(full_name("aarch64"), "aarch64-unknown-linux-gnu");
        assert_eq!(full_name("x86_64-unknown-linux-musl"), "x86_64-unknown-linux-musl");
        assert_eq!(full_name("pulley32"), "pulley32");
    }

    #[test]
    fn code_suits_its_own_kind_of_engine() {
        assert!(suits(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH), None));
        assert!(!suits(INTERPRETED, None));
        assert!(suits(INTERPRETED, Some(INTERPRETED)));
        assert!(!suits("pulley32be", Some(INTERPRETED)));
    }
}
