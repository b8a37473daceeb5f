# shellcheck shell=bash disable=SC2034,SC2154
# The compiler of guests in Rust, for the scripts that source this. They have `say`, `fail` and `root` (the repository).
#
# Rust with the target wasm32-unknown-unknown if there is one; else Debian's (rustc-web and rust-web-src), whose standard
# library for the target is compiled once and kept outside the repository. policies/README.md tells more. Afterwards `compiler`
# is its version line, and `guest_cargo` is cargo with it.

target=wasm32-unknown-unknown
# Flags for the host's code would be wrong for a guest, and would make its octets depend on who builds.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS

# The standard library of Debian's compiler for the target, in a folder named after the compiler. Prints the folder.
debian_sysroot() {
  local key folder scratch lib
  key=$(/usr/bin/rustc -Vv | cksum | cut -d' ' -f1)
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/portcullis/wasm32-sysroot-2-$key
  if [ ! -d "$folder" ]; then
    say "compiling the standard library for $target, once (half a minute)"
    scratch=$(mktemp -d)
    mkdir -p "$scratch/src" "$(dirname "$folder")"
    printf '%s\n' '[package]' 'name = "empty"' 'version = "0.0.0"' 'edition = "2021"' \
      '[profile.release]' 'panic = "abort"' 'opt-level = "s"' 'codegen-units = 1' '[workspace]' >"$scratch/Cargo.toml"
    : >"$scratch/src/lib.rs"
    (
      cd "$scratch"
      # -Zbuild-std is not stable; the compiler takes it when told that it builds itself.
      env -u CARGO_TARGET_DIR RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-Cembed-bitcode=yes $remap --remap-path-prefix=/usr/lib/rustlib/src/rust=/rust --remap-path-prefix=$(readlink -f /usr/lib/rustlib/src/rust)=/rust" \
        cargo build --quiet --release -Zbuild-std=std,panic_abort --target $target
    ) >&2
    lib=$scratch/sysroot/lib/rustlib/$target/lib
    mkdir -p "$lib"
    cp "$scratch/target/$target/release/deps/"*.rlib "$lib/"
    rm -f "$lib"/libempty-*.rlib
    # Moved into place whole, so that an interrupted build leaves nothing that looks complete.
    mv -T "$scratch/sysroot" "$folder" 2>/dev/null || [ -d "$folder" ]
    rm -rf "$scratch"
  fi
  printf '%s' "$folder"
}

# A linker for WebAssembly: that of the Rust in front, or Debian's.
linker() {
  local candidate
  candidate=$(dirname "$(rustc --print target-libdir)")/bin/rust-lld
  if [ -x "$candidate" ]; then printf '%s' "$candidate"; return; fi
  for candidate in rust-lld wasm-ld wasm-ld-{22,21,20,19}; do
    if command -v "$candidate"; then return; fi
  done
  fail 'there is no linker for WebAssembly: apt-get install lld'
}

remap="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$root=/portcullis"
# A registry's folder is named after its host, and the octets should not depend on where crates came from.
for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  remap+=" --remap-path-prefix=${folder%/}=/crates"
done
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
  compiler=$(rustc --version)
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="$remap"
elif [ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust ]; then
  compiler=$(/usr/bin/rustc --version)
  sysroot=$(debian_sysroot)
  wasm_linker=$(linker)
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$wasm_linker
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--sysroot $sysroot $remap"
  guest_rustc=/usr/bin/rustc
else
  fail "there is no Rust standard library for $target here. Install it with \`rustup target add $target\`," \
    "or on Debian with \`apt-get install --no-install-recommends rustc-web rust-web-src\`."
fi

guest_cargo() { env ${guest_rustc:+RUSTC="$guest_rustc"} cargo "$@"; }
