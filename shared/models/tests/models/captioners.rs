//! The captioners that need no network, through the trait.

use std::{collections::HashSet, num::NonZeroUsize, sync::Arc};

use weimocir_models::{
    BlipCaptioner, BlipHandle, CaptionError, Captioner, DeviceChoice, FileCaptioner, Lane,
    ModelSource, Picture, Queues,
};

use crate::common::bytes;

fn picture(name: &str, seed: u64, lane: Lane) -> Picture {
    Picture {
        bytes: bytes(&format!("pictures/{name}")).into(),
        seed,
        lane,
        source: Some(format!("some/folder/{name}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blip_says_the_same_of_the_same_picture_and_seed() {
    let blip = BlipCaptioner::load(&ModelSource::Bundled, DeviceChoice::Cpu).unwrap();
    let id = blip.id().to_string();
    let captioner: Arc<dyn Captioner> =
        Arc::new(BlipHandle::spawn(blip, Queues::default()).unwrap());
    assert_eq!(captioner.name(), id);
    let r = NonZeroUsize::new(3).unwrap();
    let name = "subsampled.jpg";
    let first = captioner.caption(picture(name, 5, Lane::Ingest), r).await.unwrap();
    assert!((1..=3).contains(&first.len()));
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), first.len(), "{first:?}");
    let again = captioner.caption(picture(name, 5, Lane::Query), r).await.unwrap();
    assert_eq!(first, again);

    let text = Picture { bytes: "no picture".into(), ..picture(name, 5, Lane::Ingest) };
    let error = captioner.caption(text, r).await.unwrap_err();
    assert!(matches!(error, CaptionError::Image(_)), "{error:?}");
}

#[tokio::test]
async fn a_stopped_device_thread_is_broken() {
    let blip = BlipCaptioner::load(&ModelSource::Bundled, DeviceChoice::Cpu).unwrap();
    let captioner = BlipHandle::spawn(blip, Queues::default()).unwrap();
    captioner.shutdown();
    let asked =
        captioner.caption(picture("subsampled.jpg", 5, Lane::Ingest), NonZeroUsize::MIN).await;
    assert!(matches!(asked, Err(CaptionError::Broken { .. })), "{asked:?}");
}

#[tokio::test]
async fn a_file_of_captions_goes_by_the_picture_s_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"[{"candidate": "subsampled", "captions": ["One.", "Two."]}]"#)
        .unwrap();
    let captioner: Arc<dyn Captioner> = Arc::new(FileCaptioner::open(file.path()).unwrap());
    let r = NonZeroUsize::new(3).unwrap();
    let found = captioner.caption(picture("subsampled.jpg", 5, Lane::Ingest), r).await.unwrap();
    assert_eq!(found, ["One.", "Two."]);
    let other = Picture { source: None, ..picture("subsampled.jpg", 5, Lane::Ingest) };
    let error = captioner.caption(other, r).await.unwrap_err();
    assert!(matches!(error, CaptionError::Rejected { .. }), "{error:?}");
}
