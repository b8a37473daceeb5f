//! HTTP: the schemes' endpoints, health, the admin interface, metrics.
