//! Hostile files among good pictures: the good ones are found, each bad one is refused with its
//! reason, and no worker dies of it.

use weimocir_tests::{
    Pipeline,
    hostile::{Plan, Trial},
};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_are_refused_one_by_one_and_the_rest_is_found() -> anyhow::Result<()> {
    // because: what somebody else brings may be called anything, and may be a picture all the same
    let folder = tempfile::tempdir()?;
    let further = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
    further("named like nothing", b"neither a picture")?;
    further("same.tar", b"neither a picture")?;
    image::RgbImage::new(40, 30).save(folder.path().join("fine.png"))?;
    let plan = Plan { good: 60, more: Some(folder.path().to_owned()) };
    let Trial { pipeline, workers: _at_work, findings } = Trial::run(&plan).await?;
    findings.judge()?;
    assert!(findings.bad >= 150, "only {} hostile files", findings.bad);
    assert_eq!(findings.at_submission + findings.dead, findings.bad + 2, "{findings:#?}");
    assert_eq!((findings.more, findings.more_taken.len()), (3, 1), "{:?}", findings.more_taken);
    assert_eq!(findings.searchable, (60 + findings.odd + 1) as u64);

    // what reached the decoders is a dead letter of both steps, each with the file's own reason
    let of = |step: &str| findings.letters.iter().filter(|letter| letter["step"] == step).count();
    assert_eq!((of("encode"), of("caption")), (findings.dead, findings.dead));
    for letter in &findings.letters {
        assert_eq!(letter["attempts"], 1, "{letter}");
    }
    letters_of_one_reason_go_together(&pipeline, findings.letters.len()).await
}

async fn letters_of_one_reason_go_together(pipeline: &Pipeline, all: usize) -> anyhow::Result<()> {
    let reason = "cut off";
    let listed = async |more: &[&str]| -> anyhow::Result<usize> {
        let letters = pipeline.weimocir(&[&["dead", "list", "--json"], more].concat()).await?;
        Ok(letters.json()?.as_array().map_or(0, Vec::len))
    };
    let count = listed(&["--reason", reason]).await?;
    assert!(count > 50, "{count} letters of `{reason}`");
    let dropped = ["dead", "drop", "--all", "--reason", reason, "--json"];
    let dropped = pipeline.weimocir(&dropped).await?.json()?;
    assert_eq!(dropped["dropped"].as_array().map(Vec::len), Some(count));
    assert_eq!(listed(&[]).await?, all - count);
    Ok(())
}
