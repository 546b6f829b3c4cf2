//! The fields of images' metadata that a search can filter by: their kinds, and values read by kind.
//! What is asked of them is `filter`'s.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What the values of a field are, and so what can be asked of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Text that is equal or not, byte by byte.
    Keyword,
    /// A whole number from -2^63 to 2^63 - 1.
    Integer,
    /// An f64; the nearest one to a number with more digits. -0 is 0.
    Float,
    /// RFC 3339 text, or seconds since 1970 as a number; to the microsecond, finer digits are dropped.
    Timestamp,
    Boolean,
}

/// One value as JSON has it, before a kind says how it reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    Boolean(bool),
    Integer(i64),
    /// Finite.
    Float(f64),
    Text(String),
}

/// A value as its kind reads it, ready to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldValue {
    /// A keyword; a boolean's `true` or `false`.
    Word(String),
    /// An integer, a float or a timestamp (in microseconds), moved to where `u64` keeps its order.
    Number(u64),
}

/// A collection's declared fields, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldKinds(BTreeMap<String, FieldKind>);

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FieldError {
    #[error("`{0}` declares no field: expected NAME:KIND, such as `price:float`")]
    Declaration(String),
    #[error(
        "`{0}` is no field name: expected 1 to 64 characters, without spaces and any of `= < > !`"
    )]
    Name(String),
    #[error("`{0}` is no kind of field: expected keyword, integer, float, timestamp or boolean")]
    Kind(String),
    #[error("the field `{field}` is declared {held}, and cannot become {offered}")]
    Changed { field: String, held: FieldKind, offered: FieldKind },
    #[error("a collection has {MAX_FIELDS} declared fields at most; there is no place for `{0}`")]
    TooManyFields(String),
    #[error("its field `{field}` is {value}, which is no {kind}: expected {}", kind.expected())]
    Value { field: String, value: String, kind: FieldKind },
    #[error("its field `{field}` has {count} values, of at most {MAX_VALUES}")]
    TooManyValues { field: String, count: usize },
}

/// Fields that one collection declares.
// because: each costs an index in every shard
const MAX_FIELDS: usize = 64;
/// Values of one field that one image has.
// because: an index of numbers has a layer for each, and one image must not make thousands
const MAX_VALUES: usize = 64;

impl FieldKind {
    /// What `scalar` is as a value of this kind, or `None` if it is none.
    pub fn value(self, scalar: &Scalar) -> Option<FieldValue> {
        match (self, scalar) {
            (Self::Keyword, Scalar::Text(text)) => Some(FieldValue::Word(text.clone())),
            (Self::Boolean, Scalar::Boolean(value)) => Some(FieldValue::Word(value.to_string())),
            (Self::Integer, Scalar::Integer(n)) => Some(FieldValue::Number(ordered_integer(*n))),
            // because: some writers give every number a point; beyond 2^53 a float names several
            (Self::Integer, Scalar::Float(x)) if x.fract() == 0.0 && x.abs() <= EXACT => {
                Some(FieldValue::Number(ordered_integer(*x as i64)))
            }
            (Self::Float, Scalar::Integer(n)) => Some(FieldValue::Number(ordered_float(*n as f64))),
            (Self::Float, Scalar::Float(x)) => Some(FieldValue::Number(ordered_float(*x))),
            (Self::Timestamp, _) => {
                microseconds(scalar).map(|us| FieldValue::Number(ordered_integer(us)))
            }
            _ => None,
        }
    }

    /// Whether its values are more or less than each other, so that a range has a meaning.
    pub fn has_order(self) -> bool {
        matches!(self, Self::Integer | Self::Float | Self::Timestamp)
    }

    /// What a value looks like, for people.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Keyword => "a text",
            Self::Integer => "a whole number of 64 bits",
            Self::Float => "a number",
            Self::Timestamp => "\"2026-01-31T12:00:00Z\", or seconds since 1970",
            Self::Boolean => "true or false",
        }
    }
}

/// Whole numbers up to here are floats of their own.
const EXACT: f64 = (1_u64 << 53) as f64;
/// The years 0 to 9999, as RFC 3339 has them, in seconds since 1970.
const TIMES: std::ops::RangeInclusive<f64> = -62_167_219_200.0..=253_402_300_799.999_999;

fn microseconds(scalar: &Scalar) -> Option<i64> {
    match scalar {
        Scalar::Text(text) => {
            let nanoseconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
            i64::try_from(nanoseconds.div_euclid(1_000)).ok()
        }
        Scalar::Integer(seconds) => TIMES.contains(&(*seconds as f64)).then(|| seconds * 1_000_000),
        // because: the nearest float to a decimal fraction may lie a hair below it
        Scalar::Float(seconds) => TIMES.contains(seconds).then(|| (seconds * 1e6).round() as i64),
        Scalar::Boolean(_) => None,
    }
}

