//! OpenAPI v2, by which clients of Kubernetes before 1.27 read schemas.
use super::{Message, items, members};
use serde_json::Value;

/// A whole document.
pub fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.nested(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.nested(8, |paths| {
        for (name, item) in members(&document["paths"]) {
            paths.named(2, name, |value| path(value, item));
        }
    });
    out.nested(9, |definitions| {
        named_schemas(definitions, &document["definitions"])
    });
    out.0
}

fn path(out: &mut Message, item: &Value) {
    let methods = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)];
    for (method, number) in methods {
        if let Some(value) = item.get(method) {
            out.nested(number, |operation| self::operation(operation, value));
        }
    }
    for parameter in items(&item["parameters"]) {
        out.nested(9, |item| self::parameter(item, parameter));
    }
}

fn operation(out: &mut Message, operation: &Value) {
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    for parameter in items(&operation["parameters"]) {
        out.nested(8, |item| self::parameter(item, parameter));
    }
    out.nested(9, |responses| {
        for (code, response) in members(&operation["responses"]) {
            responses.named(1, code, |value| {
                value.nested(1, |out| {
                    out.text(1, &response["description"]);
                    if let Some(schema) = response.get("schema").filter(|s| !s.is_null()) {
                        out.nested(2, |item| item.nested(1, |out| self::schema(out, schema)));
                    }
                });
            });
        }
    });
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
}

fn parameter(out: &mut Message, parameter: &Value) {
    out.nested(1, |either| match parameter["in"].as_str() {
        Some("body") => either.nested(1, |body| {
            body.text(2, &parameter["name"]);
            body.text(3, &parameter["in"]);
            body.flag(4, &parameter["required"]);
            body.nested(5, |out| schema(out, &parameter["schema"]));
        }),
        place => {
            // Where its type and its uniqueness stand differs by one.
            let (number, shift) = if place == Some("path") { (4, 0) } else { (3, 1) };
            either.nested(2, |other| {
                other.nested(number, |out| {
                    out.flag(1, &parameter["required"]);
                    out.text(2, &parameter["in"]);
                    out.text(3, &parameter["description"]);
                    out.text(4, &parameter["name"]);
                    out.text(5 + shift, &parameter["type"]);
                    out.flag(19 + shift, &parameter["uniqueItems"]);
                });
            });
        }
    });
}

fn named_schemas(out: &mut Message, schemas: &Value) {
    for (name, value) in members(schemas) {
        out.named(1, name, |out| schema(out, value));
    }
}

fn schema(out: &mut Message, schema: &Value) {
    out.text(1, &schema["$ref"]);
    out.text(2, &schema["format"]);
    out.text(3, &schema["title"]);
    out.text(4, &schema["description"]);
    out.any(5, &schema["default"]);
    out.double(6, &schema["multipleOf"]);
    out.double(7, &schema["maximum"]);
    out.flag(8, &schema["exclusiveMaximum"]);
    out.double(9, &schema["minimum"]);
    out.flag(10, &schema["exclusiveMinimum"]);
    out.integer(11, &schema["maxLength"]);
    out.integer(12, &schema["minLength"]);
    out.text(13, &schema["pattern"]);
    out.integer(14, &schema["maxItems"]);
    out.integer(15, &schema["minItems"]);
    out.flag(16, &schema["uniqueItems"]);
    out.integer(17, &schema["maxProperties"]);
    out.integer(18, &schema["minProperties"]);
    out.texts(19, &schema["required"]);
    for value in items(&schema["enum"]) {
        out.nested(20, |any| any.bytes(2, format!("{value}\n").as_bytes()));
    }
    match &schema["additionalProperties"] {
        Value::Bool(allowed) => out.nested(21, |item| {
            item.varint(2 << 3);
            item.varint(u64::from(*allowed));
        }),
        inner @ Value::Object(_) => {
            out.nested(21, |item| item.nested(1, |out| self::schema(out, inner)));
        }
        _ => {}
    }
    if schema["type"].is_string() {
        out.nested(22, |item| item.text(1, &schema["type"]));
    }
    if schema["items"].is_object() {
        out.nested(23, |item| {
            item.nested(1, |out| self::schema(out, &schema["items"]))
        });
    }
    for inner in items(&schema["allOf"]) {
        out.nested(24, |out| self::schema(out, inner));
    }
    if schema["properties"].is_object() {
        out.nested(25, |properties| named_schemas(properties, &schema["properties"]));
    }
    out.extensions(31, schema);
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
            &json!({"type": "object", "x-a": "b", "properties": {"p": {"$ref": "#/definitions/x"}}}),
        );
        let mut expected: Vec<u8> = Vec::new();
        // type 22 { value 1 "object" }
        expected.extend(b"\xb2\x01\x08\x0a\x06object");
        // properties 25 { 1 { name 1 "p", value 2 { _ref 1 } } }
        expected.extend(b"\xca\x01\x18\x0a\x16\x0a\x01p\x12\x11\x0a\x0f#/definitions/x");
        // vendor_extension 31 { name 1, value 2 { yaml 2 } }
        expected.extend(b"\xfa\x01\x0d\x0a\x03x-a\x12\x06\x12\x04\"b\"\n");
        assert_eq!(out.0, expected);
    }
}
