//! Named formats: `format.dns1123Label().validate(x)`.
use super::Table;
use super::arguments::text;
use crate::cel::budget::Error;
use crate::cel::moment::Moment;
use crate::cel::opaque::Opaque;
use crate::cel::value::Value;
use crate::names;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

type Check = fn(&str) -> Vec<String>;

const FORMATS: &[(&str, Check)] = &[
    ("dns1123Label", names::check_dns_label),
    ("dns1123Subdomain", names::check_dns_subdomain),
    ("dns1035Label", names::check_dns_1035_label),
    ("qualifiedName", names::check_qualified_name),
    ("dns1123LabelPrefix", |text| {
        names::check_dns_label(&names::mask_trailing_dash(text))
    }),
    ("dns1123SubdomainPrefix", |text| {
        names::check_dns_subdomain(&names::mask_trailing_dash(text))
    }),
    ("dns1035LabelPrefix", |text| {
        told(
            names::is_dns_1035_label(&names::mask_trailing_dash(text)),
            "is no prefix of a DNS-1035 label",
        )
    }),
    ("labelValue", names::check_label_value),
    ("uri", |text| super::url::parse(text).err().into_iter().collect()),
    ("uuid", |text| {
        told(is_uuid(text), "does not match the UUID format")
    }),
    ("byte", |text| {
        told(STANDARD.decode(text).is_ok(), "invalid base64")
    }),
    ("date", |text| {
        told(text.parse::<jiff::civil::Date>().is_ok(), "invalid date")
    }),
    ("datetime", |text| {
        told(Moment::parse_loosely(text).is_some(), "invalid datetime")
    }),
];

macro_rules! formats {
    ($($name:literal),*) => {
        &[
            ("format.named(string) optional<kubernetes.NamedFormat>", |_, a| {
                let found = find(text(&a[0])?);
                Ok(found.map_or(Value::Optional(None), Value::some))
            }),
            ("kubernetes.NamedFormat::validate(string) optional<list<string>>", |context, a| {
                let Value::Opaque(Opaque::Format(_, check)) = &a[0] else {
                    return Err(Error::no_such_overload());
                };
                let text = text(&a[1])?;
                context.budget.look(text.len() as u64)?;
                let wrong = check(text);
                if wrong.is_empty() {
                    return Ok(Value::Optional(None));
                }
                Ok(Value::some(Value::list(wrong.into_iter().map(Value::string).collect())))
            }),
            $((concat!("format.", $name, "() kubernetes.NamedFormat"), |_, _| {
                find($name).ok_or_else(Error::no_such_overload)
            }),)*
        ]
    };
}

pub const TABLE: Table = formats!(
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime"
);

fn find<'a>(name: &str) -> Option<Value<'a>> {
    let (name, check) = FORMATS.iter().find(|(known, _)| *known == name)?;
    Some(Value::Opaque(Opaque::Format(name, *check)))
}

fn told(fits: bool, why: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![why.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts
            .iter()
            .zip(lengths)
            .all(|(part, length)| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit()))
}
