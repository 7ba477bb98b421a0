//! OpenAPI v3, a group-version's document.
use super::{Message, items, members};
use serde_json::Value;

/// A whole document.
pub fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["openapi"]);
    out.nested(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(6, &document["info"]["version"]);
    });
    out.nested(4, |paths| {
        for (name, item) in members(&document["paths"]) {
            paths.named(1, name, |value| path(value, item));
        }
    });
    out.nested(5, |components| {
        components.nested(1, |schemas| {
            named_schemas(schemas, &document["components"]["schemas"]);
        });
    });
    out.0
}

fn path(out: &mut Message, item: &Value) {
    let methods = [("get", 4), ("put", 5), ("post", 6), ("delete", 7), ("patch", 10)];
    for (method, number) in methods {
        if let Some(value) = item.get(method) {
            out.nested(number, |operation| self::operation(operation, value));
        }
    }
    for parameter in items(&item["parameters"]) {
        out.nested(13, |either| {
            either.nested(1, |out| self::parameter(out, parameter))
        });
    }
}

fn operation(out: &mut Message, operation: &Value) {
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    for parameter in items(&operation["parameters"]) {
        out.nested(6, |either| {
            either.nested(1, |out| self::parameter(out, parameter))
        });
    }
    let body = &operation["requestBody"];
    if body.is_object() {
        out.nested(7, |either| {
            either.nested(1, |out| {
                out.text(1, &body["description"]);
                content(out, 2, &body["content"]);
                out.flag(3, &body["required"]);
            });
        });
    }
    out.nested(8, |responses| {
        for (code, response) in members(&operation["responses"]) {
            responses.named(2, code, |either| {
                either.nested(1, |out| {
                    out.text(1, &response["description"]);
                    content(out, 3, &response["content"]);
                });
            });
        }
    });
    out.extensions(13, operation);
}

fn content(out: &mut Message, number: u64, content: &Value) {
    if content.is_object() {
        out.nested(number, |types| {
            for (name, media) in members(content) {
                types.named(1, name, |out| either(out, 1, &media["schema"]));
            }
        });
    }
}

fn parameter(out: &mut Message, parameter: &Value) {
    out.text(1, &parameter["name"]);
    out.text(2, &parameter["in"]);
    out.text(3, &parameter["description"]);
    out.flag(4, &parameter["required"]);
    if parameter["schema"].is_object() {
        either(out, 10, &parameter["schema"]);
    }
}

fn named_schemas(out: &mut Message, schemas: &Value) {
    for (name, value) in members(schemas) {
        out.named(1, name, |out| schema_or_reference(out, value));
    }
}

/// A schema in this field, or what leads to one.
fn either(out: &mut Message, number: u64, value: &Value) {
    out.nested(number, |out| schema_or_reference(out, value));
}

fn schema_or_reference(out: &mut Message, value: &Value) {
    match value["$ref"].is_string() {
        true => out.nested(2, |out| out.text(1, &value["$ref"])),
        false => out.nested(1, |out| schema(out, value)),
    }
}

fn schema(out: &mut Message, schema: &Value) {
    out.flag(1, &schema["nullable"]);
    out.text(9, &schema["title"]);
    out.double(10, &schema["multipleOf"]);
    out.double(11, &schema["maximum"]);
    out.flag(12, &schema["exclusiveMaximum"]);
    out.double(13, &schema["minimum"]);
    out.flag(14, &schema["exclusiveMinimum"]);
    out.integer(15, &schema["maxLength"]);
    out.integer(16, &schema["minLength"]);
    out.text(17, &schema["pattern"]);
    out.integer(18, &schema["maxItems"]);
    out.integer(19, &schema["minItems"]);
    out.flag(20, &schema["uniqueItems"]);
    out.integer(21, &schema["maxProperties"]);
    out.integer(22, &schema["minProperties"]);
    out.texts(23, &schema["required"]);
    for value in items(&schema["enum"]) {
        out.any(24, value);
    }
    out.text(25, &schema["type"]);
    for (member, number) in [("allOf", 26), ("oneOf", 27), ("anyOf", 28)] {
        for inner in items(&schema[member]) {
            either(out, number, inner);
        }
    }
    if schema["not"].is_object() {
        out.nested(29, |out| self::schema(out, &schema["not"]));
    }
    if schema["items"].is_object() {
        out.nested(30, |items| either(items, 1, &schema["items"]));
    }
    if schema["properties"].is_object() {
        out.nested(31, |properties| named_schemas(properties, &schema["properties"]));
    }
    match &schema["additionalProperties"] {
        Value::Bool(allowed) => out.nested(32, |item| {
            item.varint(2 << 3);
            item.varint(u64::from(*allowed));
        }),
        inner @ Value::Object(_) => out.nested(32, |item| either(item, 1, inner)),
        _ => {}
    }
    default(out, &schema["default"]);
    out.text(34, &schema["description"]);
    out.text(35, &schema["format"]);
    out.extensions(36, schema);
}

/// The messages have room for numbers, booleans and texts only.
fn default(out: &mut Message, value: &Value) {
    match value {
        Value::Number(_) => out.nested(33, |out| out.double(1, value)),
        Value::Bool(yes) => out.nested(33, |out| {
            out.varint(2 << 3);
            out.varint(u64::from(*yes));
        }),
        Value::String(_) => out.nested(33, |out| out.text(3, value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_is_gnostics() {
        let mut out = Message::default();
        schema(
            &mut out,
            &json!({"type": "object", "x-a": "b", "default": false,
                "properties": {"p": {"$ref": "#/components/schemas/x"}}}),
        );
        let mut expected: Vec<u8> = Vec::new();
        // type 25
        expected.extend(b"\xca\x01\x06object");
        // properties 31 { 1 { name 1 "p", value 2 { reference 2 { _ref 1 } } } }
        expected.extend(b"\xfa\x01\x21\x0a\x1f\x0a\x01p\x12\x1a\x12\x18\x0a\x16#/components/schemas/x");
        // default 33 { boolean 2 false }
        expected.extend(b"\x8a\x02\x02\x10\x00");
        // specification_extension 36 { name 1, value 2 { yaml 2 } }
        expected.extend(b"\xa2\x02\x0d\x0a\x03x-a\x12\x06\x12\x04\"b\"\n");
        assert_eq!(out.0, expected);
    }
}
