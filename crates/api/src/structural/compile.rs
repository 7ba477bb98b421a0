//! From `openAPIV3Schema` to nodes.
use super::prune::tidy_metadata;
use super::rules::{self, Place};
use super::{Additional, Kind, Limits, ListType, Node, PATTERN_BYTES_MAX};
use crate::regexp::Pattern;
use crate::validation::FieldError;
use serde_json::Value;

/// Places in one schema.
const NODES_MAX: usize = 50_000;

/// Reads a schema; `path` is where it stands, as in `spec.versions[0].schema.openAPIV3Schema`.
///
/// # Errors
/// What keeps it from being used, with its path; all that is refused of a definition, [`super::check_definition`] tells.
pub fn compile(schema: &Value, path: &str) -> Result<Node, Vec<FieldError>> {
    match read(schema, path) {
        (node, errors) if errors.is_empty() => Ok(node),
        (_, errors) => Err(errors),
    }
}

/// Reads the schema of objects of which nothing is taken out (`spec.preserveUnknownFields`). It need not be structural: what
/// can't be read of it counts for nothing.
pub fn compile_preserving(schema: &Value, path: &str) -> Node {
    let (mut node, _) = read(schema, path);
    node.kind = Kind::Object;
    preserve(&mut node);
    node
}

fn preserve(node: &mut Node) {
    node.preserve_unknown = true;
    node.properties.values_mut().for_each(preserve);
    if let Additional::Each(below) = &mut node.additional {
        preserve(below);
    }
    if let Some(items) = &mut node.items {
        preserve(items);
    }
}

/// What can be read of a schema, and what is wrong with it.
pub(super) fn read(schema: &Value, path: &str) -> (Node, Vec<FieldError>) {
    let mut reader = Reader {
        errors: Vec::new(),
        nodes: 0,
        root: path.len(),
        unkeyed: None,
    };
    let node = reader.node(schema, path, true);
    if node.kind != Kind::Object {
        reader.wrong(format!("{path}.type"), "must be object at the root");
    }
    (node, reader.errors)
}

struct Reader {
    errors: Vec<FieldError>,
    nodes: usize,
    /// The length of the path of the whole schema.
    root: usize,
    /// The outermost list around whose items cannot be told apart.
    unkeyed: Option<String>,
}

impl Reader {
    fn wrong(&mut self, path: String, message: &str) {
        self.errors.push(FieldError::forbidden(path, message));
    }

