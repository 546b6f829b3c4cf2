//! What a search asks of images' metadata: as it travels, and read against the declared fields.
//!
//! An image that lacks a field meets no test of it, and `not` is the complement over all images. A
//! field with several values meets a test if one of them does.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use crate::{FieldKind, FieldKinds, FieldValue, Scalar, field::shortened};

/// A filter as it travels. In JSON `{"and": […]}`, `{"or": […]}`, `{"not": …}`, or a test of one
/// field: `{"field": "colour", "is": "red"}`.
///
/// One that was read keeps the limits; whether it fits a collection is `check`'s to say.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    #[serde(untagged)]
    Field {
        field: String,
        #[serde(flatten)]
        test: Test,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    Is(Scalar),
    /// Is one of these.
    In(Vec<Scalar>),
    Range(Range),
    /// Has a value at all, or has none.
    Exists(bool),
}

/// At most one bound on each side, at least one in all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    #[serde(default, deserialize_with = "bound", skip_serializing_if = "Option::is_none")]
    pub gt: Option<Scalar>,
    #[serde(default, deserialize_with = "bound", skip_serializing_if = "Option::is_none")]
    pub gte: Option<Scalar>,
    #[serde(default, deserialize_with = "bound", skip_serializing_if = "Option::is_none")]
    pub lt: Option<Scalar>,
    #[serde(default, deserialize_with = "bound", skip_serializing_if = "Option::is_none")]
    pub lte: Option<Scalar>,
}

// because: null is what JSON makes of NaN, and must not become "no bound"
fn bound<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Scalar>, D::Error> {
    Scalar::deserialize(d).map(Some)
}

/// A filter read by the kinds of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition<'f> {
    All(Vec<Condition<'f>>),
    Any(Vec<Condition<'f>>),
    Not(Box<Condition<'f>>),
    /// The field has one of these values.
    In {
        field: &'f str,
        values: Vec<FieldValue>,
    },
    /// The field has a number from `from` to `to`, both included; `from` is not above `to`.
    Within {
        field: &'f str,
        from: u64,
        to: u64,
    },
    Exists {
        field: &'f str,
    },
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FilterError {
    #[error("there is no field `{field}` to filter by{}", others(known))]
    UnknownField { field: String, known: FieldKinds },
    #[error("the filter compares `{field}` with {value}, and it is a {kind}: expected {}", kind.expected())]
    Value { field: String, value: String, kind: FieldKind },
    #[error("the filter has a range for `{field}`, and a {kind} has no order: use `is` or `in`")]
    Unordered { field: String, kind: FieldKind },
    #[error(
        "the filter's range for `{field}` needs one of gt and gte, or one of lt and lte, or both"
    )]
    Bounds { field: String },
    #[error("the filter's range for `{field}` is empty: no value is {from} and {to}")]
    EmptyRange { field: String, from: String, to: String },
    #[error("the filter's `{of}` is empty, and would say nothing")]
    Empty { of: &'static str },
}

fn others(known: &FieldKinds) -> String {
    if known.is_empty() {
        return "; none is declared: `weimocir ingest --field NAME:KIND` declares one".to_owned();
    }
    format!("; there are: {known}")
}

impl Filter {
    /// The filter by the collection's fields.
    ///
    /// # Errors
    /// A field that is not declared, a value of another kind, or a part that nothing could match.
    pub fn check(&self, fields: &FieldKinds) -> Result<Condition<'_>, FilterError> {
        Ok(match self {
            Self::And(parts) => Condition::All(check_all("and", parts, fields)?),
            Self::Or(parts) => Condition::Any(check_all("or", parts, fields)?),
            Self::Not(part) => Condition::Not(Box::new(part.check(fields)?)),
            Self::Field { field, test } => {
                let kind = fields.kind(field).ok_or_else(|| FilterError::UnknownField {
                    field: field.clone(),
                    known: fields.clone(),
                })?;
                test.check(field, kind)?
            }
        })
    }
}

fn check_all<'f>(
    of: &'static str,
    parts: &'f [Filter],
    fields: &FieldKinds,
) -> Result<Vec<Condition<'f>>, FilterError> {
    if parts.is_empty() {
        return Err(FilterError::Empty { of });
    }
    parts.iter().map(|part| part.check(fields)).collect()
}

