;; A policy in WebAssembly text: a fixed list of users. It imports nothing, and every octet that crosses the border to the gateway is in
;; sight here. Other languages have generators for what this file does by hand: the canonical ABI of the component model.
;;
;; How values lie in memory (little endian, each aligned to its own size):
;;
;;   string, list<T>   address, count: two i32
;;   option<T>         an octet, 0 or 1; then T, at the next address that is aligned for it
;;   variant           an octet that says which case; then what the case carries, aligned for the case that needs most
;;   enum, flags       an octet
;;   record            its fields in order, each aligned
;;
;; `authenticate(connection, credentials) -> verdict` has more than 16 values when it is taken apart, so that the gateway writes them
;; into memory (it gets the room from `cabi_realloc`) and passes their address. The result is an address, too.
;;
;;   at   of the arguments                     at   of the result (`verdict`)
;;     0  connection, 120 octets                 0  case: 0 allow, 1 deny, 2 pass
;;   120  client-id                              8  what it carries: 8, since a grant has a u64
;;   128  username: 0 or 1, 132 address, 136 count
;;   140  password: 0 or 1, 144 address, 148 count
;;   152  method: 0 or 1
(module
  (memory (export "memory") 1)

  ;; Texts, and what is made of them. The room below 0x400 is the policy's own, arguments come above.
  (data (i32.const 0x010) "list" "plant" "wrong password")
  (data (i32.const 0x040) "press-1" "n0rth")
  (data (i32.const 0x050) "board" "s0uth")
  (data (i32.const 0x060) "plant/press-1/#" "plant/#" "plant/+/private/#")

  ;; rule { effect, actions, filter, max-qos }: 16 octets each. Effects: 0 allow, 1 deny. Actions: 1 publish, 2 subscribe,
  ;; 4 retain, 8 will.
  (data (i32.const 0x0a0) (i8 0 0x9 0 0) (i32 0x60 15) (i32 1)) ;; press-1: publish and will, plant/press-1/#, QoS 1
  (data (i32.const 0x0b0) (i8 0 0x2 0 0) (i32 0x6f 7) (i32 1))  ;; board: subscribe, plant/#, QoS 1
  (data (i32.const 0x0c0) (i8 1 0x2 0 0) (i32 0x76 17) (i32 2)) ;; … but not plant/+/private/#

  ;; The list: name, password, rules. Three pairs of address and count, 24 octets each.
  (data (i32.const 0x100) (i32 0x40 7 0x47 5 0xa0 1))
  (data (i32.const 0x118) (i32 0x50 5 0x55 5 0xb0 2))
  (global $list i32 (i32.const 0x100))
  (global $end i32 (i32.const 0x130))

  ;; Where the verdict is written. 0 is what every field is that nobody writes: no option, an empty list.
  (global $verdict i32 (i32.const 0x200))
  (global $size i32 (i32.const 152))

  ;; Memory for the arguments: the next that is free, until the call is over.
  (global $free (mut i32) (i32.const 0x400))

  (func (export "cabi_realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    ;; More pages, while it reaches beyond those that there are. No more: a trap, and a refused client.
    (loop $more
      (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
          (br $more))))
    (memory.copy (local.get $at) (local.get $old) (local.get $was))
    (local.get $at))

  ;; The gateway has read the result: all that the call has taken is free again.
  (func (export "cabi_post_portcullis:policy/authentication@0.1.0#authenticate") (param $verdict i32)
    (global.set $free (i32.const 0x400)))

  (func (export "portcullis:policy/authentication@0.1.0#authenticate") (param $in i32) (result i32)
    (local $entry i32)
    (memory.fill (global.get $verdict) (i32.const 0) (global.get $size))
    (i32.store8 (global.get $verdict) (i32.const 2)) ;; pass

    ;; Not ours: no user name, or an authentication method of MQTT 5.
    (if (i32.or (i32.eqz (i32.load8_u offset=128 (local.get $in))) (i32.load8_u offset=152 (local.get $in)))
      (then (return (global.get $verdict))))

    (local.set $entry (global.get $list))
    (loop $next
      (if (call $same (i32.load offset=132 (local.get $in)) (i32.load offset=136 (local.get $in))
                      (i32.load offset=0 (local.get $entry)) (i32.load offset=4 (local.get $entry)))
        (then
          ;; No password has the address and the count 0 in memory, and no entry has an empty one.
          (if (i32.and
                (i32.load8_u offset=140 (local.get $in))
                (call $same (i32.load offset=144 (local.get $in)) (i32.load offset=148 (local.get $in))
                            (i32.load offset=8 (local.get $entry)) (i32.load offset=12 (local.get $entry))))
            (then (call $allow (local.get $entry)))
            (else (call $deny)))
          (return (global.get $verdict))))
      (local.set $entry (i32.add (local.get $entry) (i32.const 24)))
      (br_if $next (i32.lt_u (local.get $entry) (global.get $end))))
    (global.get $verdict))

  ;; allow(grant). Of the grant: 0 identity { 0 scheme, 8 subject, 16 tenant, … }, 92 rules; the verdict's 8 are added.
  (func $allow (param $entry i32)
    (local $v i32)
    (local.set $v (global.get $verdict))
    (i32.store8 offset=0 (local.get $v) (i32.const 0))
    (i32.store offset=8 (local.get $v) (i32.const 0x10)) ;; scheme: "list"
    (i32.store offset=12 (local.get $v) (i32.const 4))
    (i64.store offset=16 align=4 (local.get $v) (i64.load offset=0 align=4 (local.get $entry))) ;; subject: its name
    (i32.store8 offset=24 (local.get $v) (i32.const 1)) ;; tenant: "plant"
    (i32.store offset=28 (local.get $v) (i32.const 0x14))
    (i32.store offset=32 (local.get $v) (i32.const 5))
    (i64.store offset=100 align=4 (local.get $v) (i64.load offset=16 align=4 (local.get $entry)))) ;; rules

  ;; deny(denial). Of the denial: 0 reason (0 is `bad-credentials`), 4 detail.
  (func $deny
    (i32.store8 offset=0 (global.get $verdict) (i32.const 1))
    (i32.store offset=12 (global.get $verdict) (i32.const 0x19)) ;; "wrong password"
    (i32.store offset=16 (global.get $verdict) (i32.const 14)))

  ;; Whether two texts are the same, in a time that does not tell where they differ.
  (func $same (param $a i32) (param $m i32) (param $b i32) (param $n i32) (result i32)
    (local $differ i32)
    (if (i32.ne (local.get $m) (local.get $n)) (then (return (i32.const 0))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (local.set $differ (i32.or (local.get $differ)
          (i32.xor (i32.load8_u (i32.add (local.get $a) (local.get $n)))
                   (i32.load8_u (i32.add (local.get $b) (local.get $n))))))
        (br $next)))
    (i32.eqz (local.get $differ)))
)
