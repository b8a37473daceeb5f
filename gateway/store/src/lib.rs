//! Durable storage: the only room that knows redb.
