//! Subscriptions, retained messages, mailboxes and fan-out.
