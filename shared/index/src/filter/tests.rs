use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use super::*;

/// A value as a sender writes it, and what it is: an independent reading of the kinds.
#[derive(Debug, Clone)]
struct Sample {
    written: Value,
    is: Native,
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Native {
    Text(String),
    /// An integer, or a timestamp in microseconds.
    Whole(i128),
    Float(f64),
    Boolean(bool),
}

const FIELDS: [(&str, FieldKind); 5] = [
    ("colour", FieldKind::Keyword),
    ("stock", FieldKind::Integer),
    ("price", FieldKind::Float),
    ("made", FieldKind::Timestamp),
    ("sale", FieldKind::Boolean),
];

fn kinds() -> FieldKinds {
    let mut kinds = FieldKinds::default();
    FIELDS.iter().for_each(|(field, kind)| kinds.declare(field, *kind).unwrap());
    kinds
}

/// Few values, so that they meet, and the ends of each kind.
fn sample(kind: FieldKind) -> BoxedStrategy<Sample> {
    let of = |written: Value, is| Sample { written, is };
    match kind {
        FieldKind::Keyword => prop::sample::select(vec!["red", "blue", "", "Red", "red "])
            .prop_map(move |text| of(json!(text), Native::Text(text.into())))
            .boxed(),
        FieldKind::Integer => {
            let ends = prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX]);
            prop_oneof![ends, -5_i64..5, any::<i64>()]
                .prop_map(move |n| of(json!(n), Native::Whole(n.into())))
                .boxed()
        }
        FieldKind::Float => {
            let ends = vec![
                0.0,
                -0.0,
                f64::MAX,
                f64::MIN,
                f64::MIN_POSITIVE,
                -f64::MIN_POSITIVE,
                5e-324,
                0.1,
                0.1 + f64::EPSILON,
                1.0,
                1.0 + f64::EPSILON,
                -1.0,
            ];
            let any = any::<f64>().prop_filter("not in JSON", |x| x.is_finite());
            prop_oneof![prop::sample::select(ends), -3.0..3.0, any]
                .prop_map(move |x| of(json!(x), Native::Float(x)))
                .boxed()
        }
        FieldKind::Timestamp => {
            // `date --utc --date=… +%s%6N`
            let texts = vec![
                ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
                ("1969-12-31T23:59:59.9999995Z", -1),
                ("1970-01-01T00:00:00Z", 0),
                ("1970-01-01T00:00:01Z", 1_000_000),
                ("1970-01-01T01:00:01.000001+01:00", 1_000_001),
                ("2026-02-28T23:30:00-02:00", 1_772_328_600_000_000),
                ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
            ];
            let text = prop::sample::select(texts)
                .prop_map(move |(text, us)| of(json!(text), Native::Whole(us)));
            let seconds = prop_oneof![-3_i64..3, 1_772_328_599_i64..1_772_328_602]
                .prop_map(move |s| of(json!(s), Native::Whole(i128::from(s) * 1_000_000)));
            prop_oneof![text, seconds].boxed()
        }
        FieldKind::Boolean => {
            any::<bool>().prop_map(move |is| of(json!(is), Native::Boolean(is))).boxed()
        }
    }
}

type Document = BTreeMap<&'static str, Vec<Sample>>;

fn document() -> impl Strategy<Value = Document> {
    let fields = FIELDS.map(|(field, kind)| {
        prop::collection::vec(sample(kind), 0..4).prop_map(move |samples| (field, samples))
    });
    Vec::from(fields).prop_map(Document::from_iter)
}

/// Missing, null, alone, or in a list: the ways to write so many values.
fn metadata(document: &Document) -> Map<String, Value> {
    let mut metadata = Map::from_iter([("other".to_owned(), json!({ "anything": [1] }))]);
    for (n, (field, samples)) in document.iter().enumerate() {
        let written = samples.iter().map(|sample| sample.written.clone()).collect::<Vec<_>>();
        let value = match &written[..] {
            [] if n % 2 == 0 => continue,
            [] => Value::Null,
            [one] if n % 2 == 0 => one.clone(),
            _ => Value::Array(written),
        };
        metadata.insert((*field).to_owned(), value);
    }
    metadata
}

