;; WASI preview 1 that gives nothing, for the Go runtime, which insists on importing it. With this adapter the component imports the
;; contract alone.
;;
;; Not for secrets: the clock moves on by a microsecond with each look (the runtime measures its garbage collection by it), and
;; random octets are a fixed sequence (the runtime seeds its hash tables with them). A policy takes both from the contract:
;; portcullis:policy/clock and portcullis:policy/random. Output is thrown away, and `exit` traps.
(module
  (import "env" "memory" (memory 0))
  (global $time (mut i64) (i64.const 1000000000))
  (global $random (mut i64) (i64.const 0x9e3779b97f4a7c15))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable)
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "args_sizes_get") (param i32 i32) (result i32) (call $no_sizes (local.get 0) (local.get 1)))
  (func (export "environ_sizes_get") (param i32 i32) (result i32) (call $no_sizes (local.get 0) (local.get 1)))
  (func $no_sizes (param $count i32) (param $octets i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $octets) (i32.const 0))
    (i32.const 0))

  (func (export "clock_time_get") (param i32 i64 i32) (result i32)
    (global.set $time (i64.add (global.get $time) (i64.const 1000)))
    (i64.store (local.get 2) (global.get $time))
    (i32.const 0))

  (func (export "random_get") (param $at i32) (param $left i32) (result i32) (local $x i64)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $x (global.get $random))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
        (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
        (global.set $random (local.tee $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17)))))
        (i32.store8 (local.get $at) (i32.wrap_i64 (local.get $x)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; Says that all was written.
  (func (export "fd_write") (param $fd i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $pieces))))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; There are no files: 8 is "bad descriptor".
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))

  ;; 52 is "not supported".
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32)
    (i32.store (local.get 3) (i32.const 0))
    (i32.const 52)))
