//! Many shards in many processes answer as one gallery does; what is missing or wrong is told.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use tokio::time::Instant;
use weimocir_domain::{
    Alpha, Beta, Candidate, CaptionSimilarity, Collection, ImageId, ModelId, Revision, Shard,
    TextReference,
};
use weimocir_runtime::{Asked, Bus, CancellationToken, Collections, Service};
use weimocir_tests::{Kind, Pipeline, Worker, until};
use weimocir_wire::{
    Vector,
    query::{
        CandidatesChunk, CandidatesQuery, EncodeQuery, EncodedQuery, EncodedText, Lookup,
        LookupQuery, MatchQuery, Matched,
    },
    search::{Reference, Refusal, RefusalCode, Rerank, Reranker, SearchAnswer, SearchRequest},
    subjects,
    vectors::{CaptionVector, CaptionsPart, ImagePart},
};

const DIM: u64 = 24;
const IMAGES: u64 = 240;
const SHARDS: u16 = 8;

fn model() -> ModelId {
    ModelId::new("fake")
}

/// Any raw vector, the same for the same number.
fn vector(seed: u64) -> Vec<f32> {
    let length = 2.0 + (seed % 7) as f32;
    (0..DIM).map(|i| length * ((seed * 37 + i * 101 + 5) as f32).sin()).collect()
}

fn image(n: u64) -> ImageId {
    ImageId::of(&n.to_be_bytes())
}

/// The vector of image `n`: those from 160 on are the first eighty again, half of them twice as long,
/// which changes no direction.
fn pixels(n: u64) -> Vec<f32> {
    let length = if n >= 160 && n.is_multiple_of(2) { 2.0 } else { 1.0 };
    vector(n % 160).into_iter().map(|x| x * length).collect()
}

/// Between none and three captions, of equal vectors where the images' are.
fn captions(n: u64) -> Vec<Vec<f32>> {
    (0..n % 160 % 4).map(|r| vector(1_000 + n % 160 * 10 + r)).collect()
}

async fn put(bus: &Bus, collection: &Collection, shard: Shard, n: u64) -> anyhow::Result<()> {
    let (image, revision) = (image(n), Revision(n + 1));
    let part = ImagePart {
        image,
        revision,
        model: model(),
        embedding: Vector(pixels(n)),
        source: format!("{n}.png"),
        metadata: Default::default(),
    };
    let place = (shard, subjects::Part::Image);
    bus.submit_part(collection, image, place, (revision, &part)).await?;
    let captions = captions(n).into_iter().enumerate();
    let captions: Vec<_> = captions
        .map(|(r, t)| CaptionVector { text: format!("caption {r} of {n}"), embedding: Vector(t) })
        .collect();
    if captions.is_empty() {
        return Ok(());
    }
    let part = CaptionsPart { image, revision, model: model(), captions };
    let place = (shard, subjects::Part::Captions);
    Ok(bus.submit_part(collection, image, place, (revision, &part)).await?)
}

/// Makes a collection and puts every picture into its log.
async fn fill(bus: &Bus, name: &str, shards: u16) -> anyhow::Result<Collection> {
    let collection: Collection = name.parse()?;
    let collections = Collections::open(bus).await?;
    collections.ensure(&collection, shards).await?;
    collections.bind(&collection, &model()).await?;
    try_join_all((0..IMAGES).map(|n| put(bus, &collection, image(n).shard(shards), n))).await?;
    Ok(collection)
}

/// Answers on one subject in place of a worker.
async fn pretend<Q, A, F>(
    service: &Service,
    subject: String,
    answer: impl Fn(Q) -> F + Send + Sync + 'static,
    shutdown: &CancellationToken,
) -> anyhow::Result<()>
where
    Q: weimocir_wire::Message,
    A: weimocir_wire::Message,
    F: Future<Output = Result<Vec<A>, Refusal>> + Send + 'static,
{
    let asked = Asked { subject, group: "pretenders".into(), question: "candidates", limit: 64 };
    Ok(service.answer(asked, answer, shutdown).await?)
}