fn ordered_integer(n: i64) -> u64 {
    n.cast_unsigned() ^ (1 << 63)
}

/// The order of IEEE 754's totalOrder, in which -0 would come before 0: they are made one.
fn ordered_float(x: f64) -> u64 {
    let bits = if x == 0.0 { 0 } else { x.to_bits() };
    if bits >> 63 == 0 { bits | (1 << 63) } else { !bits }
}

impl FieldKinds {
    /// Adds a field, unless it is declared so already.
    ///
    /// # Errors
    /// A name that is none, a kind other than the declared one, or too many fields.
    pub fn declare(&mut self, field: &str, kind: FieldKind) -> Result<(), FieldError> {
        let apart = |c: char| c.is_whitespace() || c.is_control() || "=<>!".contains(c);
        if field.is_empty() || field.chars().count() > 64 || field.contains(apart) {
            return Err(FieldError::Name(field.to_owned()));
        }
        match self.kind(field) {
            Some(held) if held == kind => Ok(()),
            Some(held) => Err(FieldError::Changed { field: field.to_owned(), held, offered: kind }),
            None if self.0.len() == MAX_FIELDS => Err(FieldError::TooManyFields(field.to_owned())),
            None => {
                self.0.insert(field.to_owned(), kind);
                Ok(())
            }
        }
    }

    pub fn kind(&self, field: &str) -> Option<FieldKind> {
        self.0.get(field).copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By ascending name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, FieldKind)> {
        self.0.iter().map(|(field, kind)| (field.as_str(), *kind))
    }

    /// The values that one image's metadata have for each declared field, none twice: none at all
    /// where the field is missing or null, several where it is a list.
    pub fn read<'a>(
        &'a self,
        metadata: &'a Map<String, Value>,
    ) -> impl Iterator<Item = (&'a str, Result<Vec<FieldValue>, FieldError>)> {
        self.iter().map(|(field, kind)| {
            let held = metadata.get(field).unwrap_or(&Value::Null);
            (field, values(field, kind, held))
        })
    }

    /// # Errors
    /// A declared field with a value that is not of its kind.
    pub fn check(&self, metadata: &Map<String, Value>) -> Result<(), FieldError> {
        self.read(metadata).try_for_each(|(_, values)| values.map(drop))
    }
}

impl fmt::Display for FieldKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (field, kind)) in self.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{field} ({kind})")?;
        }
        Ok(())
    }
}

fn values(field: &str, kind: FieldKind, held: &Value) -> Result<Vec<FieldValue>, FieldError> {
    let list = match held {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut values = Vec::with_capacity(list.len());
    for value in list.iter().filter(|value| !value.is_null()) {
        let read = Scalar::of(value).and_then(|scalar| kind.value(&scalar));
        let wrong = || FieldError::Value { field: field.to_owned(), value: shortened(value), kind };
        values.push(read.ok_or_else(wrong)?);
    }
    values.sort_unstable();
    values.dedup();
    if values.len() > MAX_VALUES {
        return Err(FieldError::TooManyValues { field: field.to_owned(), count: values.len() });
    }
    Ok(values)
}

/// A value for an error message, its end left out where it is long.
pub(crate) fn shortened(value: &impl fmt::Display) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Scalar {
    /// `None` for null, a list or an object.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Boolean(*value)),
            Value::Number(n) => n.as_i64().map(Self::Integer).or(n.as_f64().map(Self::Float)),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(n) => n.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneValue;

        impl de::Visitor<'_> for OneValue {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a finite number, true or false")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Boolean(value))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(n))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Scalar, E> {
                Ok(i64::try_from(n).map_or(Scalar::Float(n as f64), Scalar::Integer))
            }

            fn visit_f64<E: de::Error>(self, x: f64) -> Result<Scalar, E> {
                if x.is_finite() {
                    return Ok(Scalar::Float(x));
                }
                Err(E::invalid_value(de::Unexpected::Float(x), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
        }

        d.deserialize_any(OneValue)
    }
}

impl FromStr for FieldKind {
    type Err = FieldError;

    fn from_str(s: &str) -> Result<Self, FieldError> {
        Ok(match s {
            "keyword" => Self::Keyword,
            "integer" => Self::Integer,
            "float" => Self::Float,
            "timestamp" => Self::Timestamp,
            "boolean" => Self::Boolean,
            other => return Err(FieldError::Kind(other.to_owned())),
        })
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyword => "keyword",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Timestamp => "timestamp",
            Self::Boolean => "boolean",
        })
    }
}

/// As a command line has it: `NAME:KIND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDeclaration {
    pub field: String,
    pub kind: FieldKind,
}

impl FromStr for FieldDeclaration {
    type Err = FieldError;

