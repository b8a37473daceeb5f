//! Speaks OpenStack Identity v3 and FIWARE: passwords, tokens, application credentials.

mod component;
