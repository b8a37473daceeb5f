//! The MQTT wire: frames, packets, properties, topics. No tokio, no policy.
