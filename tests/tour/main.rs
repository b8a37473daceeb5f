//! The README's tour is true: its commands are run, in order, against the demo on its own ports, and say what the README
//! says that they say.
//!
//! A block of commands belongs to the tour when the line before it is `<!-- tour -->`. Lines of the form
//! `<!-- tour: says TEXT -->` right after a block name texts that its output must have, and `<!-- tour: fails -->` says that its
//! last command does not succeed. The commands need mosquitto's clients, so the test is compiled with `real-clients`.
#![cfg(feature = "real-clients")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

use std::process::Stdio;

use portcullis_tests::{Gateway, PATIENCE, binary, within};

/// One block of commands, and what is promised about it.
#[derive(Debug, Default)]
struct Block {
    commands: String,
    says: Vec<String>,
    fails: bool,
}

/// The blocks of the tour, or of another walk through the README, in their order.
fn blocks(readme: &str, walk: &str) -> Vec<Block> {
    let (begins, says, fails) =
        (format!("<!-- {walk} -->"), format!("<!-- {walk}: says "), format!("<!-- {walk}: fails -->"));
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line == begins {
            let fence = lines.next().unwrap_or_default().trim();
            assert_eq!(fence, "```sh", "a block of commands follows <!-- tour -->");
            let commands: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push(Block { commands: commands.join("\n"), ..Block::default() });
        } else if let Some(text) = line.strip_prefix(says.as_str()).and_then(|rest| rest.strip_suffix(" -->")) {
            blocks.last_mut().expect("a block before <!-- tour: says -->").says.push(text.to_owned());
        } else if line == fails {
            blocks.last_mut().expect("a block before <!-- tour: fails -->").fails = true;
        }
    }
    blocks
}

#[tokio::test]
async fn the_tour_of_the_readme_is_true() {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).unwrap();
    let blocks = blocks(&readme, "tour");
    assert!(blocks.len() >= 5, "the tour has {} blocks", blocks.len());
    for attempt in 1.. {
        let gateway =
            Gateway::spawn(tempfile::tempdir().unwrap(), &[]).await.expect("the demo starts on its own ports");
        match walk(&blocks, gateway.directory(), PATIENCE).await {
            Ok(()) => return,
            Err(wrong) => assert!(attempt < 5 && too_slow(&format!("{wrong}{}", gateway.log())), "{wrong}"),
        }
    }
}

/// Whether what was said tells that the machine stood still for longer than the demo gives its policies, or the README a client. There is
/// nobody here to walk slowly, so then it is walked anew.
fn too_slow(said: &str) -> bool {
    ["did not answer within", "Timed out"].iter().any(|words| said.contains(words))
}

/// A project is made, built with what npm brings, tested, and served.
#[tokio::test]
async fn a_policy_of_ones_own_takes_what_the_readme_says() {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).unwrap();
    let blocks = blocks(&readme, "policy");
    assert!(blocks.len() >= 5, "the walk has {} blocks", blocks.len());
    for attempt in 1.. {
        let directory = tempfile::tempdir().unwrap();
        // npm fetches a compiler, and it compiles.
        match walk(&blocks, directory.path(), std::time::Duration::from_secs(600)).await {
            Ok(()) => return,
            Err(wrong) => assert!(attempt < 5 && too_slow(&wrong), "{wrong}"),
        }
    }
}

/// Does what the blocks say, and looks at what they promise. What is not as it should be, with all that was said.
async fn walk(blocks: &[Block], directory: &std::path::Path, patience: std::time::Duration) -> Result<(), String> {
    // One shell for all, as a reader has: what a block sets, the next one finds. Where each ends is marked.
    let mut script = String::from("exec 2>&1\n");
    for (index, block) in blocks.iter().enumerate() {
        script += &format!("{}\nprintf '\\n@%s %s\\n' {index} $?\n", block.commands);
    }
    let path =
        format!("{}:{}", binary::portcullis().parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", &script]).current_dir(directory).env("PATH", path).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(patience, shell.output()).await.expect("the end of the walk").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);

    let mut rest = &said[..];
    for (index, block) in blocks.iter().enumerate() {
        let mark = format!("\n@{index} ");
        let Some((own, after)) = rest.split_once(&mark) else {
            return Err(format!("the walk ended in block {index}:\n{said}"));
        };
        let (status, after) = after.split_once('\n').unwrap();
        if (status != "0") != block.fails {
            return Err(format!(
                "status {status} of\n{}\nwhich said\n{own}\nAll that was said:\n{said}",
                block.commands
            ));
        }
        if let Some(text) = block.says.iter().find(|text| !own.contains(*text)) {
            return Err(format!("{text:?} is not what\n{}\nsaid:\n{own}\nAll that was said:\n{said}", block.commands));
        }
        rest = after;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_demo_prints_can_be_copied_and_run() {
    for attempt in 1.. {
        let mut gateway =
            Gateway::spawn(tempfile::tempdir().unwrap(), &["serve", "--any-port"]).await.expect("the demo starts");
        match copy_and_run(&mut gateway).await {
            Ok(()) => return,
            Err(wrong) => assert!(attempt < 5 && too_slow(&format!("{wrong}{}", gateway.log())), "{wrong}"),
        }
    }
}

/// Runs what the demo shows. What does not do what it should, with what it said.
async fn copy_and_run(gateway: &mut Gateway) -> Result<(), String> {
    let shown = gateway.said("Ctrl-C").await;
    let commands: Vec<&str> = shown.lines().map(str::trim).filter(|line| line.starts_with("mosquitto_")).collect();
    assert!(commands.len() >= 5, "the demo shows commands:\n{shown}");
    let listen = commands.iter().find(|command| command.starts_with("mosquitto_sub")).unwrap();
    for command in commands.iter().filter(|command| command.starts_with("mosquitto_pub")) {
        let refused = command.contains("portcullis why");
        let path = format!("{}:{}", binary::portcullis().parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = tokio::process::Command::new("bash");
        let (publish, why) = command.split_once(';').unwrap_or((command, "true"));
        shell.args(["-c", &format!("{publish}; status=$?; {why}; exit $status")]);
        shell.current_dir(gateway.directory()).env("PATH", path).stdin(Stdio::null()).kill_on_drop(true);
        let output = within("a command of the demo", shell.output()).await.unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said);
        if output.status.success() == refused || (refused && !said.contains("password")) {
            return Err(format!("{command}\n{said}"));
        }
    }
    // The one that listens: it hears what the device says, again and again, until it has heard it once.
    let speak =
        commands.iter().find(|command| command.contains("/stream") && command.starts_with("mosquitto_pub")).unwrap();
    let script = format!("{listen} -C 1 & while kill -0 $! 2>/dev/null; do {speak}; sleep 0.2; done; wait $!");
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", &script]).current_dir(gateway.directory()).stdin(Stdio::null()).kill_on_drop(true);
    let output = within("the conversation of the demo", shell.output()).await.unwrap();
    if String::from_utf8_lossy(&output.stdout).contains("21.5") { Ok(()) } else { Err(format!("{output:?}")) }
}
