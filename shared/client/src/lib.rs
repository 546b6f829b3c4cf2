//! What feeds, commands and the gateway do with a pipeline from outside: submit pictures
//! (`submitter`), ask the stores of a collection (`gallery`), and see how work goes (`queues`) or fails
//! (`losses`). Searching is one request, and needs nothing from here.

mod gallery;
mod losses;
mod queues;
mod submitter;

pub use gallery::{Gallery, Totals};
pub use losses::{Loss, Losses};
pub use queues::{Queue, queues};
pub use submitter::{
    Expected, Outcome, Submission, SubmissionError, SubmitOptions, Submitter, too_large,
};
