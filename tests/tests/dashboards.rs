//! Every query of the dashboard and the alert rules against the metrics that the workers expose.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use regex::Regex;
use weimocir_catalogue::Split;
use weimocir_tests::{Kind, Pipeline, render, until};

/// The labels of each metric.
type Exposed = BTreeMap<String, BTreeSet<String>>;

const DASHBOARD: &str = include_str!("../../deploy/dashboards/weimocir.json");
const ALERTS: &str = include_str!("../../deploy/dashboards/alerts.yaml");

/// The queries of both files: of the rules, the lines below each `expr`, as their format folds them.
fn queries() -> anyhow::Result<Vec<String>> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut queries: Vec<String> =
        targets.filter_map(|target| Some(target["expr"].as_str()?.to_owned())).collect();
    ensure!(queries.len() > 15, "{} queries in the dashboard", queries.len());
    let of_rules = ALERTS.split("expr: ").skip(1).map(|rest| {
        let end = rest.find("\n        for:").or(rest.find("\n        labels:"));
        rest[..end.unwrap_or(rest.len())].replace('\n', " ")
    });
    queries.extend(of_rules);
    Ok(queries)
}

fn read(text: &str, exposed: &mut Exposed) -> anyhow::Result<()> {
    let sample = Regex::new(r"^([a-z_]+)(?:\{(.*)\})? ")?;
    let label = Regex::new(r#"([a-z_]+)=""#)?;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let found = sample.captures(line).with_context(|| format!("no sample: {line}"))?;
        let labels = found.get(2).map_or("", |labels| labels.as_str());
        let held = exposed.entry(found[1].to_owned()).or_default();
        held.extend(label.captures_iter(labels).map(|found| found[1].to_owned()));
    }
    Ok(())
}

/// What a query asks that nobody exposes.
fn missing(query: &str, exposed: &Exposed) -> anyhow::Result<Vec<String>> {
    let selector = Regex::new(r"\b(weimocir_[a-z_]+)(?:\{([^}]*)\})?")?;
    let label = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)")?;
    let grouping = Regex::new(r"by \(([^)]*)\)")?;
    let (mut missing, mut labels) = (Vec::new(), BTreeSet::new());
    for found in selector.captures_iter(query) {
        let Some(held) = exposed.get(&found[1]) else {
            missing.push(found[1].to_owned());
            continue;
        };
        labels.extend(held.iter().cloned());
        let asked = found.get(2).map_or("", |asked| asked.as_str());
        let unknown = label.captures_iter(asked).filter(|label| !held.contains(&label[1]));
        missing.extend(unknown.map(|label| format!("{} of {}", &label[1], &found[1])));
    }
    for found in grouping.captures_iter(query) {
        let unknown = found[1].split(',').map(str::trim).filter(|one| !labels.contains(*one));
        missing.extend(unknown.map(|one| format!("{one}, which is grouped by")));
    }
    Ok(missing)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_asks_for_what_the_workers_expose() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let mut addresses = Vec::new();
    let mut workers = Vec::new();
    for kind in Kind::ALL {
        // because: a port that was free a moment ago is most likely still free
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        workers.push(pipeline.start(kind, &["--operations", &address])?);
        addresses.push(format!("http://{address}"));
    }
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    let (gateway, url) = pipeline.start_gateway(&[]).await?;
    workers.push(gateway);
    addresses.push(url);
    let get = async |url: String| {
        tokio::task::spawn_blocking(move || {
            anyhow::Ok(ureq::get(url).call()?.body_mut().read_to_string()?)
        })
        .await?
    };
    for address in &addresses {
        until("readiness", async || Ok(get(format!("{address}/ready")).await.is_ok())).await?;
        assert_eq!(get(format!("{address}/live")).await?, "alive\n");
    }
    let folder = pipeline.folder().join("pictures");
    render(Split::Test, 3, 128, &folder)?;
    let folder = folder.display().to_string();
    pipeline.weimocir(&["ingest", &folder, "--wait", "--json"]).await?.json()?;
    pipeline.weimocir(&["search", "a green shirt", "--json"]).await?.json()?;

    let gateway = addresses.last().context("no gateway")?;
    get(format!("{gateway}/v1/collections")).await?;
    let queries = queries()?;
    let exposed = async || {
        let mut exposed = Exposed::new();
        for address in &addresses {
            read(&get(format!("{address}/metrics")).await?, &mut exposed)?;
        }
        anyhow::Ok(exposed)
    };
    // the gateway looks at the queues every few seconds
    until("the queues' metrics", async || {
        Ok(exposed().await?.contains_key("weimocir_queue_waiting"))
    })
    .await?;
    let exposed = exposed().await?;
    for query in &queries {
        let missing = missing(query, &exposed)?;
        assert!(missing.is_empty(), "{missing:?} in {query}; exposed: {exposed:#?}");
    }
    for wrong in [
        "weimocir_no_such",
        "weimocir_requests_total{colour=\"red\"}",
        "sum by (colour) (weimocir_requests_total)",
    ] {
        assert!(!missing(wrong, &exposed)?.is_empty(), "{wrong} was taken");
    }

    // a worker whose server is gone is not ready, and says so
    let readiness = format!("{}/ready", addresses[0]);
    pipeline.stop_server().await?;
    until("unreadiness", async || Ok(get(readiness.clone()).await.is_err())).await?;
    Ok(())
}
