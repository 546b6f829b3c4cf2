//! The encoder on its thread: the same features as without it, whatever shares their batch, and
//! texts that are refused before they queue.

use crate::{
    common::{bytes, check_close, fixture, json},
    parity::ClipGolden,
};
use weimocir_domain::LongText;
use weimocir_models::{
    Budget, DeviceChoice, Encoder, EncoderHandle, Lane, ModelError, ModelSource, Queues, TextError,
};

fn handle(batch: Budget) -> EncoderHandle {
    let source = ModelSource::Folder(fixture("clip_gelu"));
    let encoder = Encoder::load(&source, DeviceChoice::Cpu).unwrap();
    EncoderHandle::spawn(encoder, Queues { batch, ..Queues::default() }).unwrap()
}

async fn check_features(batch: Budget) {
    let golden: ClipGolden = json("clip_gelu/golden.json");
    let handle = handle(batch);
    let tokens = handle.text_preprocessor().tokens(&golden.texts, LongText::Truncate).unwrap();
    let pictures: Vec<_> = golden
        .pictures
        .iter()
        .map(|name| {
            let pixels = handle.preprocessor().pixels(&bytes(&format!("pictures/{name}"))).unwrap();
            let handle = handle.clone();
            tokio::spawn(async move { handle.encode_image(Lane::Ingest, pixels).await })
        })
        .collect();
    let texts = handle.encode_texts(Lane::Ingest, tokens).await.unwrap().value;
    assert_eq!(texts.len(), golden.texts.len());
    for (n, text) in texts.iter().enumerate() {
        let (found, what) = (text.embedding.values(), &golden.texts[n]);
        check_close(found, &golden.text_features[n], 1e-4, 0.99999, what);
        assert_eq!(text.truncated, golden.truncated[n], "{what}");
    }
    for (n, picture) in pictures.into_iter().enumerate() {
        let found = picture.await.unwrap().unwrap().value;
        let what = &golden.pictures[n];
        check_close(found.values(), &golden.image_features[n], 1e-4, 0.99999, what);
    }
}

#[tokio::test]
async fn features_are_hugging_faces_in_large_and_in_smallest_passes() {
    check_features(Budget::default()).await;
    check_features(Budget { images: 1, tokens: 1 }).await;
    check_features(Budget { images: 2, tokens: 40 }).await;
}

#[test]
fn a_long_text_can_be_refused_with_its_length() {
    let texts = ["red".to_owned(), "red ".repeat(100)];
    let preprocessor = handle(Budget::default()).text_preprocessor();
    assert_eq!(preprocessor.tokens(&texts, LongText::Truncate).unwrap().len(), 2);
    let error = preprocessor.tokens(&texts, LongText::Refuse).unwrap_err();
    let ModelError::Text(TextError::TooLong { index: 1, tokens, limit: 24 }) = error else {
        panic!("{error:?}");
    };
    // a hundred words and the two tokens around them, at least
    assert!(tokens >= 102, "{tokens}");
    let told = format!("text 1 has {tokens} tokens, and the model reads 24: ");
    assert!(error.to_string().starts_with(&told), "{error}");
    assert_eq!(preprocessor.tokens(&texts[..1], LongText::Refuse).unwrap().len(), 1);
}

#[test]
fn an_empty_text_is_refused_before_it_queues() {
    let texts = ["red".to_owned(), " \n".to_owned()];
    let error = handle(Budget::default()).text_preprocessor().tokens(&texts, LongText::Truncate);
    let error = error.unwrap_err();
    assert!(matches!(error, ModelError::Text(TextError::Empty { index: 1 })), "{error:?}");
}
