//! A filter and metadata, any JSON: what is taken selects no more rows than there are, and `not`
//! selects the others.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use weimocir_domain::{FieldKinds, Filter};
use weimocir_index::Fields;

static KINDS: LazyLock<FieldKinds> = LazyLock::new(|| {
    let mut kinds = FieldKinds::default();
    for declaration in ["k:keyword", "b:boolean", "i:integer", "f:float", "t:timestamp"] {
        let declaration: weimocir_domain::FieldDeclaration = declaration.parse().expect("a field");
        kinds.declare(&declaration.field, declaration.kind).expect("declared once");
    }
    kinds
});

fuzz_target!(|bytes: &[u8]| {
    let (metadata, filter) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b"{}"[..], bytes),
    };
    let mut fields = Fields::new(&KINDS);
    for (row, line) in metadata.split(|&byte| byte == b'\t').take(64).enumerate() {
        if let Ok(metadata) = serde_json::from_slice::<Map<String, Value>>(line) {
            fields.insert(row as u32, &metadata);
        }
    }
    let Ok(filter) = serde_json::from_slice::<Filter>(filter) else { return };
    let Ok(selected) = fields.select(&filter) else { return };
    assert!(selected.is_subset(fields.rows()));
    let written = serde_json::to_vec(&filter).expect("a filter can be written");
    let again: Filter = serde_json::from_slice(&written).expect("and read back");
    assert_eq!(fields.select(&again).expect("and asked"), selected);
});