/// An encoder of which every number is known.
async fn pretend_to_encode(service: &Service, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let encode = |question: EncodeQuery| async move {
        let text = |text: &String| EncodedText {
            embedding: Vector(vector(5_000 + text.len() as u64)),
            truncated: false,
        };
        Ok(vec![EncodedQuery {
            model: model(),
            alpha: 0.8,
            beta: 0.1,
            image: question.image.map(|_| Vector(vector(9_000))),
            texts: question.texts.iter().map(text).collect(),
            captions: question.captions.iter().map(text).collect(),
            timing: Default::default(),
        }])
    };
    pretend(service, subjects::in_lane(subjects::ENCODE_QUERY, &model()), encode, shutdown).await
}

fn store(pipeline: &Pipeline, shards: &str, folder: &str) -> anyhow::Result<Worker> {
    let data = pipeline.folder().join(folder).display().to_string();
    pipeline.start(Kind::Store, &["--store-shards", shards, "--store-data", &data])
}

async fn ask(bus: &Bus, request: &SearchRequest) -> Result<SearchAnswer, Refusal> {
    bus.ask(subjects::SEARCH, request, Duration::from_secs(20)).await
}

fn similarities(candidates: &[Candidate]) -> Vec<(f32, ImageId)> {
    candidates.iter().map(|candidate| (candidate.similarity, candidate.image)).collect()
}

/// Searches of every kind: both text references, weights at the edges and between.
fn searches() -> Vec<SearchRequest> {
    let mut searches = Vec::new();
    for (alpha, beta) in [(0.0, 0.0), (0.3, 0.5), (0.8, 0.1), (1.0, 1.0), (0.5, 0.95)] {
        let weights = (Alpha::new(alpha).ok(), Beta::new(beta).ok());
        for text_reference in [TextReference::Image, TextReference::Caption] {
            // because: image 3 has three captions, and image 1 one
            for (reference, modifier, k) in [
                (Some(Reference::Id(image(3))), Some("is blue"), 1_000),
                (Some(Reference::Id(image(1))), Some("is red, and long"), 17),
                (Some(Reference::Id(image(3))), None, 100),
                (None, Some("is blue"), 30),
            ] {
                searches.push(SearchRequest {
                    reference,
                    modifier: modifier.map(str::to_owned),
                    alpha: weights.0,
                    beta: weights.1,
                    text_reference,
                    k: Some(k),
                    exclude: vec![image(77), image(5)],
                    explain: true,
                    ..SearchRequest::default()
                });
            }
        }
    }
    searches
}

struct Running {
    pipeline: Pipeline,
    bus: Bus,
    _query: Worker,
    _service: Service,
    shutdown: CancellationToken,
}

impl Running {
    /// A query worker, and an encoder that is none.
    async fn new() -> anyhow::Result<Self> {
        let pipeline = Pipeline::bare().await?;
        let bus = pipeline.bus().await?;
        bus.provision().await?;
        let _query = pipeline.start(Kind::Query, &[])?;
        let (_service, shutdown) =
            (Service::start(&bus, "pretender", HashMap::new()).await?, CancellationToken::new());
        pretend_to_encode(&_service, &shutdown).await?;
        pipeline.until_alive(Kind::Query, 1).await?;
        Ok(Self { pipeline, bus, _query, _service, shutdown })
    }

