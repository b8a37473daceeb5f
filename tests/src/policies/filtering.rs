//! A message filter.

use super::{FRAME, component};

/// Filters messages by the first octet of their payload: `d` is dropped, `r` refused, `t` traps, `m` is moved to
/// `plant/clean`, `p` has the payload `seen` instead; all others pass. With `strict` everything is refused.
#[must_use]
pub fn filtering(strict: bool) -> Vec<u8> {
    // The topic of the message is 72 octets into the parameters, its payload 84. The outcome is at 16.
    let first = if strict { "(i32.const 0x72)" } else { "(i32.load8_u (i32.load offset=84 (local.get 0)))" };
    component(
        "export portcullis:policy/message-filter@VERSION;",
        &format!(
            r#"(module {FRAME} (data (i32.const 256) "plant/cleanseennot today")
              (func (export "portcullis:policy/message-filter@VERSION#filter") (param i32) (result i32)
                (local $first i32)
                (local.set $first {first})
                (i64.store (i32.const 16) (i64.const 0)) (i64.store (i32.const 24) (i64.const 0))
                (i64.store (i32.const 32) (i64.const 0)) (i64.store (i32.const 40) (i64.const 0))
                (i64.store (i32.const 48) (i64.const 0))
                (if (i32.eq (local.get $first) (i32.const 0x74)) (then unreachable))
                (if (i32.eq (local.get $first) (i32.const 0x64)) (then (i32.store8 (i32.const 16) (i32.const 2))))
                (if (i32.eq (local.get $first) (i32.const 0x72)) (then
                  (i32.store8 (i32.const 16) (i32.const 3))
                  (i32.store (i32.const 24) (i32.const 271)) (i32.store (i32.const 28) (i32.const 9))))
                (if (i32.eq (local.get $first) (i32.const 0x6d)) (then
                  (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 20) (i32.const 1))
                  (i32.store (i32.const 24) (i32.const 256)) (i32.store (i32.const 28) (i32.const 11))))
                (if (i32.eq (local.get $first) (i32.const 0x70)) (then
                  (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 32) (i32.const 1))
                  (i32.store (i32.const 36) (i32.const 267)) (i32.store (i32.const 40) (i32.const 4))))
                (i32.const 16)))"#
        ),
    )
}
