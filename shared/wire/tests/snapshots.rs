//! The wire format, byte by byte. A snapshot that changes here is a message that older workers,
//! stored logs and clients no longer read: raise the message's version, or leave its shape alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::fmt::{Debug, Write as _};

use serde_json::json;
use weimocir_domain::{
    Alpha, Beta, Candidate, CaptionSimilarity, Collection, Component, Components, FieldKinds,
    Filter, Gamma, ImageId, LongText, ModelId, Norm, Norms, Revision, TextReference,
};
use weimocir_wire::{
    Blob, Encoding, Message, Vector, dead, decode, encode,
    feed::FeedMark,
    query::{
        CandidatesChunk, CandidatesQuery, CaptionQuery, CaptionedQuery, EncodeQuery, EncodeTiming,
        EncodedQuery, EncodedText, ImageState, ListQuery, ListedImage, Listing, Lookup,
        LookupQuery, MatchQuery, Matched, Record, RecordQuery,
    },
    search::{
        Reference, Refusal, RefusalCode, Refused, Rerank, Reranked, Reranker, SearchAnswer,
        SearchRequest, SearchTiming,
    },
    submit::{SubmitAnswer, SubmitOutcome, SubmitRequest},
    vectors::{CaptionVector, CaptionsPart, CollectionRecord, ImagePart, Serving, Tombstone},
    work::{CaptionImage, DeleteImage, EncodeCaptions, EncodeImage, EncodeInLane, Metadata},
};

/// Both encodings of a message, for a snapshot, after reading each back.
fn show<T: Message + PartialEq + Debug>(text: &mut String, message: &T) {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let bytes = encode(message, encoding).unwrap();
        assert_eq!(&decode::<T>(&bytes, encoding).unwrap(), message, "{} as {encoding:?}", T::NAME);
        assert_eq!(Encoding::of(None, &bytes), encoding, "{} unlabelled", T::NAME);
    }
    let json = String::from_utf8(encode(message, Encoding::Json).unwrap()).unwrap();
    let packed = hex(&encode(message, Encoding::MessagePack).unwrap());
    writeln!(text, "# {}\n{json}\n{packed}\n", T::NAME).unwrap();
}

/// 40 bytes to a line.
fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(40).map(|line| line.iter().map(|b| format!("{b:02x}")).collect());
    lines.collect::<Vec<String>>().join("\n")
}

macro_rules! snapshot {
    ($name:literal, $($message:expr),+ $(,)?) => {{
        let mut text = String::new();
        $(show(&mut text, &$message);)+
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, text);
        });
    }};
}

fn collection() -> Collection {
    "shoes-2026".parse().unwrap()
}

fn image() -> ImageId {
    "ba7816bf8f01cfea414140de5dae2223".parse().unwrap()
}

fn other_image() -> ImageId {
    "00000000000000000000000000000001".parse().unwrap()
}

fn model() -> ModelId {
    ModelId::new("openai/clip-vit-base-patch32")
}

fn metadata() -> Metadata {
    json!({ "price": 12.5, "tags": ["a", null, true] }).as_object().unwrap().clone()
}

fn fields() -> FieldKinds {
    let kinds = json!({
        "colour": "keyword", "made": "timestamp", "price": "float", "sale": "boolean",
        "stock": "integer",
    });
    serde_json::from_value(kinds).unwrap()
}

/// Every shape that a filter has.
fn filter() -> Filter {
    let filter = json!({ "and": [
        { "field": "colour", "in": ["red", "blue"] },
        { "or": [
            { "field": "price", "range": { "gte": 1, "lt": 5.5 } },
            { "field": "made", "range": { "gt": "2026-01-31T12:00:00Z", "lte": 1769904000 } },
        ] },
        { "not": { "field": "sale", "is": true } },
        { "field": "stock", "exists": true },
    ] });
    serde_json::from_value(filter).unwrap()
}

fn vector() -> Vector {
    Vector(vec![1.0, -2.5, 0.1])
}

fn caption_vector() -> CaptionVector {
    CaptionVector { text: "a red shoe – worn".into(), embedding: vector() }
}

fn encode_timing() -> EncodeTiming {
    EncodeTiming { queued_ms: 0.25, preprocessing_ms: 3.5, inference_ms: 8.0 }
}

fn candidate() -> Candidate {
    Candidate {
        image: image(),
        similarity: 0.75,
        s_img: 0.1,
        s_txt: Some(-0.5),
        captions: vec![
            CaptionSimilarity { text: "a red shoe".into(), similarity: Some(0.25) },
            CaptionSimilarity { text: "a boot".into(), similarity: None },
        ],
        source: "shoes/1.jpg".into(),
        metadata: metadata(),
        components: None,
        rerank_score: None,
    }
}

