//! How types that check what they read describe themselves to readers of the HTTP interface.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat,
        schema::{AdditionalProperties, ArrayBuilder, OneOfBuilder, Type},
    },
};

use crate::{Collection, FieldKinds, Filter, ImageId, ModelId, Revision};

pub(crate) fn weight() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(1));
    number.format(Some(SchemaFormat::KnownFormat(KnownFormat::Float))).into()
}

fn text(pattern: &str, description: &str) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    text.description(Some(description)).into()
}

impl PartialSchema for ImageId {
    fn schema() -> RefOr<Schema> {
        text("^[0-9a-fA-F]{32}$", "The first 128 bits of the SHA-256 of the picture's file.")
    }
}

impl PartialSchema for Collection {
    fn schema() -> RefOr<Schema> {
        text("^[a-z][a-z0-9-]{0,31}$", "The name of a gallery.")
    }
}

impl PartialSchema for ModelId {
    fn schema() -> RefOr<Schema> {
        text(".+", "An encoder: its weights and its preprocessing.")
    }
}

impl PartialSchema for Revision {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).into()
    }
}

impl PartialSchema for FieldKinds {
    fn schema() -> RefOr<Schema> {
        let kinds = RefOr::Ref(Ref::from_schema_name("FieldKind"));
        let kinds = AdditionalProperties::RefOr(kinds);
        ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(kinds)).into()
    }
}

impl PartialSchema for Filter {
    fn schema() -> RefOr<Schema> {
        let filter = || RefOr::Ref(Ref::from_schema_name("Filter"));
        let object = |name: &str, of: RefOr<Schema>| {
            ObjectBuilder::new().schema_type(Type::Object).property(name, of).required(name)
        };
        let filters = || ArrayBuilder::new().items(filter()).into();
        let closed = |object: ObjectBuilder| {
            object.additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        let field = object("field", String::schema());
        let field = field
            .property("is", scalar())
            .property("in", ArrayBuilder::new().items(scalar()))
            .property("range", range())
            .property("exists", bool::schema());
        OneOfBuilder::new()
            .item(closed(object("and", filters())))
            .item(closed(object("or", filters())))
            .item(closed(object("not", filter())))
            .item(closed(field))
            .description(Some("What the images' metadata must say, by the collection's fields."))
            .into()
    }
}

fn scalar() -> RefOr<Schema> {
    OneOfBuilder::new().item(String::schema()).item(f64::schema()).item(bool::schema()).into()
}

fn range() -> RefOr<Schema> {
    let range = ObjectBuilder::new().schema_type(Type::Object);
    let bounds = ["gt", "gte", "lt", "lte"].into_iter();
    bounds.fold(range, |range, bound| range.property(bound, scalar())).into()
}

impl ToSchema for ImageId {}
impl ToSchema for Collection {}
impl ToSchema for ModelId {}
impl ToSchema for Revision {}
impl ToSchema for Filter {}

impl ToSchema for FieldKinds {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("FieldKind".to_owned(), crate::FieldKind::schema()));
    }
}