    fn from_str(s: &str) -> Result<Self, FieldError> {
        // because: the last colon, since names such as `dc:title` have their own
        let (field, kind) =
            s.rsplit_once(':').ok_or_else(|| FieldError::Declaration(s.to_owned()))?;
        Ok(Self { field: field.to_owned(), kind: kind.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn kinds() -> FieldKinds {
        let mut kinds = FieldKinds::default();
        for declared in
            ["colour:keyword", "stock:integer", "price:float", "made:timestamp", "sale:boolean"]
        {
            let FieldDeclaration { field, kind } = declared.parse().unwrap();
            kinds.declare(&field, kind).unwrap();
        }
        kinds
    }

    fn read(field: &str, value: Value) -> Result<Vec<FieldValue>, FieldError> {
        let metadata = Map::from_iter([(field.to_owned(), value)]);
        kinds().read(&metadata).find(|(read, _)| *read == field).unwrap().1
    }

    #[test]
    fn values_that_are_equal_read_the_same() {
        for (field, one, other) in [
            ("stock", json!(3), json!(3.0)),
            ("stock", json!([3, 4]), json!([4, null, 3, 4])),
            ("price", json!(0.0), json!(-0.0)),
            ("price", json!(2), json!(2.0)),
            // `date -u -d 2026-01-31T12:00:00Z +%s`
            ("made", json!(1_769_860_800), json!("2026-01-31T12:00:00Z")),
            ("made", json!(1_769_860_800.25), json!("2026-01-31T13:00:00.25+01:00")),
            ("made", json!("2026-01-31T12:00:00.0000019Z"), json!("2026-01-31T12:00:00.000001Z")),
            ("colour", json!(["red"]), json!("red")),
            ("colour", json!([]), json!(null)),
        ] {
            assert_eq!(read(field, one.clone()), read(field, other.clone()), "{one} and {other}");
            assert!(read(field, one).is_ok());
        }
    }

    #[test]
    fn a_value_of_another_kind_is_named_with_its_field() {
        for (field, wrong) in [
            ("colour", json!(3)),
            ("colour", json!(["red", true])),
            ("colour", json!([["red"]])),
            ("stock", json!("3")),
            ("stock", json!(3.5)),
            ("stock", json!(1_u64 << 63)),
            ("stock", json!(1e300)),
            ("price", json!("12.5")),
            ("made", json!("yesterday")),
            ("made", json!("2026-01-31")),
            ("made", json!(1_769_860_800_000_i64)),
            ("made", json!(false)),
            ("sale", json!("true")),
            ("sale", json!({ "is": true })),
        ] {
            let error = read(field, wrong.clone()).unwrap_err();
            assert!(
                matches!(&error, FieldError::Value { field: named, .. } if named == field),
                "{wrong}: {error}"
            );
        }
        assert_eq!(
            kinds()
                .check(json!({ "price": "cheap" }).as_object().unwrap())
                .unwrap_err()
                .to_string(),
            "its field `price` is \"cheap\", which is no float: expected a number"
        );
        let many: Vec<u32> = (0..65).collect();
        assert_eq!(
            read("price", json!(many)),
            Err(FieldError::TooManyValues { field: "price".into(), count: 65 })
        );
    }

    #[test]
    fn a_field_keeps_its_kind() {
        let mut kinds = kinds();
        kinds.declare("price", FieldKind::Float).unwrap();
        let error = kinds.declare("price", FieldKind::Integer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the field `price` is declared float, and cannot become integer"
        );
        for wrong in ["", "a b", "a=b", "a<b", &"a".repeat(65)] {
            assert_eq!(kinds.declare(wrong, FieldKind::Float), Err(FieldError::Name(wrong.into())));
        }
        let declared = kinds.iter().len();
        for n in declared..64 {
            kinds.declare(&n.to_string(), FieldKind::Boolean).unwrap();
        }
        let error = kinds.declare("one-more", FieldKind::Boolean).unwrap_err();
        assert_eq!(error, FieldError::TooManyFields("one-more".into()));
    }

    #[test]
    fn a_declaration_is_name_and_kind() {
        let declared: FieldDeclaration = "dc:title:keyword".parse().unwrap();
        assert_eq!((declared.field.as_str(), declared.kind), ("dc:title", FieldKind::Keyword));
        assert!(matches!("price".parse::<FieldDeclaration>(), Err(FieldError::Declaration(_))));
        assert!(matches!("price:money".parse::<FieldDeclaration>(), Err(FieldError::Kind(_))));
    }

    proptest! {
        #[test]
        fn numbers_keep_their_order(
            (a, b) in (any::<i64>(), any::<i64>()), (x, y) in (any::<f64>(), any::<f64>()),
        ) {
            prop_assert_eq!(a.cmp(&b), ordered_integer(a).cmp(&ordered_integer(b)));
            if let Some(order) = x.partial_cmp(&y) {
                prop_assert_eq!(order, ordered_float(x).cmp(&ordered_float(y)));
            }
        }
    }
}
