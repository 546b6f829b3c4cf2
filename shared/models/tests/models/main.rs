//! The crate from outside: numbers of Hugging Face and Pillow, bad input, the device thread.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundled;
mod captioners;
mod common;
mod device_memory;
mod device_thread;
mod encoder_thread;
mod endpoint;
mod formats;
mod http_server;
mod known;
mod loading;
mod parity;
mod pictures;
