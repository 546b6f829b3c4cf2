//! A server by `deploy/nats`: the pipeline works with a key for each role, and the server refuses
//! whatever a role has no business with.
//!
//! What is forbidden is tried by a plain NATS client, so that no courtesy of our own programs helps.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use futures::StreamExt;
use tokio::time::timeout;
use weimocir_catalogue::Split;
use weimocir_runtime::{Bus, BusError, NatsArgs, Patience};
use weimocir_tests::{Kind, Pipeline, Role, render, until};
use weimocir_wire::{
    Blob, subjects,
    submit::{SubmitAnswer, SubmitOutcome, SubmitRequest},
};

const ROLES: [Role; 7] = [
    Role::Caption,
    Role::Encode,
    Role::Store,
    Role::Query,
    Role::Gateway,
    Role::Client,
    Role::Admin,
];

async fn locked() -> anyhow::Result<(Pipeline, Vec<weimocir_tests::Worker>)> {
    let pipeline = Pipeline::locked().await?;
    let bundled = pipeline.weimocir(&["embed", "--text", "x", "--json"]).await?.json()?;
    let bundled = bundled["model"].as_str().unwrap_or_default();
    let models = ["--model", bundled, "--model", "simulated"];
    let args = [&["provision", "--field", "shop:keyword", "--json"][..], &models].concat();
    pipeline.weimocir(&args).await?.json()?;
    let workers = pipeline.start_all().await?;
    Ok((pipeline, workers))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_pipeline_works_with_a_key_for_each_role() -> anyhow::Result<()> {
    let (pipeline, workers) = locked().await?;
    let folder = pipeline.folder().join("pictures");
    let good = 12;
    let gallery = render(Split::Validation, good, 96, &folder)?;
    let first = folder.join(format!("{}.png", gallery.pictures[0].name));
    let whole = std::fs::read(&first)?;
    std::fs::write(folder.join("broken.png"), &whole[..whole.len() / 2])?;
    let (folder, first) = (folder.display().to_string(), first.display().to_string());

    let client = async |args: &[&str]| pipeline.weimocir_as(Role::Client, args).await;
    let outcome = client(&["ingest", &folder, "--wait", "--json"]).await?;
    let summary = outcome.json_of_any()?;
    assert_eq!((outcome.code, &summary["searchable"]), (3, &good.into()), "{summary}");
    assert!(summary["refused"].to_string().contains("cut off"), "{summary}");
    let search = ["search", "--reference", &first, "is red", "-k", "5", "--json"];
    for role in [Role::Client, Role::Gateway] {
        let answer = pipeline.weimocir_as(role, &search).await?.json()?;
        assert_eq!(answer["candidates"].as_array().map(Vec::len), Some(5), "{answer}");
        assert_eq!(answer["partial"], false, "{answer}");
        assert!(answer["candidates"][0]["s_txt"].is_number(), "{answer}");
        let by_caption = [&search[..], &["--text-reference", "caption"]].concat();
        pipeline.weimocir_as(role, &by_caption).await?.json()?;
    }
    let _other = pipeline.start(Kind::Encode, &["--model", "simulated:5ms,8"])?;
    pipeline.until_alive(Kind::Encode, 2).await?;
    let reindex = ["reindex", "--model", "simulated:5ms,8", "--json"];
    assert_ne!(client(&reindex).await?.code, 0, "a client changed a model");
    assert_eq!(pipeline.weimocir(&reindex).await?.json()?["images"], good);
    let answer = client(&search).await?.json()?;
    assert_eq!(answer["model"], "simulated", "{answer}");
    let id = answer["candidates"][0]["image"].as_str().unwrap_or_default().to_owned();
    client(&["get", &id, "--json"]).await?.json()?;
    let (gateway, _) = pipeline.start_gateway(&[]).await?;
    let request = SubmitRequest { image: Some(Blob(whole)), ..SubmitRequest::default() };
    let asking = pipeline.bus_as(Role::Client).await?;
    let told: SubmitAnswer =
        asking.ask(subjects::SUBMIT, &request, Duration::from_secs(10)).await?;
    assert_eq!(told.outcome, SubmitOutcome::Present);
    let status = client(&["status", "--json"]).await?.json()?;
    assert!(status.to_string().contains("weimocir-encode"), "{status}");

    let delete = ["delete", &id, "--json"];
    assert_ne!(client(&delete).await?.code, 0, "a client deleted an image");
    pipeline.weimocir_as(Role::Gateway, &delete).await?.json()?;
    until("the end of the image", || async {
        Ok(client(&["get", &id, "--json"]).await?.code == 4)
    })
    .await?;

    until("the letters of both steps", || async {
        let letters = pipeline.weimocir_as(Role::Gateway, &["dead", "list", "--json"]).await?;
        Ok(letters.json()?.as_array().map(Vec::len) == Some(2))
    })
    .await?;
    pipeline.weimocir(&["dead", "retry", "--all", "--step", "encode", "--json"]).await?.json()?;
    pipeline.weimocir(&["dead", "drop", "--all", "--reason", "cut off", "--json"]).await?.json()?;

    for worker in workers.into_iter().chain([gateway]) {
        assert_eq!(worker.stop().await?, 0);
    }
    for kind in Kind::ALL.into_iter().chain([Kind::Gateway]) {
        let log = pipeline.log(kind);
        assert!(!log.to_lowercase().contains("permissions violation"), "{log}");
    }
    Ok(())
}

/// Whom the server refuses is told nothing else: a connection of its own shows what came of a try.
struct Try {
    client: Client,
    refusals: tokio::sync::mpsc::UnboundedReceiver<String>,
    inbox: String,
}

impl Try {
    async fn of(pipeline: &Pipeline, role: Role) -> anyhow::Result<Self> {
        let NatsArgs { url, ca, certificate, key, nkey, inbox, .. } = pipeline.nats(role);
        let file = |path: Option<std::path::PathBuf>| path.unwrap_or_default();
        let seed = std::fs::read_to_string(file(nkey))?.trim().to_owned();
        let (send, refusals) = tokio::sync::mpsc::unbounded_channel();
        let options = ConnectOptions::with_nkey(seed)
            .add_root_certificates(file(ca))
            .add_client_certificate(file(certificate), file(key))
            .custom_inbox_prefix(&inbox)
            .event_callback(move |event| {
                drop(send.send(event.to_string()));
                std::future::ready(())
            });
        Ok(Self { client: options.connect(url).await?, refusals, inbox })
    }

    async fn was_refused(&mut self) -> bool {
        let heard = async {
            while let Some(event) = self.refusals.recv().await {
                if event.to_lowercase().contains("permissions violation") {
                    return true;
                }
            }
            false
        };
        timeout(Duration::from_secs(1), heard).await.unwrap_or(false)
    }

    async fn publish(&mut self, subject: &str) -> anyhow::Result<bool> {
        let reply = format!("{}.reply", self.inbox);
        self.client.publish_with_reply(subject.to_owned(), reply, "{}".into()).await?;
        self.client.flush().await?;
        Ok(self.was_refused().await)
    }

    async fn subscribe(&mut self, subject: &str) -> anyhow::Result<bool> {
        let _subscription = self.client.subscribe(subject.to_owned()).await?;
        self.client.flush().await?;
        Ok(self.was_refused().await)
    }

    /// Uses all these subjects as a worker of the role does, and says whether any was refused.
    async fn use_all(
        &mut self,
        role: Role,
        publish: impl Iterator<Item = &'static str>,
        subscribe: impl Iterator<Item = &'static str>,
    ) -> anyhow::Result<bool> {
        let mut subscriptions = Vec::new();
        for subject in subscribe {
            // because: what a group answers, its members may not hear each
            let group = role.name().to_owned();
            subscriptions.push(self.client.queue_subscribe(subject, group).await?);
        }
        let reply = format!("{}.reply", self.inbox);
        for subject in publish {
            self.client.publish_with_reply(subject, reply.clone(), "{}".into()).await?;
        }
        self.client.flush().await?;
        Ok(self.was_refused().await)
    }
}

/// Subjects, and who may use them besides an admin.
type Rules = [(&'static [Role], &'static [&'static str])];

const PUBLISH: &Rules = &[
    (
        &[],
        &[
            "weimocir.encode.query",
            "weimocir.match.query",
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.STREAM.UPDATE.WEIMOCIR_WORK",
            "$JS.API.STREAM.DELETE.WEIMOCIR_WORK",
            "$JS.API.STREAM.PURGE.WEIMOCIR_VECTORS_default_0",
            "$JS.API.STREAM.DELETE.OBJ_weimocir-images",
            "$JS.API.STREAM.MSG.DELETE.WEIMOCIR_WORK",
            "$JS.API.STREAM.MSG.GET.WEIMOCIR_WORK",
            "$JS.API.STREAM.MSG.DELETE.WEIMOCIR_LANES",
            "$JS.API.CONSUMER.CREATE.WEIMOCIR_LANES.spy",
            "$JS.API.CONSUMER.DELETE.WEIMOCIR_LANES.image-x",
            "$JS.API.CONSUMER.CREATE.WEIMOCIR_WORK.spy",
            "$JS.API.CONSUMER.DELETE.WEIMOCIR_WORK.encode",
            "$JS.API.CONSUMER.CREATE.WEIMOCIR_DEAD.spy",
            "$JS.API.CONSUMER.CREATE.KV_weimocir-feeds.spy",
            "$JS.API.STREAM.SNAPSHOT.WEIMOCIR_VECTORS_default_0",
            "$JS.API.DIRECT.GET.WEIMOCIR_VECTORS_default_0",
        ],
    ),
    (
        &[Role::Caption],
        &[
            "$JS.API.CONSUMER.MSG.NEXT.WEIMOCIR_WORK.caption",
            "$JS.ACK.WEIMOCIR_WORK.caption.1.1.1.1.1",
        ],
    ),
    (
        &[Role::Encode],
        &[
            "weimocir.vectors.default.0.0123456789abcdef0123456789abcdef.image",
            "weimocir.work.encode.image.x",
            "weimocir.work.encode.captions.x",
            "weimocir.dead.encode",
            "$KV.weimocir-collections.default",
            "$JS.API.CONSUMER.MSG.NEXT.WEIMOCIR_WORK.encode",
            "$JS.API.CONSUMER.MSG.NEXT.WEIMOCIR_LANES.image-x",
            "$JS.ACK.WEIMOCIR_LANES.image-x.1.1.1.1.1",
        ],
    ),
    (
        &[Role::Store],
        &[
            "weimocir.vectors.default.0.0123456789abcdef0123456789abcdef.tombstone",
            "weimocir.dead.store",
            "$JS.API.CONSUMER.CREATE.WEIMOCIR_VECTORS_default_0.spy",
        ],
    ),
    (
        &[Role::Query],
        &[
            "weimocir.candidates.default.0",
            "weimocir.caption.query",
            "weimocir.encode.query.x",
            "weimocir.match.query.x",
        ],
    ),
    (&[Role::Gateway], &["weimocir.work.delete", "$JS.API.STREAM.MSG.DELETE.WEIMOCIR_DEAD"]),
    (&[Role::Client], &["weimocir.submit", "$KV.weimocir-feeds.default.x.y"]),
    (
        &[Role::Gateway, Role::Client],
        &[
            "weimocir.search",
            "weimocir.work.encode.image",
            "weimocir.work.caption",
            "$O.weimocir-images.C.x",
        ],
    ),
    (&[Role::Caption, Role::Encode, Role::Gateway], &["$JS.API.DIRECT.GET.OBJ_weimocir-images"]),
];

const SUBSCRIBE: &Rules = &[
    (
        &[],
        &[
            ">",
            "weimocir.>",
            "weimocir.vectors.>",
            "weimocir.work.>",
            "_INBOX.>",
            "_INBOX_admin.>",
            "$JS.>",
        ],
    ),
    (&[Role::Caption], &["_INBOX_caption.>"]),
    (
        &[Role::Encode],
        &[
            "_INBOX_encode.>",
            "weimocir.encode.query",
            "weimocir.match.query",
            "weimocir.encode.query.x",
            "weimocir.match.query.x",
        ],
    ),
    (&[Role::Store], &["_INBOX_store.>", "weimocir.candidates.default.0"]),
    (&[Role::Query], &["_INBOX_query.>", "weimocir.search"]),
    (&[Role::Gateway], &["_INBOX_gateway.>", "weimocir.submit"]),
    (&[Role::Client], &["_INBOX_client.>"]),
];

fn forbidden(rules: &'static Rules, role: Role) -> impl Iterator<Item = &'static str> {
    let of_others = rules.iter().filter(move |(who, _)| !who.contains(&role));
    of_others.flat_map(|(_, subjects)| subjects.iter().copied())
}

fn allowed(rules: &'static Rules, role: Role) -> impl Iterator<Item = &'static str> {
    let own = rules.iter().filter(move |(who, _)| who.contains(&role));
    own.flat_map(|(_, subjects)| subjects.iter().copied())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_refuses_what_a_role_has_no_business_with_and_nothing_else() -> anyhow::Result<()>
{
    let pipeline = Pipeline::locked().await?;
    pipeline.weimocir(&["provision", "--json"]).await?.json()?;
    for role in ROLES.into_iter().filter(|role| *role != Role::Admin) {
        let mut tried = Try::of(&pipeline, role).await?;
        for subject in forbidden(PUBLISH, role) {
            assert!(tried.publish(subject).await?, "{} may publish {subject}", role.name());
        }
        for subject in forbidden(SUBSCRIBE, role) {
            assert!(tried.subscribe(subject).await?, "{} may subscribe {subject}", role.name());
        }
        let refused = tried.use_all(role, allowed(PUBLISH, role), allowed(SUBSCRIBE, role)).await?;
        assert!(!refused, "{} is refused what it may", role.name());
    }
    // because: what is refused to all might be refused by a mistake
    let mut admin = Try::of(&pipeline, Role::Admin).await?;
    assert!(!admin.publish("weimocir.search").await? && !admin.subscribe("weimocir.>").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_to_who_asked_and_a_worker_writes_nowhere_else() -> anyhow::Result<()> {
    let pipeline = Pipeline::locked().await?;
    let asking = Try::of(&pipeline, Role::Client).await?;
    let mut answering = Try::of(&pipeline, Role::Query).await?;
    let mut questions = answering.client.queue_subscribe("weimocir.search", "query".into()).await?;
    // because: the server has read the subscription when it answers what came after it
    answering.client.request("$JS.API.INFO", "".into()).await?;
    let asked =
        tokio::spawn(async move { asking.client.request("weimocir.search", "?".into()).await });
    let question = timeout(Duration::from_secs(5), questions.next()).await?.unwrap();
    let reply = question.reply.unwrap();
    answering.client.publish(reply.clone(), "!".into()).await?;
    assert_eq!(asked.await??.payload, "!");
    assert!(answering.publish(reply.as_str()).await?, "a second answer was let through");
    assert!(answering.publish("_INBOX_client.other").await?, "a stranger's inbox was written to");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_key_and_a_certificate_of_ours() -> anyhow::Result<()> {
    let (pipeline, others) = (Pipeline::locked().await?, Pipeline::locked().await?);
    let client = pipeline.nats(Role::Client);
    let stranger = others.nats(Role::Client);
    let connect = async |args: &NatsArgs| {
        Bus::connect(args, "test", Patience::Glance).await.map(|_| ()).unwrap_err()
    };
    let refused = |error: BusError| matches!(error, BusError::NotLetIn { .. });
    let distrusted = |error: BusError| matches!(error, BusError::Untrusted { .. });
    Bus::connect(&client, "test", Patience::Command).await?;
    assert!(refused(connect(&NatsArgs { nkey: None, ..client.clone() }).await), "no key");
    let wrong_key = NatsArgs { nkey: stranger.nkey.clone(), ..client.clone() };
    assert!(refused(connect(&wrong_key).await), "a stranger's key");
    let wrong_authority = NatsArgs { ca: stranger.ca.clone(), ..client.clone() };
    assert!(distrusted(connect(&wrong_authority).await), "another authority");
    let plain = NatsArgs { ca: None, ..client.clone() };
    assert!(distrusted(connect(&plain).await), "the system's authorities");
    let no_certificate = NatsArgs { certificate: None, key: None, ..client.clone() };
    connect(&no_certificate).await;
    let (certificate, key) = (stranger.certificate.clone(), stranger.key.clone());
    connect(&NatsArgs { certificate, key, ..client.clone() }).await;

    // a worker says so at once and ends
    let (name, wrong) = ("WEIMOCIR_NATS_NKEY".to_owned(), others.secret("query.nk"));
    let variables = [(name, wrong.display().to_string())];
    let worker = pipeline.start_with(Kind::Query, &[], &variables)?;
    assert_eq!(timeout(Duration::from_secs(10), worker.ended()).await??, 1);
    let log = pipeline.log(Kind::Query);
    assert!(log.contains("does not let this program in"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log_and_in_no_help() -> anyhow::Result<()> {
    let pipeline = Pipeline::locked().await?;
    pipeline.weimocir(&["provision", "--json"]).await?.json()?;
    let loud = [("WEIMOCIR_LOG".to_owned(), "trace".to_owned())];
    let mut workers = Vec::new();
    for kind in Kind::ALL {
        workers.push(pipeline.start_with(kind, &[], &loud)?);
    }
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    let mut told = Vec::new();
    for worker in workers {
        let kind = worker.kind();
        worker.stop().await?;
        told.push(pipeline.log(kind));
        assert!(told.last().is_some_and(|log| log.len() > 1_000), "the log of {kind:?} is short");
    }
    let wrong = pipeline.secret("client-key.pem").display().to_string();
    for args in [
        &["status", "--log", "trace"][..],
        &["status", "--help"],
        &["up", "--help"],
        &["status", "--nats-nkey", &wrong],
        &["status", "--nats", "nats://me:wonderland@127.0.0.1:1"],
    ] {
        let outcome = pipeline.weimocir(args).await?;
        told.push(outcome.stdout + &outcome.stderr);
    }
    let (name, value) = ("WEIMOCIR_NATS".to_owned(), "nats://me:wonderland@127.0.0.1:1".to_owned());
    let mut help = tokio::process::Command::new(
        std::env::current_exe()?.ancestors().nth(2).unwrap().join("weimocir"),
    );
    let help = help.arg("--help").env(name, value).output().await?;
    told.push(String::from_utf8_lossy(&help.stdout).into_owned());
    for role in ROLES {
        let seed = std::fs::read_to_string(pipeline.secret(&format!("{}.nk", role.name())))?;
        let key = std::fs::read_to_string(pipeline.secret(&format!("{}-key.pem", role.name())))?;
        let line = key.lines().nth(1).unwrap_or_default().to_owned();
        for text in &told {
            for secret in [seed.trim(), &line, "wonderland"] {
                assert!(!text.contains(secret), "a secret of {} was told", role.name());
            }
        }
    }
    Ok(())
}

/// A limit that ARCHITECTURE.md tells of, here so that it does not go unnoticed if servers lose it.
#[tokio::test(flavor = "multi_thread")]
async fn a_direct_get_is_answered_to_whatever_subject_it_names() -> anyhow::Result<()> {
    let pipeline = Pipeline::locked().await?;
    pipeline.weimocir(&["provision", "--json"]).await?.json()?;
    let admin = Try::of(&pipeline, Role::Admin).await?;
    let mut watched = admin.client.subscribe("weimocir.vectors.>").await?;
    admin.client.flush().await?;
    let caption = Try::of(&pipeline, Role::Caption).await?;
    let target = "weimocir.vectors.default.0.0123456789abcdef0123456789abcdef.image";
    let get = "$JS.API.DIRECT.GET.OBJ_weimocir-images";
    caption.client.publish_with_reply(get, target, r#"{"seq": 1}"#.into()).await?;
    caption.client.flush().await?;
    let written = timeout(Duration::from_secs(5), watched.next()).await?;
    assert!(written.is_some(), "the limit is gone: take it out of ARCHITECTURE.md");
    Ok(())
}
