//! Policies that load well, and do one bad thing when they are asked.

use super::storing::SET;
use super::{AUTHENTICATE, AUTHENTICATOR, FRAME, PASS, authenticating, calling, component};

/// Traps at each call of `authenticate`; loads well.
#[must_use]
pub fn trapping() -> Vec<u8> {
    authenticating("unreachable")
}

/// Never returns from `authenticate`; loads well.
#[must_use]
pub fn looping() -> Vec<u8> {
    authenticating("(loop $again (br $again)) unreachable")
}

/// Passes once in four times, by chance, and else never returns: it answers too often to be left alone.
#[must_use]
pub fn looping_sometimes() -> Vec<u8> {
    let body = format!(
        "(call $bytes (i32.const 1) (i32.const 64))
         (if (i32.and (i32.load8_u (i32.load (i32.const 64))) (i32.const 3)) (then (loop $again (br $again)))) {PASS}"
    );
    calling("random", &[r#""bytes" (func $bytes (param i32 i32))"#], "", &body)
}

/// Takes all the memory that it gets, then passes.
#[must_use]
pub fn hungry() -> Vec<u8> {
    authenticating(&format!(
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable {PASS}"
    ))
}

/// Policies that load well and do one bad thing when they are asked, by name. `silent` is the address of a server that
/// never answers.
#[must_use]
pub fn hostile(silent: std::net::SocketAddr) -> Vec<(&'static str, Vec<u8>)> {
    let verdict = |detail: &str| {
        authenticating(&format!(
            "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 24) (i32.const 0)) {detail} (i32.const 16)"
        ))
    };
    let at = |pointer: u32, length: u32| {
        format!("(i32.store (i32.const 28) (i32.const {pointer})) (i32.store (i32.const 32) (i32.const {length}))")
    };
    let url = format!("http://{silent}/");
    let send = r#""send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))"#;
    let request = |path: &str| {
        format!(
            "{path} (call $send (i32.const 512) (i32.const 3) (i32.const 515) (i32.const {}) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))",
            url.len() + 1
        )
    };
    // Another path each time, so that no request is shared.
    let another = format!(
        "(i32.store8 (i32.const {at}) (i32.add (i32.const 65) (i32.and (i32.add (i32.load8_u (i32.const {at})) (i32.const 1)) (i32.const 15))))",
        at = 515 + url.len()
    );
    let data = format!("GET{url}A");
    // To a host that it may not reach: each is answered at once.
    let storm = "(loop $again
        (call $send (i32.const 512) (i32.const 3) (i32.const 515) (i32.const 19) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
        (br $again)) unreachable"
        .to_owned();
    let write = r#""write" (func $write (param i32 i32 i32))"#;
    // First under the client's own name: who is late with the second has stored something all the same.
    let grow = "(call $set (i32.load offset=120 (local.get 0)) (i32.load offset=124 (local.get 0)) (i32.const 1024)
        (i32.const 60000) (i32.const 0) (i32.const 0) (i32.const 64))
      (loop $again
        (i64.store (i32.const 512) (i64.add (i64.load (i32.const 512)) (i64.const 0x0101)))
        (i64.store (i32.const 512) (i64.and (i64.load (i32.const 512)) (i64.const 0x7f7f7f7f7f7f7f7f)))
        (call $set (i32.const 512) (i32.const 8) (i32.const 1024) (i32.const 60000) (i32.const 0) (i32.const 0) (i32.const 64))
        (br $again)) unreachable";
    vec![
        ("an endless loop", looping()),
        ("a memory bomb", hungry()),
        ("a trap", trapping()),
        (
            "deep recursion",
            component(
                AUTHENTICATOR,
                &format!(
                    "(module {FRAME} (func $deep (result i32) (i32.add (call $deep) (i32.const 1))) {AUTHENTICATE} (call $deep)))"
                ),
            ),
        ),
        (
            "text that is not UTF-8",
            calling(
                "clock",
                &[],
                "\\ff\\fe",
                &format!("(i32.store8 (i32.const 16) (i32.const 1)) {} (i32.const 16)", at(512, 2)),
            ),
        ),
        ("a text of 12 MiB", verdict(&format!("(drop (memory.grow (i32.const 200))) {}", at(4096, 12 << 20)))),
        ("a pointer beyond its memory", verdict(&at(0xffff_fff0, 100))),
        ("a length beyond its memory", verdict(&at(512, 0x7fff_ffff))),
        ("an enum that there is not", verdict("(i32.store8 (i32.const 24) (i32.const 200))")),
        ("a verdict that there is not", authenticating("(i32.store8 (i32.const 16) (i32.const 77)) (i32.const 16)")),
        ("an answer beyond its memory", authenticating("(i32.const 0xfffffff0)")),
        ("an answer at an odd address", authenticating("(i32.const 17)")),
        (
            "a flood of the log",
            calling(
                "log",
                &[write],
                "a line of a flood",
                "(loop $again (call $write (i32.const 0) (i32.const 512) (i32.const 17)) (br $again)) unreachable",
            ),
        ),
        (
            "a storm of host calls",
            calling(
                "clock",
                &[r#""now" (func $now (result i64))"#],
                "",
                "(loop $again (drop (call $now)) (br $again)) unreachable",
            ),
        ),
        (
            "a host call that is held open",
            calling("http-client", &[send], &data, &format!("{} {PASS}", request(&another))),
        ),
        ("a storm of requests", calling("http-client", &[send], "GEThttp://127.0.0.1:1/", &storm)),
        ("storage that only grows", calling("store", &[SET], "aaaaaaaa", grow)),
    ]
}
