//! Real processes against a real nats-server: what the tests and the benchmarks of the whole
//! pipeline stand on.

pub mod autoscale;
pub mod faults;
pub mod hostile;
pub mod mixture;
mod pictures;
mod pipeline;
mod searching;
mod work;

pub use pictures::{render, tiny};
pub use pipeline::{Kind, Outcome, Pipeline, Role, Worker, pinned, program, until};
pub use searching::Searching;
pub use work::{Counted, EncodeWork};