    /// `typed`: outside of `allOf` and its like, where every place needs a type.
    fn node(&mut self, schema: &Value, path: &str, typed: bool) -> Node {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.wrong(path.to_owned(), "the schema has too many places");
            return Node::default();
        }
        let flag = |key: &str| schema[key].as_bool().unwrap_or_default();
        let int_or_string = flag("x-kubernetes-int-or-string");
        let preserve_unknown = flag("x-kubernetes-preserve-unknown-fields");
        let kind = match schema["type"].as_str() {
            _ if int_or_string => Kind::IntOrString,
            Some("object") => Kind::Object,
            Some("array") => Kind::Array,
            Some("string") => Kind::String,
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            None | Some("") => {
                if typed && !preserve_unknown {
                    let hint = "must not be empty for specified object fields";
                    self.errors
                        .push(FieldError::required(format!("{path}.type"), hint));
                }
                Kind::Any
            }
            Some(_) => {
                self.wrong(
                    format!("{path}.type"),
                    "must be one of array, boolean, integer, number, object, string",
                );
                Kind::Any
            }
        };
        let mut node = Node {
            kind,
            nullable: flag("nullable"),
            preserve_unknown,
            embedded: flag("x-kubernetes-embedded-resource"),
            default: schema.get("default").filter(|v| !v.is_null()).cloned(),
            atomic: schema["x-kubernetes-map-type"] == "atomic",
            limits: self.limits(schema, path),
            ..Node::default()
        };
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{path}.properties[{name}]");
            node.properties
                .insert(name.clone(), self.node(property, &place, typed));
        }
        node.additional = match &schema["additionalProperties"] {
            Value::Bool(true) => Additional::Anything,
            each @ Value::Object(_) => {
                let place = format!("{path}.additionalProperties");
                Additional::Each(Box::new(self.node(each, &place, typed)))
            }
            _ => Additional::Unspecified,
        };
        if !node.properties.is_empty() && !matches!(node.additional, Additional::Unspecified) {
            self.wrong(
                format!("{path}.additionalProperties"),
                "additionalProperties and properties are mutual exclusive",
            );
        }
        if schema["items"].is_object() {
            let keyed = schema["x-kubernetes-list-type"] == "map";
            let outermost = !keyed && self.unkeyed.is_none();
            if outermost {
                self.unkeyed = Some(path.to_owned());
            }
            let items = self.node(&schema["items"], &format!("{path}.items"), typed);
            node.items = Some(Box::new(items));
            if outermost {
                self.unkeyed = None;
            }
        } else if kind == Kind::Array && typed {
            self.errors
                .push(FieldError::required(format!("{path}.items"), "must be specified"));
        }
        node.list_type = self.list_type(schema, path);
        for (key, list) in [
            ("allOf", &mut node.all_of),
            ("anyOf", &mut node.any_of),
            ("oneOf", &mut node.one_of),
        ] {
            for (number, part) in schema[key].as_array().into_iter().flatten().enumerate() {
                list.push(self.node(part, &format!("{path}.{key}[{number}]"), false));
            }
        }
        if schema["not"].is_object() {
            node.not = Some(Box::new(self.node(&schema["not"], &format!("{path}.not"), false)));
        }
        if let Some(mut default) = node.default.take() {
            tidy_metadata(&mut default, &node);
            node.default = Some(default);
        }
        node.rules = rules::compile(
            schema,
            &Place {
                node: &node,
                path,
                root: path.len() == self.root,
                uncorrelatable: self.unkeyed.as_deref(),
            },
            &mut self.errors,
        );
        node.about_changes = rules::is_about_changes(&node);
        node
    }

    fn list_type(&mut self, schema: &Value, path: &str) -> ListType {
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => ListType::Set,
            Some("map") => {
                let keys: Vec<String> = strings(&schema["x-kubernetes-list-map-keys"]);
                if keys.is_empty() {
                    let field = format!("{path}.x-kubernetes-list-map-keys");
                    let hint = "must not be empty if x-kubernetes-list-type is map";
                    self.errors.push(FieldError::required(field, hint));
                }
                ListType::Map(keys)
            }
            _ => ListType::Atomic,
        }
    }

    fn limits(&mut self, schema: &Value, path: &str) -> Limits {
        let pattern = schema["pattern"]
            .as_str()
            .filter(|p| !p.is_empty())
            .map(|pattern| Pattern::new(pattern, PATTERN_BYTES_MAX));
        let pattern = match pattern.transpose() {
            Ok(pattern) => pattern,
            Err(error) => {
                self.wrong(
                    format!("{path}.pattern"),
                    &format!("must be a valid regular expression, but isn't: {error}"),
                );
                None
            }
        };
        Limits {
            required: strings(&schema["required"]),
            allowed: schema["enum"].as_array().cloned().unwrap_or_default(),
            format: schema["format"].as_str().unwrap_or_default().to_owned(),
            minimum: schema["minimum"].as_f64(),
            maximum: schema["maximum"].as_f64(),
            exclusive_minimum: schema["exclusiveMinimum"].as_bool().unwrap_or_default(),
            exclusive_maximum: schema["exclusiveMaximum"].as_bool().unwrap_or_default(),
            multiple_of: schema["multipleOf"].as_f64(),
            min_length: schema["minLength"].as_u64(),
            max_length: schema["maxLength"].as_u64(),
            pattern,
            min_items: schema["minItems"].as_u64(),
            max_items: schema["maxItems"].as_u64(),
            min_properties: schema["minProperties"].as_u64(),
            max_properties: schema["maxProperties"].as_u64(),
        }
    }
}

fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
