//! Policies that decide by what they have stored: counters, tickets, and who came first.

use super::{PASS, calling};

/// Text that leaves a denial with this reason (its position in the contract's `deny-reason`).
fn refusal(reason: u8) -> String {
    format!("(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 24) (i32.const {reason})) (i32.const 16)")
}

pub(super) const SET: &str = r#""set" (func $set (param i32 i32 i32 i32 i32 i32 i32))"#;
const SET_IF_ABSENT: &str = r#""set-if-absent" (func $set-if-absent (param i32 i32 i32 i32 i32 i32 i32))"#;
const TAKE: &str = r#""take" (func $take (param i32 i32 i32))"#;
const INCREMENT: &str = r#""increment" (func $increment (param i32 i32 i64 i32 i32 i32))"#;

/// Passes so many times, and refuses with `rate-exceeded` from then on, whichever instance is asked: a rate limiter whose
/// window is an hour.
#[must_use]
pub fn counting(most: u32) -> Vec<u8> {
    let denied = refusal(6);
    let body = format!(
        "(call $increment (i32.const 512) (i32.const 5) (i64.const 1) (i32.const 1) (i32.const 3600) (i32.const 64))
         (if (result i32) (i32.or (i32.load8_u (i32.const 64)) (i64.gt_s (i64.load (i32.const 72)) (i64.const {most})))
           (then {denied}) (else {PASS}))"
    );
    calling("store", &[INCREMENT], "count", &body)
}

/// Stores a ticket and passes.
#[must_use]
pub fn ticketing() -> Vec<u8> {
    let body = format!(
        "(call $set (i32.const 512) (i32.const 6) (i32.const 512) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 64)) {PASS}"
    );
    calling("store", &[SET], "ticket", &body)
}

/// Takes the ticket and passes; refuses with `bad-credentials` when there is none: a token that is good once.
#[must_use]
pub fn once() -> Vec<u8> {
    let denied = refusal(0);
    let body = format!(
        "(call $take (i32.const 512) (i32.const 6) (i32.const 64))
         (if (result i32) (i32.or (i32.load8_u (i32.const 64)) (i32.eqz (i32.load8_u (i32.const 68))))
           (then {denied}) (else {PASS}))"
    );
    calling("store", &[TAKE], "ticket", &body)
}

/// Passes for whoever comes first, and refuses with `banned` from then on.
#[must_use]
pub fn first_only() -> Vec<u8> {
    let denied = refusal(4);
    let body = format!(
        "(call $set-if-absent (i32.const 512) (i32.const 5) (i32.const 512) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 64))
         (if (result i32) (i32.or (i32.load8_u (i32.const 64)) (i32.eqz (i32.load8_u (i32.const 68))))
           (then {denied}) (else {PASS}))"
    );
    calling("store", &[SET_IF_ABSENT], "first", &body)
}