/// A filter with the plain answer to it.
#[derive(Debug, Clone)]
enum Asked {
    And(Vec<Asked>),
    Or(Vec<Asked>),
    Not(Box<Asked>),
    In(&'static str, Vec<Sample>),
    Range(&'static str, Option<(bool, Sample)>, Option<(bool, Sample)>),
    Exists(&'static str, bool),
}

fn asked() -> impl Strategy<Value = Asked> {
    let one_of = prop::sample::select(Vec::from(FIELDS)).prop_flat_map(|(field, kind)| {
        prop::collection::vec(sample(kind), 1..5).prop_map(move |values| Asked::In(field, values))
    });
    let range = prop::sample::select(FIELDS[1..4].to_vec()).prop_flat_map(|(field, kind)| {
        let bound = || prop::option::of((any::<bool>(), sample(kind)));
        (bound(), bound())
            .prop_filter("no bound", |(from, to)| from.is_some() || to.is_some())
            .prop_map(move |(from, to)| Asked::Range(field, from, to))
    });
    let exists = (prop::sample::select(Vec::from(FIELDS)), any::<bool>())
        .prop_map(|((field, _), has)| Asked::Exists(field, has));
    prop_oneof![3 => one_of, 4 => range, 1 => exists].prop_recursive(3, 12, 4, |part| {
        let parts = || prop::collection::vec(part.clone(), 1..4);
        prop_oneof![
            parts().prop_map(Asked::And),
            parts().prop_map(Asked::Or),
            part.prop_map(|part| Asked::Not(Box::new(part))),
        ]
    })
}

impl Asked {
    fn json(&self) -> Value {
        match self {
            Self::And(parts) => json!({ "and": parts.iter().map(Self::json).collect::<Vec<_>>() }),
            Self::Or(parts) => json!({ "or": parts.iter().map(Self::json).collect::<Vec<_>>() }),
            Self::Not(part) => json!({ "not": part.json() }),
            Self::In(field, values) => match &values[..] {
                [one] => json!({ "field": field, "is": one.written }),
                _ => {
                    let written: Vec<_> = values.iter().map(|value| &value.written).collect();
                    json!({ "field": field, "in": written })
                }
            },
            Self::Range(field, from, to) => {
                let mut range = Map::new();
                let mut bound = |names: [&str; 2], bound: &Option<(bool, Sample)>| {
                    if let Some((included, sample)) = bound {
                        let name = names[usize::from(*included)].to_owned();
                        range.insert(name, sample.written.clone());
                    }
                };
                bound(["gt", "gte"], from);
                bound(["lt", "lte"], to);
                json!({ "field": field, "range": range })
            }
            Self::Exists(field, has) => json!({ "field": field, "exists": has }),
        }
    }

    fn met_by(&self, document: &Document) -> bool {
        let any = |field, test: &dyn Fn(&Native) -> bool| {
            document[field].iter().any(|sample| test(&sample.is))
        };
        match self {
            Self::And(parts) => parts.iter().all(|part| part.met_by(document)),
            Self::Or(parts) => parts.iter().any(|part| part.met_by(document)),
            Self::Not(part) => !part.met_by(document),
            Self::In(field, values) => {
                any(field, &|held| values.iter().any(|value| value.is == *held))
            }
            Self::Range(field, from, to) => any(field, &|held| {
                from.as_ref().is_none_or(|(included, from)| {
                    *held > from.is || (*included && *held == from.is)
                }) && to
                    .as_ref()
                    .is_none_or(|(included, to)| *held < to.is || (*included && *held == to.is))
            }),
            Self::Exists(field, has) => document[field].is_empty() != *has,
        }
    }
}

fn filter(json: Value) -> Filter {
    serde_json::from_value(json).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn a_filter_lets_through_what_a_plain_reading_does(
        changes in prop::collection::vec((0_u32..12, prop::option::of(document())), 0..40),
        asked in prop::collection::vec(asked(), 1..6),
    ) {
        let mut fields = Fields::new(&kinds());
        let mut held: BTreeMap<u32, Document> = BTreeMap::new();
        for (row, document) in changes {
            // because: rows far apart lie in two containers of a bitmap
            let row = row * 10_000;
            match document {
                Some(document) => {
                    prop_assert_eq!(fields.insert(row, &metadata(&document)), vec![]);
                    held.insert(row, document);
                }
                None => {
                    fields.remove(row);
                    held.remove(&row);
                }
            }
        }
        for asked in asked {
            let expected: Vec<u32> =
                held.iter().filter(|(_, d)| asked.met_by(d)).map(|(row, _)| *row).collect();
            match fields.select(&filter(asked.json())) {
                Ok(found) => {
                    prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
                }
                Err(error) => {
                    prop_assert!(matches!(error, FilterError::EmptyRange { .. }), "{}", error);
                }
            }
        }
    }
}

#[test]
fn a_value_that_does_not_fit_is_told_and_counts_as_missing() {
    let mut fields = Fields::new(&kinds());
    let metadata = json!({ "colour": "red", "price": "cheap", "stock": [1, "two"] });
    let misfits = fields.insert(7, metadata.as_object().unwrap());
    let told: Vec<String> = misfits.iter().map(FieldError::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("`price` is \"cheap\"") && told[1].contains("`stock` is \"two\""));
    for (field, there) in [("colour", true), ("price", false), ("stock", false)] {
        let has = fields.select(&filter(json!({ "field": field, "exists": true }))).unwrap();
        assert_eq!(has.contains(7), there, "{field}");
    }
}

#[test]
fn fields_that_are_not_declared_are_not_asked_for() {
    let fields = Fields::new(&FieldKinds::default());
    let error = fields.select(&filter(json!({ "field": "size", "is": 1 }))).unwrap_err();
    assert!(matches!(error, FilterError::UnknownField { .. }), "{error}");
}

/// Measures: `cargo test --release -p weimocir-index -- --ignored --nocapture million`.
#[test]
#[ignore = "a measurement"]
fn ranges_of_a_million_rows() {
    const ROWS: u32 = 1_000_000;
    let mut rng = StdRng::seed_from_u64(1);
    let prices: Vec<f64> =
        (0..ROWS).map(|_| f64::from(rng.random_range(1_u32..100_000_000)) / 100.0).collect();
    let mut keys: Vec<(u64, u32)> = Vec::new();
    let mut numbers = Numbers::default();
    let price = |x: f64| match FieldKind::Float.value(&weimocir_domain::Scalar::Float(x)) {
        Some(FieldValue::Number(n)) => n,
        other => panic!("{other:?}"),
    };
    let begun = std::time::Instant::now();
    for (row, x) in (0..).zip(&prices) {
        keys.push((price(*x), row));
        numbers.insert(row, std::iter::once(price(*x)));
    }
    println!("inserted in {:?}, {} bytes a row", begun.elapsed(), numbers.bytes() as u32 / ROWS);
    let column: Vec<u64> = keys.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    let ms = |run: &dyn Fn() -> RoaringBitmap| {
        let mut times: Vec<f64> = (0..21)
            .map(|_| {
                let begun = std::time::Instant::now();
                std::hint::black_box(run());
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[10]
    };
    println!("rows within      bucket ms  sorted ms  scanned ms");
    for share in [2, 10, 100, 1_000, 10_000, 100_000] {
        let taken = (ROWS / share) as usize;
        let start = rng.random_range(0..keys.len() - taken);
        let (from, to) = (keys[start].0, keys[start + taken - 1].0);
        let sorted = || {
            let first = keys.partition_point(|(key, _)| *key < from);
            let end = keys.partition_point(|(key, _)| *key <= to);
            keys[first..end].iter().map(|(_, row)| *row).collect::<RoaringBitmap>()
        };
        let scanned = || {
            let bits: Vec<u8> = column
                .chunks(8)
                .map(|eight| {
                    eight
                        .iter()
                        .enumerate()
                        .fold(0, |byte, (n, key)| byte | u8::from((from..=to).contains(key)) << n)
                })
                .collect();
            RoaringBitmap::from_lsb0_bytes(0, &bits)
        };
        let bucketed = || numbers.within(vec![(from, to)]);
        assert!(bucketed() == sorted() && scanned() == sorted());
        println!(
            "{:>10} {:>15.3} {:>10.3} {:>11.3}",
            bucketed().len(),
            ms(&bucketed),
            ms(&sorted),
            ms(&scanned)
        );
    }
    let begun = std::time::Instant::now();
    (0..ROWS).step_by(10).for_each(|row| numbers.remove(row));
    println!("removed {} in {:?}", ROWS / 10, begun.elapsed());
}
