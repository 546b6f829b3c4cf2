//! The one crate that names async-nats: connecting, provisioning, the worker loop, request-reply,
//! the object store, dead letters, drain and telemetry. What the messages mean is `weimocir-wire`'s.
//!
//! Where a future comes boxed, its code is generated here once; a plain `async fn` is generated anew
//! in every crate that awaits it, with all of async-nats below it, which takes minutes to compile.

mod collections;
mod connect;
mod dead;
mod delivery;
mod log;
mod marks;
mod operations;
mod pictures;
mod provision;
mod request;
mod restore;
mod serve;
mod shutdown;
mod status;
mod submit;
mod telemetry;
mod trace;
mod trying;
mod worker;

pub use collections::{CollectionError, Collections, LATELY};
pub use connect::{Bus, BusError, NatsArgs, Patience};
pub use dead::{DeadLetter, DeadLetters};
pub use delivery::{Delivery, Failure};
pub use log::{LogEntry, LogIdentity, ShardLog};
pub use marks::Marks;
pub use operations::{Awaited, Operations, OperationsArgs, OperationsError, collect_metrics};
pub use pictures::{PictureError, Pictures};
pub use request::Replies;
pub use serve::{Asked, Service};
pub use shutdown::{on_signal, run};
pub use status::{Backlog, Reached, WorkerInfo};
pub use submit::SubmitError;
pub use telemetry::{LogFormat, TelemetryArgs, TelemetryError};
pub use tokio_util::sync::CancellationToken;
pub use trace::TARGET as TRACE_TARGET;
pub use trying::Trying;
pub use worker::{HANDLING, Pull, work};
