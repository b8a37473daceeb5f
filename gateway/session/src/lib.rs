//! The MQTT state machine of one session, without I/O.