impl Test {
    fn check<'f>(&'f self, field: &'f str, kind: FieldKind) -> Result<Condition<'f>, FilterError> {
        Ok(match self {
            Self::Is(scalar) => Condition::In { field, values: vec![value(field, kind, scalar)?] },
            Self::In(scalars) if scalars.is_empty() => return Err(FilterError::Empty { of: "in" }),
            Self::In(scalars) => {
                let values = scalars.iter().map(|scalar| value(field, kind, scalar));
                Condition::In { field, values: values.collect::<Result<_, _>>()? }
            }
            Self::Range(range) => {
                let (from, to) = range.check(field, kind)?;
                Condition::Within { field, from, to }
            }
            Self::Exists(true) => Condition::Exists { field },
            Self::Exists(false) => Condition::Not(Box::new(Condition::Exists { field })),
        })
    }
}

fn value(field: &str, kind: FieldKind, scalar: &Scalar) -> Result<FieldValue, FilterError> {
    kind.value(scalar).ok_or_else(|| FilterError::Value {
        field: field.to_owned(),
        value: shortened(scalar),
        kind,
    })
}

impl Range {
    /// The least and the greatest number within.
    fn check(&self, field: &str, kind: FieldKind) -> Result<(u64, u64), FilterError> {
        if !kind.has_order() {
            return Err(FilterError::Unordered { field: field.to_owned(), kind });
        }
        let bounds = || FilterError::Bounds { field: field.to_owned() };
        let number = |scalar: &Scalar| match value(field, kind, scalar)? {
            FieldValue::Number(n) => Ok(n),
            FieldValue::Word(_) => Err(bounds()),
        };
        // an exclusive bound is the number next to it, if there is one
        let from = match (&self.gt, &self.gte) {
            (None, None) => Some(u64::MIN),
            (Some(gt), None) => number(gt)?.checked_add(1),
            (None, Some(gte)) => Some(number(gte)?),
            (Some(_), Some(_)) => return Err(bounds()),
        };
        let to = match (&self.lt, &self.lte) {
            (None, None) => Some(u64::MAX),
            (Some(lt), None) => number(lt)?.checked_sub(1),
            (None, Some(lte)) => Some(number(lte)?),
            (Some(_), Some(_)) => return Err(bounds()),
        };
        if *self == Self::default() {
            return Err(bounds());
        }
        match (from, to) {
            (Some(from), Some(to)) if from <= to => Ok((from, to)),
            _ => Err(FilterError::EmptyRange {
                field: field.to_owned(),
                from: told([("more than", &self.gt), ("at least", &self.gte)]),
                to: told([("less than", &self.lt), ("at most", &self.lte)]),
            }),
        }
    }
}

fn told(bounds: [(&str, &Option<Scalar>); 2]) -> String {
    let given = bounds.iter().find_map(|(word, scalar)| Some((word, scalar.as_ref()?)));
    given.map_or_else(
        || "whatever is left".to_owned(),
        |(word, scalar)| format!("{word} {}", shortened(scalar)),
    )
}

/// How deep filters nest.
const DEPTH: usize = 16;
/// Parts of one filter, all levels together.
const NODES: usize = 1_000;
/// Values that one filter compares with.
const VALUES: usize = 10_000;

/// What a filter that is being read may still have.
struct Left {
    nodes: Cell<usize>,
    values: Cell<usize>,
}

fn take<E: de::Error>(left: &Cell<usize>, limit: usize, what: &str) -> Result<(), E> {
    let one_less = left.get().checked_sub(1);
    left.set(one_less.ok_or_else(|| E::custom(format!("a filter has {limit} {what} at most")))?);
    Ok(())
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let left = Left { nodes: Cell::new(NODES), values: Cell::new(VALUES) };
        Node { depth: 1, left: &left }.deserialize(d)
    }
}

