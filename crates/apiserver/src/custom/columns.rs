//! Tables of custom objects (contract §11, B06).
use super::path::Path;
use jiff::Timestamp;
use orlop_api::age;
use serde_json::{Value, json};

/// A column that a definition adds.
#[derive(Debug)]
struct Column {
    definition: Value,
    /// Nothing, if it is none that we know: it leads nowhere.
    path: Option<Path>,
}

/// The columns of one version.
#[derive(Debug, Default)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// The definition's, or the age if it names none. Paths that cannot be read show nothing.
    pub fn of(version: &Value) -> Self {
        let given = version["additionalPrinterColumns"]
            .as_array()
            .filter(|columns| !columns.is_empty());
        let Some(given) = given else {
            let age = json!({"name": "Age", "type": "date", "format": "", "priority": 0,
                "description": "Time since the object was created."});
            let path = Path::parse(".metadata.creationTimestamp");
            return Self(vec![Column {
                definition: age,
                path,
            }]);
        };
        let column = |column: &Value| {
            let text = |key: &str| column[key].as_str().unwrap_or_default();
            let path = text("jsonPath");
            let description = match text("description") {
                "" => format!("Custom resource definition column (in JSONPath format): {path}"),
                given => given.to_owned(),
            };
            Column {
                definition: json!({"name": text("name"), "type": text("type"), "format": text("format"),
                    "description": description, "priority": column["priority"].as_i64().unwrap_or_default()}),
                path: Path::parse(path),
            }
        };
        Self(given.iter().map(column).collect())
    }

    pub fn definitions(&self) -> Value {
        let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name of the object, unique within its namespace and kind."});
        std::iter::once(name)
            .chain(self.0.iter().map(|column| column.definition.clone()))
            .collect()
    }

    pub fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = object["metadata"]["name"].clone();
        std::iter::once(name)
            .chain(self.0.iter().map(|column| column.cell(object, now)))
            .collect()
    }
}

impl Column {
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self
            .path
            .as_ref()
            .map(|path| path.find(object))
            .unwrap_or_default();
        let Some(first) = found.first().filter(|value| !value.is_null()) else {
            return Value::Null;
        };
        match self.definition["type"].as_str() {
            Some("integer") => first
                .as_i64()
                .or_else(|| first.as_f64().map(|n| n as i64))
                .map_or(Value::Null, Value::from),
            Some("number") => first.as_f64().map_or(Value::Null, |_| (*first).clone()),
            Some("boolean") => first.as_bool().map_or(Value::Null, Value::from),
            Some("date") => first.as_str().map_or(Value::Null, |text| elapsed(text, now)),
            _ => {
                let texts: Vec<String> = found.iter().map(|value| printed(value)).collect();
                json!(texts.join(" "))
            }
        }
    }
}

fn elapsed(text: &str, now: Timestamp) -> Value {
    match text.parse::<Timestamp>() {
        Ok(then) => json!(age::short(now.duration_since(then).unsigned_abs())),
        Err(_) => json!("<invalid>"),
    }
}

fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B06
    #[test]
    fn cells_have_the_types_of_their_columns() {
        let column = |name: &str, ty: &str, path: &str| json!({"name": name, "type": ty, "jsonPath": path, "priority": 1});
        let columns = Columns::of(&json!({"additionalPrinterColumns": [
            column("S", "string", ".spec.s"), column("I", "integer", ".spec.i"), column("B", "boolean", ".spec.s"),
            column("D", "date", ".spec.d"), column("X", "date", ".spec.s"), column("M", "string", ".spec.none"),
            column("U", "string", "..unknown[?(")]}));
        let object =
            json!({"metadata": {"name": "w"}, "spec": {"s": "text", "i": 3, "d": "2026-01-01T00:00:00Z"}});
        let now: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(
            json!(columns.row(&object, now)),
            json!(["w", "text", 3, null, "5m", "<invalid>", null, null])
        );
        let definitions = columns.definitions();
        assert_eq!(definitions[1]["priority"], 1);
        assert_eq!(
            definitions[1]["description"],
            "Custom resource definition column (in JSONPath format): .spec.s"
        );
    }
}