fn explained() -> Candidate {
    let component = |reference, modifier| Component { reference, modifier };
    let components =
        Components { image: component(1.5, -0.25), captions: vec![component(0.0, 7.0)] };
    Candidate { components: Some(components), rerank_score: Some(0.625), ..candidate() }
}

#[test]
fn work() {
    snapshot!(
        "work",
        EncodeImage {
            collection: collection(),
            image: image(),
            source: "shoes/1.jpg".into(),
            metadata: metadata(),
        },
        EncodeInLane {
            collection: collection(),
            generation: Some(collection().generation(&model())),
            image: image(),
            revision: Revision(7),
            source: "shoes/1.jpg".into(),
            metadata: metadata(),
        },
        CaptionImage {
            collection: collection(),
            image: image(),
            revision: Revision(300),
            source: Some("shoes/1.jpg".into()),
        },
        EncodeCaptions {
            collection: collection(),
            generation: None,
            image: image(),
            revision: Revision(u64::MAX),
            captions: vec!["a red shoe – worn".into(), String::new()],
        },
        EncodeCaptions {
            collection: collection(),
            generation: Some(collection()),
            image: image(),
            revision: Revision(7),
            captions: vec!["a red shoe".into()],
        },
        DeleteImage { collection: collection(), image: image() },
    );
}

#[test]
fn vectors() {
    snapshot!(
        "vectors",
        ImagePart {
            image: image(),
            revision: Revision(7),
            model: model(),
            embedding: vector(),
            source: "shoes/1.jpg".into(),
            metadata: metadata(),
        },
        CaptionsPart {
            image: image(),
            revision: Revision(7),
            model: model(),
            captions: vec![caption_vector()],
        },
        Tombstone { image: image(), revision: Revision(8) },
        CollectionRecord {
            model: Some(model()),
            fields: fields(),
            ..CollectionRecord::new(collection(), 4)
        },
        CollectionRecord::new(Collection::default(), 1),
        CollectionRecord {
            model: Some(model()),
            serving: Some(Serving {
                generation: collection().generation(&model()),
                model: model(),
                from: collection(),
            }),
            dropped: true,
            ..CollectionRecord::new(collection(), 4)
        },
        CollectionRecord {
            model: Some(model()),
            of: Some(collection()),
            ..CollectionRecord::new(collection().generation(&model()), 4)
        },
    );
}

#[test]
fn query() {
    snapshot!(
        "query",
        EncodeQuery {
            image: Some(Blob(vec![0, 255, 16])),
            texts: vec!["is blue".into()],
            captions: vec!["a red shoe".into()],
            long_text: LongText::Refuse,
        },
        EncodedQuery {
            model: model(),
            alpha: 0.8,
            beta: 0.1,
            image: Some(vector()),
            texts: vec![EncodedText { embedding: vector(), truncated: true }],
            captions: vec![EncodedText { embedding: vector(), truncated: false }],
            timing: encode_timing(),
        },
        CaptionQuery { image: Blob(b"GIF89a".to_vec()) },
        CaptionedQuery { captions: vec!["a red shoe".into()] },
        MatchQuery {
            model: model(),
            text: "is blue".into(),
            images: vec![image(), other_image()],
            within_ms: 500,
        },
        Matched { probabilities: vec![Some(0.75), None] },
        CandidatesQuery {
            model: model(),
            reference: Some(vector()),
            modifier: None,
            text_reference: TextReference::Caption,
            captions: vec![vector()],
            alpha: Alpha::new(0.8).unwrap(),
            beta: Beta::new(0.1).unwrap(),
            k: 10,
            exclude: vec![image()],
            filter: Some(filter()),
            explain: true,
        },
        CandidatesChunk {
            sequence: 1,
            last: true,
            model: Some(model()),
            images: 70_000,
            candidates: vec![candidate(), explained()],
        },
        LookupQuery { images: vec![image(), other_image()] },
        Lookup {
            states: vec![
                ImageState {
                    image: Some(Revision(9)),
                    captions: None,
                    tombstone: Some(Revision(8)),
                },
                ImageState::default(),
            ],
            images: 2,
            captioned: 1,
        },
        ListQuery { before: Some(Revision(9)), limit: 50 },
        Listing {
            images: vec![ListedImage {
                image: image(),
                revision: Revision(7),
                captions: vec!["a blue shoe".into()],
                source: "shoes/1.jpg".into(),
                metadata: metadata(),
            }],
        },
        RecordQuery { image: image() },
        Record {
            collection: collection(),
            image: image(),
            revision: Revision(7),
            model: model(),
            embedding: vector(),
            captions: vec![caption_vector()],
            source: "shoes/1.jpg".into(),
            metadata: metadata(),
        },
    );
}