/// Reads one part. The limits hold while it is read, so that no sender can make the stack or the
/// memory run out.
#[derive(Clone, Copy)]
struct Node<'l> {
    depth: usize,
    left: &'l Left,
}

impl Node<'_> {
    fn below(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

const SHAPES: &str = "one of {\"and\": […]}, {\"or\": […]}, {\"not\": …}, and {\"field\": …} with \"is\", \"in\", \"range\" or \"exists\"";
const KEYS: &[&str] = &["and", "or", "not", "field", "is", "in", "range", "exists"];

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Filter;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Filter, D::Error> {
        if self.depth > DEPTH {
            return Err(de::Error::custom(format!("a filter nests {DEPTH} deep at most")));
        }
        take(&self.left.nodes, NODES, "parts")?;
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Filter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a filter: {SHAPES}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filter, A::Error> {
        let (mut joined, mut field, mut test) = (None, None, None);
        let mut keys = 0;
        while let Some(key) = map.next_key::<String>()? {
            keys += 1;
            match key.as_str() {
                "and" => joined = Some(Filter::And(map.next_value_seed(Parts(self.below()))?)),
                "or" => joined = Some(Filter::Or(map.next_value_seed(Parts(self.below()))?)),
                "not" => {
                    joined = Some(Filter::Not(Box::new(map.next_value_seed(self.below())?)));
                }
                "field" => field = Some(map.next_value()?),
                "is" => {
                    take(&self.left.values, VALUES, "values")?;
                    test = Some(Test::Is(map.next_value()?));
                }
                "in" => test = Some(Test::In(map.next_value_seed(Values(self.left))?)),
                "range" => test = Some(Test::Range(map.next_value()?)),
                "exists" => test = Some(Test::Exists(map.next_value()?)),
                _ => return Err(de::Error::unknown_field(&key, KEYS)),
            }
        }
        match (joined, field, test) {
            (Some(joined), None, None) if keys == 1 => Ok(joined),
            (None, Some(field), Some(test)) if keys == 2 => Ok(Filter::Field { field, test }),
            _ => Err(de::Error::custom(format!("a part of a filter is {SHAPES}"))),
        }
    }
}

struct Parts<'l>(Node<'l>);

impl<'de> DeserializeSeed<'de> for Parts<'_> {
    type Value = Vec<Filter>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<Filter>, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Parts<'_> {
    type Value = Vec<Filter>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of filters")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Filter>, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = list.next_element_seed(self.0)? {
            parts.push(part);
        }
        Ok(parts)
    }
}

