//! Whole planes against NumPy: `fixtures/make.py` wrote the features and every cell's metrics.

use std::path::{Path, PathBuf};

use weimocir_domain::TextReference;
use weimocir_evaluation::{
    CaptionChoice, Embeddings, FeaturesFile, Grid, Plan, Row, TestSet, cirr, fashioniq, mean, rows,
    sweep, write_csv,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn planes(set: &TestSet, embeddings: &Embeddings) -> Vec<Row> {
    let plan = Plan {
        grid: Grid::sweep(0.05).expect("a step of 1"),
        text_references: vec![TextReference::Image, TextReference::Caption],
        choices: vec![CaptionChoice::all(embeddings.slots())],
    };
    let sweeps = sweep(set, embeddings, &plan, &|_| {}).expect("ranks");
    let rows = sweeps.iter().map(|sweep| rows(sweep, &set.metrics, set.category.as_deref()));
    rows.flatten().collect()
}

/// Every line of results.csv is NumPy's, in the same order.
fn check(set: &TestSet, rows: &[Row], expected: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("results.csv");
    write_csv(&file, &set.metrics, rows).expect("a table");
    let [found, expected] =
        [&file, expected].map(|file| std::fs::read_to_string(file).expect("a table"));
    assert_eq!(found.lines().count(), expected.lines().count());
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
}

#[test]
fn cirr_is_as_numpy_computes_it() {
    let folder = fixture("cirr");
    let set = cirr::read(&folder, cirr::Split::Val, false).unwrap();
    let features = FeaturesFile::open(&folder.join("features.safetensors")).unwrap();
    let embeddings = features.embeddings(std::slice::from_ref(&set)).unwrap();
    check(&set, &planes(&set, &embeddings[0]), &folder.join("expected.csv"));
}

#[test]
fn fashioniq_is_as_numpy_computes_it() {
    let folder = fixture("fashioniq");
    let read = |category| fashioniq::read(&folder, category, false).unwrap();
    let sets = fashioniq::Category::ALL.map(read);
    let features = FeaturesFile::open(&folder.join("features.safetensors")).unwrap();
    let all = features.embeddings(&sets).unwrap();
    let parts: Vec<Vec<Row>> = sets.iter().zip(&all).map(|(set, e)| planes(set, e)).collect();
    let mean = mean(&parts);
    let rows: Vec<Row> = parts.into_iter().flatten().chain(mean).collect();
    check(&sets[0], &rows, &folder.join("expected.csv"));

    // a category of the three has the same embeddings
    let shirt = features.embeddings(&sets[1..2]).unwrap();
    assert_eq!(shirt, all[1..2]);
}
