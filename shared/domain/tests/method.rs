//! Fusion and scoring against NumPy: `fixtures/make.py` wrote `fixtures/scores.json`.

use serde::Deserialize;
use weimocir_domain::{
    Alpha, Beta, Composed, Embedding, ModelId, Query, Raw, TextReference, fuse, norm,
};

#[derive(Deserialize)]
struct Fixture {
    v_ref: Vec<f32>,
    t_ref: Vec<Vec<f32>>,
    m: Vec<f32>,
    v: Vec<Vec<f32>>,
    t: Vec<Vec<Vec<f32>>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text_reference: TextReference,
    alpha: Alpha,
    beta: Beta,
    s_img: Vec<f32>,
    s_txt: Vec<f32>,
    s: Vec<f32>,
}

fn embedding(values: &[f32]) -> Embedding {
    Embedding::new(ModelId::new("m"), values).expect("a direction")
}

fn close(found: f32, expected: f32) -> bool {
    // because: f32 rounds α, β, the query and the result by 6e-8 at most each
    (found - expected).abs() < 2e-7
}

#[test]
fn scores_are_those_of_numpy() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/scores.json")).unwrap();
    let modifier = embedding(&fixture.m);
    assert_eq!(fixture.cases.len(), 10);
    for case in fixture.cases {
        let compose = |reference: &[f32]| {
            fuse(Some(&embedding(reference)), Some(&modifier), case.alpha).unwrap()
        };
        let captions = match case.text_reference {
            TextReference::Image => vec![],
            TextReference::Caption => fixture.t_ref.iter().map(|t| compose(t)).collect(),
        };
        let query = Composed { image: compose(&fixture.v_ref), captions, beta: case.beta };
        for n in 0..fixture.v.len() {
            let captions = fixture.t[n].iter().map(|t| Raw::new(t, norm(t)));
            let scored = query.score(Raw::new(&fixture.v[n], norm(&fixture.v[n])), captions);
            assert!(close(scored.s_img, case.s_img[n]), "{scored:?}");
            assert!(close(scored.s_txt.unwrap(), case.s_txt[n]), "{scored:?}");
            assert!(close(scored.similarity, case.s[n]), "{scored:?}");
        }
    }
}

#[test]
fn every_score_of_the_plane_follows_from_one_set_of_components() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/scores.json")).unwrap();
    let query = |text_reference| {
        let captions = match text_reference {
            TextReference::Image => vec![],
            TextReference::Caption => fixture.t_ref.iter().map(|t| embedding(t)).collect(),
        };
        let (reference, modifier) = (embedding(&fixture.v_ref), embedding(&fixture.m));
        Query::new(Some(reference), Some(modifier), captions).unwrap()
    };
    for n in 0..fixture.v.len() {
        for mode in [TextReference::Image, TextReference::Caption] {
            let query = query(mode);
            let captions = fixture.t[n].iter().map(|t| Raw::new(t, norm(t)));
            let image = Raw::new(&fixture.v[n], norm(&fixture.v[n]));
            let (norms, components) = (query.norms(), query.components(image, captions));
            for case in fixture.cases.iter().filter(|case| case.text_reference == mode) {
                let s = components.similarity(&norms, case.alpha, case.beta).unwrap();
                assert!(close(s as f32, case.s[n]), "{s} for {}", case.s[n]);
            }
        }
    }
}
