#!/bin/sh
# Makes types/ anew, after the world in wit/ has changed, with jco: large, and not needed to build.
set -eu
cd "$(dirname "$0")"
rm -rf types
npx --yes @bytecodealliance/jco@1.24.6 guest-types wit --world-name policy --out-dir types --quiet
# componentize-qjs has numbers where jco has bigints: no number of the contract exceeds 2^53.
sed -i 's/\bbigint\b/number/g' types/interfaces/*.d.ts
