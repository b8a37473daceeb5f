//! Speaks km-api and Layer: registration, tokens, nonces, identity tokens, sessions.

mod component;
