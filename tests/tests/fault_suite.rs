//! One round of every fault; `make test-faults` tries each many times.

use futures::{FutureExt, StreamExt, TryStreamExt};
use weimocir_tests::faults::{Fault, Plan, strike};

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_every_fault_loses_nothing_and_doubles_nothing() -> anyhow::Result<()> {
    let plan = Plan { rounds: 1, pictures: 24, seed: 7 };
    let round = |fault| async move { anyhow::Ok((fault, strike(fault, plan).await?)) }.boxed();
    let rounds = futures::stream::iter(Fault::ALL.map(round)).buffer_unordered(3);
    let tallies: Vec<_> = rounds.try_collect().await?;
    for (fault, tally) in tallies {
        assert_eq!((tally.lost, tally.duplicated), (0, 0), "{fault}: {tally:?}");
        assert_eq!(tally.searchable, tally.acknowledged, "{fault}: {tally:?}");
        assert_eq!(tally.acknowledged, plan.pictures, "{fault}: {tally:?}");
    }
    Ok(())
}
