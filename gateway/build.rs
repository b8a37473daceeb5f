//! Asks the linker for a smaller program, where it can make one.
//!
//! A program that may lie anywhere has a relocation of 24 octets for each pointer in its constants: 1.7 MB of this one, all
//! of them read at each start. Packed they are a few tens of kilobytes (glibc 2.36, musl 1.2.4). And generic code makes many
//! functions that are the same to the octet: they are folded into one. What the linker, or the system's loader, does not know
//! is left out: each option is tried on a program of nothing, which must run.
//!
//! Names are taken out here as well: cargo (1.95) forgets `strip` of the profile for a package that has an optimisation of its
//! own, and they are a quarter of the file.

use std::path::Path;
use std::process::Command;

const OPTIONS: [&str; 2] = ["-Wl,-z,pack-relative-relocs", "-Wl,--icf=all"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    if of("PROFILE") != "release" {
        return;
    }
    // The profile for profilers is a release with names.
    if of("DEBUG") == "false" && of("CARGO_CFG_TARGET_OS") == "linux" {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
    // What is built for elsewhere cannot be tried here.
    if of("HOST") != of("TARGET") {
        return;
    }
    for option in OPTIONS {
        if works(option, &of("RUSTC"), &of("RUSTC_LINKER"), Path::new(&of("OUT_DIR"))) {
            println!("cargo::rustc-link-arg-bins={option}");
        }
    }
}

fn works(option: &str, rustc: &str, linker: &str, directory: &Path) -> bool {
    let (source, program) = (directory.join("probe.rs"), directory.join("probe"));
    let mut compile = Command::new(rustc);
    compile.arg("-Clink-arg=".to_owned() + option).arg("-o").arg(&program).arg(&source);
    if !linker.is_empty() {
        compile.arg("-Clinker=".to_owned() + linker);
    }
    let ends_well = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    std::fs::write(&source, "fn main() {}").is_ok() && ends_well(&mut compile) && ends_well(&mut Command::new(&program))
}
