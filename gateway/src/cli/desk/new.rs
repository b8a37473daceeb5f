//! `portcullis policy new`: a project that builds and passes its own cases as it stands, in the language of a team.

use std::path::Path;

use clap::ValueEnum;

use crate::cli::{Exit, Failure, out};

/// The languages.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Language {
    /// Rust: small and quick.
    Rust,
    /// JavaScript, run by QuickJS.
    Js,
    /// TypeScript, run by QuickJS.
    Ts,
    /// Python.
    Python,
    /// C.
    C,
    /// Go, of the standard compiler.
    Go,
}

/// A file of a project.
struct File {
    path: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($path:literal = $from:literal),+ $(,)?) => {
        &[$(File { path: $path, text: include_str!(concat!("new/", $from)) }),+]
    };
}

/// Files that a project shares with an example: there is one of each, so that they cannot come to differ.
macro_rules! of_example {
    ($($path:literal = $from:literal),+ $(,)?) => {
        &[$(File { path: $path, text: include_str!(concat!("../../../../examples/", $from)) }),+]
    };
}

/// What all projects have.
const COMMON: &[File] = files! {
    "README.md" = "common/README.md",
    "cases.toml" = "common/cases.toml",
    "config.schema.json" = "common/config.schema.json",
    "portcullis.toml" = "common/portcullis.toml",
    "wit/world.wit" = "common/world.wit",
};

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Ts => "TypeScript",
            Self::Python => "Python",
            Self::C => "C",
            Self::Go => "Go",
        }
    }

    fn files(self) -> &'static [File] {
        match self {
            Self::Rust => {
                files! { "Cargo.toml" = "rust/Cargo.toml", "src/lib.rs" = "rust/lib.rs", "build" = "rust/build" }
            }
            Self::Js => {
                files! { "package.json" = "js/package.json", "policy.js" = "js/policy.js", "build" = "js/build" }
            }
            Self::Ts => files! {
                "package.json" = "ts/package.json",
                "tsconfig.json" = "ts/tsconfig.json",
                "types.sh" = "ts/types.sh",
                "src/policy.ts" = "ts/policy.ts",
                "build" = "ts/build",
            },
            Self::Python => files! { "app.py" = "python/app.py", "build" = "python/build" },
            Self::C => files! { "policy.c" = "c/policy.c", "build" = "c/build" },
            Self::Go => files! {
                "go.mod" = "go/go.mod.txt",
                "main.go" = "go/main.go",
                "imports.go" = "go/imports.go",
                "build" = "go/build",
            },
        }
    }

    /// Those of its files that an example has as well.
    fn shared(self) -> &'static [File] {
        match self {
            Self::Go => of_example! {
                "contract.go" = "badge-go/contract.go",
                "wasi-nothing.wat" = "badge-go/wasi-nothing.wat",
            },
            Self::Ts => of_example! {
                "types/interfaces/portcullis-policy-authentication.d.ts"
                    = "badge-ts/types/interfaces/portcullis-policy-authentication.d.ts",
                "types/interfaces/portcullis-policy-config.d.ts" = "badge-ts/types/interfaces/portcullis-policy-config.d.ts",
                "types/interfaces/portcullis-policy-descriptor.d.ts"
                    = "badge-ts/types/interfaces/portcullis-policy-descriptor.d.ts",
                "types/interfaces/portcullis-policy-log.d.ts" = "badge-ts/types/interfaces/portcullis-policy-log.d.ts",
                "types/interfaces/portcullis-policy-types.d.ts" = "badge-ts/types/interfaces/portcullis-policy-types.d.ts",
            },
            Self::Rust | Self::Js | Self::Python | Self::C => &[],
        }
    }

    /// How it is built, for people.
    fn building(self) -> &'static str {
        match self {
            Self::Rust => include_str!("new/rust/BUILD.md"),
            Self::Js => include_str!("new/js/BUILD.md"),
            Self::Ts => include_str!("new/ts/BUILD.md"),
            Self::Python => include_str!("new/python/BUILD.md"),
            Self::C => include_str!("new/c/BUILD.md"),
            Self::Go => include_str!("new/go/BUILD.md"),
        }
    }

    /// What version control need not keep.
    fn ignored(self) -> &'static str {
        match self {
            Self::Rust => "*.wasm\n/target/\n",
            Self::Js => "*.wasm\n/node_modules/\n/schema.js\n",
            Self::Ts => "*.wasm\n/node_modules/\n/gen/\n/src/schema.ts\n",
            Self::Python => "*.wasm\n__pycache__/\n/schema.py\n",
            Self::C => "*.wasm\n/gen/\n/schema.h\n",
            Self::Go => "*.wasm\n/gen/\n",
        }
    }

    /// The bounds that its components need, as an entry writes them. Empty: the usual ones.
    fn limits(self) -> &'static str {
        match self {
            Self::Python => "limits = { memory = \"64MiB\", self-test = \"30s\" }\n",
            _ => "",
        }
    }
}

/// Makes a project in a directory of its name.
pub(in crate::cli) fn run(language: Language, name: &str) -> Result<Exit, Failure> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(word) {
        let words = format!("{name:?} is no name of a policy: it has 1 to 64 lower-case letters, digits and hyphens");
        return Err(Failure::new(words, Exit::Usage));
    }
    let project = Path::new(name);
    if project.exists() {
        return Err(Failure::new(format!("{name} is there already"), Exit::Failure));
    }
    for file in COMMON.iter().chain(language.files()) {
        let text = file
            .text
            .replace("NAME", name)
            .replace("LANGUAGE", language.name())
            .replace("BUILD\n", language.building())
            .replace("LIMITS\n", language.limits());
        put(&project.join(file.path), &text)?;
    }
    for file in language.shared() {
        put(&project.join(file.path), file.text)?;
    }
    put(&project.join(".gitignore"), language.ignored())?;
    super::wit::write(&project.join("wit/deps/portcullis-policy"))?;
    for script in ["build", "types.sh"] {
        let script = project.join(script);
        if script.exists() {
            executable(&script)?;
        }
    }
    out::line(format_args!(
        "{name}: a policy in {}. What to do with it is in {name}/README.md:\n\n  cd {name}\n  ./build\n  portcullis policy test {name}.wasm cases.toml",
        language.name()
    ));
    Ok(Exit::Success)
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, text));
    written.map_err(|error| {
        Failure::new(format!("{} cannot be written: {}", path.display(), crate::plain(&error)), Exit::Failure)
    })
}

fn executable(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}