fn request() -> SearchRequest {
    SearchRequest {
        version: Some(1),
        collection: collection(),
        reference: Some(Reference::Id(image())),
        modifier: Some("is blue".into()),
        alpha: Some(Alpha::new(0.8).unwrap()),
        beta: Some(Beta::new(0.1).unwrap()),
        text_reference: TextReference::Caption,
        long_text: LongText::Refuse,
        k: Some(50),
        exclude: vec![other_image()],
        exclude_reference: Some(false),
        filter: Some(filter()),
        negative: Some("has a belt".into()),
        gamma: Some(Gamma::new(0.5).unwrap()),
        more_like: vec![other_image()],
        more_weight: Some(Gamma::new(0.75).unwrap()),
        less_like: vec![image()],
        less_weight: Some(Gamma::new(0.25).unwrap()),
        rerank: Some(Rerank {
            by: Reranker::Weights { alpha: Some(Alpha::new(0.5).unwrap()), beta: None },
            top: Some(100),
            budget_ms: Some(500),
        }),
        timeout_ms: Some(2_000),
        explain: true,
    }
}

fn norms() -> Norms {
    let norm = Norm { reference: 4.0, cross: -0.5, modifier: 9.0 };
    Norms { image: norm, captions: vec![norm] }
}

#[test]
fn search() {
    let uploaded = SearchRequest {
        version: Some(1),
        reference: Some(Reference::Image(Blob(vec![0, 255, 16]))),
        ..SearchRequest::default()
    };
    snapshot!(
        "search",
        request(),
        uploaded,
        SearchAnswer {
            candidates: vec![candidate()],
            collection: collection(),
            model: model(),
            alpha: Alpha::new(0.8).unwrap(),
            beta: Beta::new(0.1).unwrap(),
            text_reference: TextReference::Image,
            images: 2_297,
            partial: true,
            missing_shards: vec![3],
            warnings: vec!["the modifier was cut".into()],
            took_ms: 14.5,
            timing: SearchTiming {
                reference_ms: 0.5,
                encode_ms: 12.0,
                encode: encode_timing(),
                candidates_ms: 1.5,
                merge_ms: 0.125,
                rerank_ms: 0.0,
            },
            norms: None,
            reranked: None,
        },
        explained_answer(),
        Refused { error: Refusal::new(RefusalCode::UnknownImage, "there is no such image") },
    );
}

#[test]
fn submit() {
    snapshot!(
        "submit",
        SubmitRequest {
            version: Some(1),
            collection: collection(),
            image: Some(Blob(vec![0, 255, 16])),
            url: Some("https://shop.example/1.jpg".into()),
            source: Some("shoes/1.jpg".into()),
            metadata: metadata(),
            captions: Some(vec!["a red shoe – worn".into()]),
            make_captions: Some(false),
        },
        SubmitRequest { version: Some(1), ..SubmitRequest::default() },
        SubmitAnswer { id: image(), outcome: SubmitOutcome::Submitted },
        SubmitAnswer { id: image(), outcome: SubmitOutcome::Present },
    );
}

#[test]
fn feed() {
    let key = "shoes/1.jpg".to_owned();
    snapshot!("feed", FeedMark { key, state: "\"9b2cf535\"".into(), image: image() });
}

fn explained_answer() -> SearchAnswer {
    SearchAnswer {
        candidates: vec![explained()],
        collection: collection(),
        model: model(),
        alpha: Alpha::new(0.5).unwrap(),
        beta: Beta::new(0.25).unwrap(),
        text_reference: TextReference::Caption,
        images: 1,
        partial: false,
        missing_shards: vec![],
        warnings: vec![],
        took_ms: 1.5,
        timing: SearchTiming::default(),
        norms: Some(norms()),
        reranked: Some(Reranked {
            by: Reranker::Matching { weight: Some(Gamma::new(0.5).unwrap()) },
            top: 50,
            images: 48,
        }),
    }
}

#[test]
fn refusal_codes() {
    use RefusalCode::*;
    let all = [
        Invalid,
        UnknownCollection,
        UnknownImage,
        ModelMismatch,
        NotReady,
        Busy,
        Unavailable,
        Timeout,
        Internal,
    ];
    let told = all.map(|code| format!("{} {}", code.status(), json!(code)));
    insta::assert_snapshot!(told.join("\n"), @r#"
    400 "invalid"
    404 "unknown_collection"
    404 "unknown_image"
    409 "model_mismatch"
    409 "not_ready"
    429 "busy"
    503 "unavailable"
    504 "timeout"
    500 "internal"
    "#);
}

#[test]
fn dead_letter_headers() {
    let all =
        [dead::STEP, dead::REASON, dead::ATTEMPTS, dead::SUBJECT, dead::SEQUENCE, dead::IMAGE];
    insta::assert_snapshot!(all.join("\n"), @r"
    Weimocir-Step
    Weimocir-Reason
    Weimocir-Attempts
    Weimocir-Subject
    Weimocir-Sequence
    Weimocir-Image
    ");
}
