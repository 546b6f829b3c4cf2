//! `weimocir provision`: everything on the server that workers and feeds need, made by somebody who may.

use std::time::Duration;

use weimocir_domain::{FieldDeclaration, FieldKinds, ModelId};
use weimocir_runtime::Collections;

use crate::{Done, Shared, say, say_json};

/// How long deliveries of a queue to encode may be silent.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct ProvisionArgs {
    /// Shards of the gallery, if this makes it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: u16,
    /// Declare a field of the metadata that searches can filter by: keyword, integer, float,
    /// timestamp or boolean
    #[arg(long = "field", value_name = "NAME:KIND")]
    fields: Vec<FieldDeclaration>,
    /// Make the queues of a model's lane, by the id that its encode worker logs. One model alone needs none
    #[arg(long = "model", value_name = "ID")]
    models: Vec<String>,
}

pub(crate) async fn run(args: ProvisionArgs, shared: Shared) -> anyhow::Result<Done> {
    let mut fields = FieldKinds::default();
    args.fields.iter().try_for_each(|new| fields.declare(&new.field, new.kind))?;
    let bus = shared.connect().await?;
    bus.provision().await?;
    bus.provision_feeds().await?;
    // because: how many a worker takes at once is its own matter
    let [images, captions] = weimocir_encode::queues(1, ACK_WAIT);
    let pictures = weimocir_caption::queue(1, Duration::from_secs(60));
    let mut queues = vec![images, captions, pictures, weimocir_store::deletions()];
    let models: Vec<_> = args.models.into_iter().map(ModelId::new).collect();
    for model in &models {
        queues.extend(weimocir_encode::lane(model, 1, ACK_WAIT));
    }
    bus.provision_queues(&queues).await?;
    let collections = Collections::open(&bus).await?;
    collections.ensure(&shared.collection, args.shards).await?;
    let record = collections.declare(&shared.collection, &fields).await?;
    if shared.json {
        say_json(&record)?;
    } else {
        say(format_args!("{} is ready, with {} shards", record.name, record.shards));
        // because: it is what the encode worker logs, if the id is its model's
        models.iter().for_each(|model| say(format_args!("{model} has the lane {}", model.lane())));
    }
    Ok(Done::Fully)
}
