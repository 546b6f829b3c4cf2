//! What messages are read as that are older than this program, say it otherwise, or make no sense.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use serde_json::json;
use weimocir_domain::{Collection, ImageId, ModelId, Revision};
use weimocir_wire::{
    Blob, Encoding, WireError, decode, encode,
    query::{CandidatesChunk, CandidatesQuery, CaptionQuery, RecordQuery},
    search::SearchRequest,
    vectors::{CollectionRecord, Serving},
    work::{CaptionImage, EncodeCaptions},
};

fn collection() -> Collection {
    "shoes-2026".parse().unwrap()
}

fn image() -> ImageId {
    ImageId::of(b"a shoe")
}

fn model() -> ModelId {
    ModelId::new("openai/clip-vit-base-patch32")
}

/// By text alone.
fn request() -> SearchRequest {
    SearchRequest { modifier: Some("is blue".into()), ..SearchRequest::default() }
}

#[test]
fn another_version_is_refused() {
    let mut message = json!({ "version": 2, "image": image() });
    let packed = rmp_serde::to_vec_named(&message).unwrap();
    let json = message.to_string();
    for (bytes, encoding) in
        [(&packed[..], Encoding::MessagePack), (json.as_bytes(), Encoding::Json)]
    {
        let error = decode::<RecordQuery>(bytes, encoding).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this record-query message has version 2; this program knows version 1"
        );
    }
    // what a later version means is unknown, so its version is told before its shape is judged
    message = json!({ "version": 2, "pictures": 3 });
    let error = decode::<SearchRequest>(message.to_string().as_bytes(), Encoding::Json);
    assert!(matches!(error, Err(WireError::Version { found: 2, known: 1, .. })), "{error:?}");
}

#[test]
fn what_was_not_asked_to_be_explained_is_as_before() {
    let plain = encode(&SearchRequest::default(), Encoding::Json).unwrap();
    assert!(!String::from_utf8(plain).unwrap().contains("explain"));
    // a candidate of a store from before has no components, and its piece no model
    let piece = json!({ "version": 1, "sequence": 0, "last": true, "images": 1, "candidates": [{
        "image": image(), "similarity": 0.5, "s_img": 0.5, "s_txt": null, "captions": [],
        "source": "", "metadata": {},
    }] });
    let read: CandidatesChunk = decode(piece.to_string().as_bytes(), Encoding::Json).unwrap();
    assert_eq!((read.model, &read.candidates[0].components), (None, &None));
}

#[test]
fn a_request_without_version_is_of_the_first() {
    let bare = br#"{"modifier": "is blue"}"#;
    let read: SearchRequest = decode(bare, Encoding::Json).unwrap();
    assert_eq!(read, request());
    let bare = rmp_serde::to_vec_named(&json!({ "modifier": "is blue" })).unwrap();
    assert_eq!(decode::<SearchRequest>(&bare, Encoding::MessagePack).unwrap(), request());
}

#[test]
fn a_picture_to_caption_may_come_without_its_source() {
    let older =
        json!({ "version": 1, "collection": collection(), "image": image(), "revision": 3 });
    let packed = rmp_serde::to_vec_named(&older).unwrap();
    let read: CaptionImage = decode(&packed, Encoding::MessagePack).unwrap();
    assert_eq!((read.revision, read.source), (Revision(3), None));
}

#[test]
fn a_collection_from_before_there_were_fields_has_none() {
    let older = json!({ "version": 1, "name": collection(), "shards": 2, "model": model() });
    let read: CollectionRecord = decode(older.to_string().as_bytes(), Encoding::Json).unwrap();
    assert!(read.fields.is_empty());
}

#[test]
fn a_collection_serves_itself_until_it_says_otherwise() {
    let older = json!({ "version": 1, "name": collection(), "shards": 2, "model": model() });
    let mut read: CollectionRecord = decode(older.to_string().as_bytes(), Encoding::Json).unwrap();
    assert_eq!((read.generation(), read.serving_model()), (&collection(), Some(&model())));
    let (other, from) = (ModelId::new("other"), collection());
    let generation = collection().generation(&other);
    read.serving = Some(Serving { generation: generation.clone(), model: other.clone(), from });
    assert_eq!((read.generation(), read.serving_model()), (&generation, Some(&other)));
}

#[test]
fn captions_to_encode_may_come_without_a_generation() {
    let older = json!({ "version": 1, "collection": collection(), "image": image(), "revision": 3,
        "captions": ["a red shoe"] });
    let packed = rmp_serde::to_vec_named(&older).unwrap();
    let read: EncodeCaptions = decode(&packed, Encoding::MessagePack).unwrap();
    assert_eq!((read.revision, read.generation), (Revision(3), None));
}

