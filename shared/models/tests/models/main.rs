//! The crate from outside: numbers of Hugging Face and Pillow, bad input, the device thread.

mod bundled;
mod common;
mod device_thread;
mod loading;
mod parity;
mod pictures;
