#!/bin/bash
# Makes types/ anew from the contract, after it has changed. jco is large (400 MB with what it brings), so that `build` does without it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -rf types.new
npx --yes @bytecodealliance/jco@1.24.6 guest-types ../wit --world-name badge --out-dir types.new --quiet
rm -rf types && mv types.new types
# componentize-qjs has numbers where jco has bigints: no number of the contract exceeds 2^53.
sed -i 's/\bbigint\b/number/g' types/interfaces/*.d.ts
# What they were made of: a test compares.
(export LC_ALL=C; cat ../wit/badge.wit ../../wit/*.wit) | sha256sum | cut -d ' ' -f 1 >types/contract.sha256