struct Values<'l>(&'l Left);

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = Vec<Scalar>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<Scalar>, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = Vec<Scalar>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Scalar>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            take(&self.0.values, VALUES, "values")?;
            values.push(value);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields() -> FieldKinds {
        let kinds = json!({
            "colour": "keyword", "stock": "integer", "price": "float", "made": "timestamp",
            "sale": "boolean",
        });
        serde_json::from_value(kinds).unwrap()
    }

    fn read(filter: Value) -> Result<Filter, String> {
        serde_json::from_str(&filter.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_filter_is_written_as_it_was_read() {
        let filter = json!({ "and": [
            { "field": "colour", "in": ["red", "blue"] },
            { "or": [
                { "field": "price", "range": { "gte": 1, "lt": 5.5 } },
                { "field": "made", "range": { "gt": "2026-01-31T12:00:00Z" } },
            ] },
            { "not": { "field": "sale", "is": true } },
            { "field": "stock", "exists": false },
        ] });
        let read = read(filter.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), filter);
        assert!(read.check(&fields()).is_ok());
    }

    #[test]
    fn what_is_no_filter_is_told() {
        let test = |test: &str, value: Value| json!({ "field": "colour", test: value });
        for (wrong, told) in [
            (json!({}), "a part of a filter is one of"),
            (json!([]), "expected a filter: one of"),
            (json!("colour=red"), "expected a filter: one of"),
            (json!({ "field": "colour" }), "a part of a filter is one of"),
            (json!({ "is": "red" }), "a part of a filter is one of"),
            (json!({ "and": [], "or": [] }), "a part of a filter is one of"),
            (json!({ "field": "colour", "is": "red", "in": [] }), "a part of a filter is one of"),
            (json!({ "nand": [] }), "unknown field `nand`, expected one of `and`, `or`, `not`"),
            (test("is", json!(["red"])), "sequence, expected a text"),
            (test("is", json!(null)), "null, expected a text"),
            (test("in", json!("red")), "expected a list of values"),
            (test("in", json!([["red"]])), "sequence, expected a text"),
            (test("range", json!({ "above": 1 })), "unknown field `above`"),
            (test("range", json!({ "gte": null })), "null, expected a text"),
            (json!({ "not": [] }), "expected a filter"),
        ] {
            let error = read(wrong.clone()).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    #[test]
    fn limits_hold_while_a_filter_is_read() {
        let leaf = json!({ "field": "colour", "is": "red" });
        let nested = |depth: usize| (1..depth).fold(leaf.clone(), |f, _| json!({ "not": f }));
        assert!(read(nested(16)).is_ok());
        assert!(read(nested(17)).unwrap_err().contains("nests 16 deep at most"));
        let wide = |nodes: usize| json!({ "or": vec![leaf.clone(); nodes - 1] });
        assert!(read(wide(1_000)).is_ok());
        assert!(read(wide(1_001)).unwrap_err().contains("1000 parts at most"));
        let long = |values: usize| json!({ "field": "stock", "in": vec![1; values] });
        assert!(read(long(10_000)).is_ok());
        let together = json!({ "or": [long(5_000), long(5_000), leaf] });
        for wrong in [long(10_001), together] {
            assert!(read(wrong).unwrap_err().contains("10000 values at most"));
        }
    }

    #[test]
    fn what_cannot_be_asked_of_the_fields_is_refused() {
        let test = |field: &str, test: &str, value: Value| json!({ "field": field, test: value });
        for (wrong, told) in [
            (
                test("size", "is", json!("L")),
                "there is no field `size` to filter by; there are: colour (keyword), made (timestamp), price (float), sale (boolean), stock (integer)",
            ),
            (
                test("price", "is", json!("cheap")),
                "the filter compares `price` with \"cheap\", and it is a float: expected a number",
            ),
            (test("stock", "in", json!([1, 1.5])), "compares `stock` with 1.5"),
            (test("colour", "is", json!(true)), "compares `colour` with true"),
            (test("sale", "is", json!("true")), "compares `sale` with \"true\""),
            (test("made", "range", json!({ "gte": "yesterday" })), "\"2026-01-31T12:00:00Z\""),
            (
                test("colour", "range", json!({ "gte": "a" })),
                "the filter has a range for `colour`, and a keyword has no order: use `is` or `in`",
            ),
            (test("sale", "range", json!({ "gte": false })), "a boolean has no order"),
            (test("price", "range", json!({})), "needs one of gt and gte"),
            (test("price", "range", json!({ "gt": 1, "gte": 1 })), "needs one of gt and gte"),
            (
                test("price", "range", json!({ "gte": 5, "lt": 5 })),
                "the filter's range for `price` is empty: no value is at least 5 and less than 5",
            ),
            (test("stock", "range", json!({ "gt": 3, "lt": 4 })), "is empty"),
            (
                test("stock", "range", json!({ "gt": i64::MAX })),
                "no value is more than 9223372036854775807 and whatever is left",
            ),
            (test("stock", "range", json!({ "lt": i64::MIN })), "is empty"),
            (test("colour", "in", json!([])), "the filter's `in` is empty"),
            (json!({ "and": [] }), "the filter's `and` is empty"),
            (json!({ "not": { "or": [] } }), "the filter's `or` is empty"),
        ] {
            let error = read(wrong.clone()).unwrap().check(&fields()).unwrap_err().to_string();
            assert!(error.contains(told), "{wrong}: {error}");
        }
        let undeclared = read(test("size", "exists", json!(true))).unwrap();
        let error = undeclared.check(&FieldKinds::default()).unwrap_err().to_string();
        assert!(error.contains("none is declared: `weimocir ingest --field"), "{error}");
    }
}
