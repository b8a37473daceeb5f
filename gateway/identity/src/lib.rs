//! The directory: apps, consumers, users, devices, keys, roles, signing keys.
