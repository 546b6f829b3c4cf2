//! `search --where`: one field compared with one value, as people write it.

use std::str::FromStr;

use weimocir_domain::{FieldKind, FieldKinds, Filter, Range, Scalar, Test};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    field: String,
    operator: &'static str,
    value: String,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no condition: expected a field, one of = != < <= > >=, and a value, such as price<20"
)]
pub(crate) struct ConditionError(String);

// because: the longer ones first, since the shorter ones begin them
const OPERATORS: [&str; 6] = ["<=", ">=", "!=", "<", ">", "="];

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(s: &str) -> Result<Self, ConditionError> {
        let wrong = || ConditionError(s.to_owned());
        // because: the names of fields have none of these
        let (field, rest) = s.split_at(s.find(['=', '!', '<', '>']).ok_or_else(wrong)?);
        let operator = OPERATORS.into_iter().find(|o| rest.starts_with(o)).ok_or_else(wrong)?;
        let value = rest[operator.len()..].trim().to_owned();
        let field = field.trim().to_owned();
        if field.is_empty() { Err(wrong()) } else { Ok(Self { field, operator, value }) }
    }
}

impl Condition {
    /// What does not fit the fields stays a text, for the query worker to refuse by name.
    pub(crate) fn filter(&self, fields: &FieldKinds) -> Filter {
        let text = || Scalar::Text(self.value.clone());
        let value = match fields.kind(&self.field) {
            Some(FieldKind::Keyword) | None => text(),
            Some(_) => serde_json::from_str(&self.value).unwrap_or_else(|_| text()),
        };
        let field = |test| Filter::Field { field: self.field.clone(), test };
        let range = Range::default();
        match self.operator {
            "=" => field(Test::Is(value)),
            "!=" => Filter::Not(Box::new(field(Test::Is(value)))),
            "<" => field(Test::Range(Range { lt: Some(value), ..range })),
            "<=" => field(Test::Range(Range { lte: Some(value), ..range })),
            ">" => field(Test::Range(Range { gt: Some(value), ..range })),
            _ => field(Test::Range(Range { gte: Some(value), ..range })),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_is_the_filter_that_it_looks_like() {
        let fields = json!({ "colour": "keyword", "price": "float", "sale": "boolean", "made": "timestamp" });
        let fields: FieldKinds = serde_json::from_value(fields).unwrap();
        for (written, expected) in [
            ("colour=red", json!({ "field": "colour", "is": "red" })),
            ("colour=12", json!({ "field": "colour", "is": "12" })),
            ("colour!=a=b", json!({ "not": { "field": "colour", "is": "a=b" } })),
            ("price < 20", json!({ "field": "price", "range": { "lt": 20 } })),
            ("price<=20.5", json!({ "field": "price", "range": { "lte": 20.5 } })),
            ("price>cheap", json!({ "field": "price", "range": { "gt": "cheap" } })),
            ("sale=true", json!({ "field": "sale", "is": true })),
            (
                "made>=2026-01-31T12:00:00Z",
                json!({ "field": "made", "range": { "gte": "2026-01-31T12:00:00Z" } }),
            ),
        ] {
            let filter = written.parse::<Condition>().unwrap().filter(&fields);
            assert_eq!(json!(filter), expected, "{written}");
        }
        for wrong in ["", "colour", "=red", "!red", "colour!red"] {
            let error = wrong.parse::<Condition>().unwrap_err().to_string();
            assert!(error.contains("such as price<20"), "{error}");
        }
    }
}