    async fn until_complete(&self, collection: &Collection, shards: u16) -> anyhow::Result<()> {
        let captioned = (0..IMAGES).filter(|&n| !captions(n).is_empty()).count() as u64;
        until("the whole gallery", || async {
            let mut held = (0, 0);
            for shard in (0..shards).map(Shard) {
                let subject = subjects::lookup(collection, shard);
                let question = LookupQuery { images: vec![] };
                let patience = Duration::from_secs(2);
                if let Ok(totals) = self.bus.ask::<_, Lookup>(&subject, &question, patience).await {
                    held = (held.0 + totals.images, held.1 + totals.captioned);
                }
            }
            Ok(held == (IMAGES, captioned))
        })
        .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_shards_in_three_processes_answer_as_one_gallery() -> anyhow::Result<()> {
    let running = Running::new().await?;
    let (pipeline, bus) = (&running.pipeline, &running.bus);
    let _first = store(pipeline, "0,1,2", "first")?;
    let middle = store(pipeline, "3,4,5", "middle")?;
    let _last = store(pipeline, "6,7", "last")?;
    pipeline.until_alive(Kind::Store, 3).await?;
    let (one, many) = (fill(bus, "one", 1).await?, fill(bus, "many", SHARDS).await?);
    running.until_complete(&one, 1).await?;
    running.until_complete(&many, SHARDS).await?;
    let both = async |request: &SearchRequest| {
        let of = |collection: &Collection| SearchRequest {
            collection: collection.clone(),
            ..request.clone()
        };
        anyhow::Ok((ask(bus, &of(&one)).await?, ask(bus, &of(&many)).await?))
    };

    // the same candidates, similarities, components, captions and order, ties included
    let (mut ties, mut across) = (0, 0);
    for request in searches() {
        let (expected, found) = both(&request).await?;
        assert_eq!(found.candidates, expected.candidates, "{request:?}");
        assert_eq!((found.images, expected.images), (IMAGES, IMAGES));
        assert_eq!(found.norms, expected.norms);
        assert!(!found.partial && found.missing_shards.is_empty());
        // two images and the reference, if there is one, are not wanted
        let wanted = IMAGES as usize - 2 - usize::from(request.reference.is_some());
        assert_eq!(found.candidates.len(), wanted.min(request.k.unwrap_or(10)));
        for pair in found.candidates.windows(2) {
            assert!(pair[0].similarity >= pair[1].similarity);
            if pair[0].similarity == pair[1].similarity {
                assert!(pair[0].image < pair[1].image);
                ties += 1;
                across += u32::from(pair[0].image.shard(SHARDS) != pair[1].image.shard(SHARDS));
            }
        }
    }
    assert!(ties > 500 && across > 400, "{ties} ties, {across} across shards");
    weighing_anew_is_searching_anew(&running, &many).await?;

    // without the middle three, the answer is the others' and says so
    assert_eq!(middle.stop().await?, 0, "{}", pipeline.log(Kind::Store));
    let missing = [3, 4, 5];
    let there = |image: ImageId| !missing.contains(&image.shard(SHARDS).0);
    let held = (0..IMAGES).filter(|&n| there(image(n))).count() as u64;
    for request in searches() {
        let asked = match &request.reference {
            Some(Reference::Id(image)) if !there(*image) => {
                SearchRequest { reference: None, modifier: Some("is odd".into()), ..request }
            }
            _ => request,
        };
        let all = SearchRequest { k: Some(1_000), ..asked.clone() };
        let (expected, found) = (both(&all).await?.0, both(&asked).await?.1);
        let rest = expected.candidates.into_iter().filter(|candidate| there(candidate.image));
        let rest: Vec<Candidate> = rest.take(asked.k.unwrap_or(10)).collect();
        assert_eq!(found.candidates, rest, "{asked:?}");
        assert!(found.partial);
        assert_eq!((&found.missing_shards[..], found.images), (&missing[..], held));
    }
    let lost = (0..IMAGES).map(image).find(|&image| !there(image)).map(Reference::Id);
    let request = SearchRequest { collection: many, reference: lost, ..SearchRequest::default() };
    assert_eq!(ask(bus, &request).await.unwrap_err().code, RefusalCode::Unavailable);
    Ok(())
}

/// The numbers of an answer give the scores of another, in this process and in Python.
async fn weighing_anew_is_searching_anew(
    running: &Running,
    collection: &Collection,
) -> anyhow::Result<()> {
    for text_reference in [TextReference::Image, TextReference::Caption] {
        let at = async |alpha: &str, beta: &str| {
            let request = SearchRequest {
                collection: collection.clone(),
                reference: Some(Reference::Id(image(3))),
                modifier: Some("is blue".into()),
                alpha: Some(alpha.parse()?),
                beta: Some(beta.parse()?),
                text_reference,
                k: Some(1_000),
                explain: true,
                ..SearchRequest::default()
            };
            anyhow::Ok(ask(&running.bus, &request).await?)
        };
        let (answer, anew) = (at("0.8", "0.1").await?, at("0.35", "0.6").await?);
        let norms = answer.norms.as_ref().expect("norms were asked for");
        let expected: HashMap<ImageId, f32> =
            anew.candidates.iter().map(|c| (c.image, c.similarity)).collect();
        for candidate in &answer.candidates {
            let components = candidate.components.as_ref().expect("components were asked for");
            for (of, alpha, beta) in [
                (candidate.similarity, answer.alpha, answer.beta),
                (expected[&candidate.image], anew.alpha, anew.beta),
            ] {
                let found = components.similarity(norms, alpha, beta)?;
                assert!((found - f64::from(of)).abs() < 1.5e-7, "{found} for {of}");
            }
        }

        let path = running.pipeline.folder().join("answer.json");
        std::fs::write(&path, serde_json::to_vec(&answer)?)?;
        let scores = weigh_in_python(running, &path, ["0.35", "0.6"]).await?;
        assert_eq!(scores.len(), expected.len());
        assert!(scores.is_sorted_by(|a, b| a.0 >= b.0));
        for (score, image) in scores {
            let of = f64::from(expected[&image.parse()?]);
            assert!((score - of).abs() < 2e-7, "{score} for {of}");
        }
    }
    Ok(())
}

async fn weigh_in_python(
    running: &Running,
    answer: &Path,
    weights: [&str; 2],
) -> anyhow::Result<Vec<(f64, String)>> {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/reweigh.py");
    let mut python = tokio::process::Command::new("python3");
    let told = running.pipeline.run(python.arg(example).arg(answer).args(weights)).await?;
    assert_eq!(told.code, 0, "{}", told.stderr);
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let score = words.next().and_then(|word| word.parse().ok());
        score.zip(words.next().map(str::to_owned))
    };
    Ok(told.stdout.lines().filter_map(line).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_store_of_the_same_shards_takes_over() -> anyhow::Result<()> {
    let running = Running::new().await?;
    let (pipeline, bus) = (&running.pipeline, &running.bus);
    let _rest = store(pipeline, "0,1,2,6,7", "rest")?;
    let victim = store(pipeline, "3,4,5", "victim")?;
    pipeline.until_alive(Kind::Store, 2).await?;
    let many = fill(bus, "many", SHARDS).await?;
    running.until_complete(&many, SHARDS).await?;
    let request = SearchRequest {
        collection: many.clone(),
        modifier: Some("is blue".into()),
        k: Some(100),
        timeout_ms: Some(1_000),
        ..SearchRequest::default()
    };
    let expected = similarities(&ask(bus, &request).await?.candidates);

    // a second one comes with an empty disk, and answers when it has read the whole log
    let _second = store(pipeline, "3,4,5", "second")?;
    let served = || pipeline.log(Kind::Store).matches("shard serves").count();
    let until = Instant::now() + Duration::from_secs(60);
    while served() < usize::from(SHARDS) + 3 {
        let answer = ask(bus, &request).await?;
        assert_eq!((answer.partial, answer.images), (false, IMAGES));
        assert_eq!(similarities(&answer.candidates), expected);
        assert!(Instant::now() < until, "{}", pipeline.log(Kind::Store));
    }

    // searches go on while one is killed: each answer is whole, or says what is missing
    let (mut victim, mut after) = (Some(victim), 0);
    let until = Instant::now() + Duration::from_secs(60);
    for round in 0.. {
        if round == 10
            && let Some(victim) = victim.take()
        {
            victim.kill().await?;
        }
        let answer = ask(bus, &request).await?;
        let missing: HashSet<u16> = answer.missing_shards.iter().copied().collect();
        assert!(missing.is_subset(&HashSet::from([3, 4, 5])), "{missing:?}");
        assert_eq!(answer.partial, !missing.is_empty());
        let found = similarities(&answer.candidates);
        if missing.is_empty() {
            assert_eq!(found, expected);
            after += u32::from(victim.is_none());
        }
        assert!(!found.iter().any(|(_, image)| missing.contains(&image.shard(SHARDS).0)));
        if after == 20 {
            break;
        }
        assert!(Instant::now() < until, "{after} whole answers after the kill");
    }
    Ok(())
}

/// A shard's answer of so many candidates.
fn chunk(sequence: u32, last: bool, images: impl IntoIterator<Item = u64>) -> CandidatesChunk {
    let candidate = |n| Candidate {
        image: image(n),
        similarity: 0.5,
        s_img: 0.5,
        s_txt: None,
        captions: vec![CaptionSimilarity { text: "a cap".into(), similarity: None }],
        source: format!("{n}.png"),
        metadata: Default::default(),
        components: None,
        rerank_score: None,
    };
    let candidates = images.into_iter().map(candidate).collect();
    CandidatesChunk { sequence, last, model: Some(model()), images: 3, candidates }
}

/// What the shard of each number does wrong; shards 0 and 1 answer as they should.
fn misbehave(shard: u16) -> Result<Vec<CandidatesChunk>, Refusal> {
    let spoilt = |spoil: fn(&mut CandidatesChunk)| {
        let mut piece = chunk(0, true, [20, 21]);
        spoil(&mut piece);
        Ok(vec![piece])
    };
    match shard {
        0 => Ok(vec![chunk(0, false, [1, 2]), chunk(1, true, [3])]),
        1 => Ok(vec![chunk(0, true, [4, 5, 6])]),
        2 => spoilt(|piece| piece.candidates[0].similarity = f32::NAN),
        3 => spoilt(|piece| piece.model = Some(ModelId::new("another"))),
        4 => spoilt(|piece| piece.candidates[1].s_img = f32::INFINITY),
        5 => Ok(vec![chunk(0, false, [20]), chunk(0, false, [20]), chunk(1, true, [21])]),
        6 => Ok(vec![chunk(1, false, [20]), chunk(0, false, [21]), chunk(2, true, [])]),
        7 => Ok(vec![chunk(0, true, 20..31)]),
        8 => Ok((0..50_000).map(|sequence| chunk(sequence, false, [])).collect()),
        9 => Ok(vec![chunk(0, false, [20]), chunk(1, false, [21])]),
        10 => Err(Refusal::new(RefusalCode::ModelMismatch, "another model's")),
        _ => Err(Refusal::new(RefusalCode::Busy, "busy")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_make_no_sense_are_missing() -> anyhow::Result<()> {
    let running = Running::new().await?;
    let bus = &running.bus;
    let collection: Collection = "odd".parse()?;
    let collections = Collections::open(bus).await?;
    // the thirteenth is late, the fourteenth says something else, and nobody answers for the last
    collections.ensure(&collection, 15).await?;
    collections.bind(&collection, &model()).await?;
    let service = Arc::new(Service::start(bus, "shards", HashMap::new()).await?);
    let shutdown = CancellationToken::new();
    for shard in 0..12 {
        let subject = subjects::candidates(&collection, Shard(shard));
        let answer = move |_: CandidatesQuery| async move { misbehave(shard) };
        pretend(&service, subject, answer, &shutdown).await?;
    }
    let late = |_: CandidatesQuery| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(vec![chunk(0, true, [20])])
    };
    pretend(&service, subjects::candidates(&collection, Shard(12)), late, &shutdown).await?;
    let other =
        |_: CandidatesQuery| async { Ok(vec![Lookup { states: vec![], images: 9, captioned: 9 }]) };
    pretend(&service, subjects::candidates(&collection, Shard(13)), other, &shutdown).await?;

    let request = SearchRequest {
        collection,
        modifier: Some("is blue".into()),
        timeout_ms: Some(2_000),
        ..SearchRequest::default()
    };
    let start = Instant::now();
    let answer = ask(bus, &request).await?;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(answer.partial);
    assert_eq!(answer.missing_shards, (2..15).collect::<Vec<u16>>());
    assert_eq!(answer.images, 6);
    let mut expected: Vec<ImageId> = (1..7).map(image).collect();
    expected.sort();
    let found: Vec<ImageId> = answer.candidates.iter().map(|c| c.image).collect();
    assert_eq!(found, expected);
    shutdown.cancel();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reranking_goes_as_far_as_the_encoders_do() -> anyhow::Result<()> {
    let running = Running::new().await?;
    let bus = &running.bus;
    let collection: Collection = "one".parse()?;
    let collections = Collections::open(bus).await?;
    collections.ensure(&collection, 1).await?;
    collections.bind(&collection, &model()).await?;
    let service = Service::start(bus, "shards", HashMap::new()).await?;
    let shutdown = CancellationToken::new();
    let all = |_: CandidatesQuery| async { Ok(vec![chunk(0, true, 0..20)]) };
    pretend(&service, subjects::candidates(&collection, Shard(0)), all, &shutdown).await?;
    // equal ones stand by id, eight to a question
    let mut ids: Vec<ImageId> = (0..20).map(image).collect();
    ids.sort();
    let (last, unreadable) = (ids[7], ids[2]);
    for (third, reason) in [
        (RefusalCode::Busy, "all encoders work"),
        (RefusalCode::Internal, "the encoder died"),
        (RefusalCode::ModelMismatch, "another model's"),
    ] {
        let round = CancellationToken::new();
        let begin = [ids[0], ids[8]];
        let answer = move |question: MatchQuery| async move {
            match question.images.first() {
                Some(first) if begin.contains(first) => {
                    let p = |image| (image != unreadable).then_some(f32::from(image == last));
                    Ok(vec![Matched {
                        probabilities: question.images.into_iter().map(p).collect(),
                    }])
                }
                _ => Err(Refusal::new(third, reason)),
            }
        };
        let pretender = Service::start(bus, "matcher", HashMap::new()).await?;
        let lane = subjects::in_lane(subjects::MATCH_QUERY, &model());
        pretend(&pretender, lane, answer, &round).await?;
        let request = SearchRequest {
            collection: collection.clone(),
            modifier: Some("is blue".into()),
            k: Some(20),
            rerank: Some(Rerank {
                by: Reranker::Matching { weight: None },
                top: None,
                budget_ms: None,
            }),
            ..SearchRequest::default()
        };
        let answer = ask(bus, &request).await?;
        let found: Vec<ImageId> = answer.candidates.iter().map(|c| c.image).collect();
        // the one that matches, those that do not, and as they were: the one unread, and the rest
        let scored = ids[..16].iter().filter(|id| ![last, unreadable].contains(id));
        let rest = [&[unreadable], &ids[16..]].concat();
        let expected: Vec<ImageId> =
            [last].into_iter().chain(scored.copied()).chain(rest).collect();
        assert_eq!(found, expected, "{third:?}");
        assert_eq!(answer.reranked.map(|r| (r.top, r.images)), Some((20, 15)));
        assert_eq!(answer.warnings[0], format!("16 of the best 20 were reranked: {reason}"));
        round.cancel();
        pretender.finish().await;
    }
    shutdown.cancel();
    Ok(())
}