#[test]
fn bytes_that_are_no_message_are_named() {
    let whole = encode(&request(), Encoding::MessagePack).unwrap();
    let cut = &whole[..whole.len() - 1];
    for bytes in [&b""[..], b"\xc1", b"\x93\x01\x02", b"{\"modifier\":", b"null", b"{}x", cut] {
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            let error = decode::<SearchRequest>(bytes, encoding).unwrap_err();
            assert!(matches!(error, WireError::Malformed { name: "search", .. }), "{error:?}");
            assert!(error.to_string().starts_with("this is no search message: "), "{error}");
        }
    }
}

fn refused(request: serde_json::Value) -> String {
    let text = decode::<SearchRequest>(request.to_string().as_bytes(), Encoding::Json);
    let packed = rmp_serde::to_vec_named(&request).unwrap();
    let packed = decode::<SearchRequest>(&packed, Encoding::MessagePack);
    let (text, packed) = (text.unwrap_err().to_string(), packed.unwrap_err().to_string());
    format!("{text}\n{packed}")
}

#[test]
fn a_misspelt_field_is_named() {
    let told = refused(json!({ "modifier": "is blue", "alhpa": 0.5 }));
    assert_eq!(told.matches("unknown field `alhpa`").count(), 2, "{told}");
}

#[test]
fn values_out_of_range_are_refused() {
    let told = refused(json!({ "modifier": "is blue", "alpha": 1.5 }));
    assert_eq!(told.matches("alpha is 1.5, which is not between 0 and 1").count(), 2, "{told}");
    for (field, wrong) in [
        ("beta", json!(-0.1)),
        ("alpha", json!("0.5")),
        ("collection", json!("A.b")),
        ("reference", json!({ "id": "1234" })),
        ("reference", json!({ "url": "http://example.org/1.jpg" })),
        ("text_reference", json!("text")),
        ("long_text", json!("cut")),
        ("exclude", json!(["x"])),
        ("k", json!(-1)),
        ("filter", json!({ "field": "colour" })),
        ("filter", json!({ "field": "price", "range": { "gte": null } })),
    ] {
        refused(json!({ "modifier": "is blue", field: wrong }));
    }
}

#[test]
fn a_filter_has_no_nan() {
    // Python: msgpack.packb({"filter": {"field": "x", "is": float("nan")}})
    let python = b"\x81\xa6filter\x82\xa5field\xa1x\xa2is\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00";
    let error = decode::<SearchRequest>(python, Encoding::MessagePack).unwrap_err().to_string();
    assert!(error.contains("expected a text, a finite number, true or false"), "{error}");
}

#[test]
fn numbers_may_be_of_any_type_that_holds_them() {
    // Python: msgpack.packb({"modifier": "x", "alpha": 0.5, "beta": 1, "k": 5})
    let python =
        b"\x84\xa8modifier\xa1x\xa5alpha\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\xa4beta\x01\xa1k\x05";
    let read: SearchRequest = decode(python, Encoding::MessagePack).unwrap();
    let weights = (read.alpha.unwrap().get(), read.beta.unwrap().get());
    assert_eq!((weights, read.k), ((0.5, 1.0), Some(5)));
    let read: SearchRequest =
        decode(br#"{"modifier": "x", "alpha": 0, "beta": 1.0}"#, Encoding::Json).unwrap();
    assert_eq!((read.alpha.unwrap().get(), read.beta.unwrap().get()), (0.0, 1.0));
}

#[test]
fn blobs_are_base64_in_json_and_bytes_in_message_pack() {
    let message = CaptionQuery { image: Blob(b"GIF89a".to_vec()) };
    let json = encode(&message, Encoding::Json).unwrap();
    // `printf GIF89a | base64`
    assert_eq!(String::from_utf8(json).unwrap(), r#"{"version":1,"image":"R0lGODlh"}"#);
    let packed = encode(&message, Encoding::MessagePack).unwrap();
    assert!(packed.ends_with(b"\xa5image\xc4\x06GIF89a"), "{packed:x?}");
    for wrong in ["R0lGODlh!", "R0lGODl"] {
        let json = json!({ "image": wrong }).to_string();
        assert!(decode::<CaptionQuery>(json.as_bytes(), Encoding::Json).is_err(), "{wrong}");
    }
}

#[test]
fn a_vector_of_broken_length_is_refused() {
    // {"version": 2, "reference": 5 bytes}
    let packed = b"\x82\xa7version\x02\xa9reference\xc4\x05abcde";
    let error = decode::<CandidatesQuery>(packed, Encoding::MessagePack).unwrap_err();
    assert!(error.to_string().contains("5 bytes are no f32 values"), "{error}");
}
