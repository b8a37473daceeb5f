//! The harness of the end-to-end tests: starts the real binary and talks to it.
