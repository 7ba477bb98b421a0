//! What of a log is wanted: the query parameters.
use crate::server::query::pairs;
use http::StatusCode;
use jiff::Timestamp;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<usize>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<usize>,
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        other => Err(format!("invalid boolean {other:?}")),
    }
}

impl Options {
    /// Reads a query string; 400 for what can't be read, 422 for what makes no sense.
    pub fn parse(query: &str) -> Result<Self, (StatusCode, String)> {
        let bad = |text: String| (StatusCode::BAD_REQUEST, text);
        let nonsense = |text: &str| {
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("Invalid request. {text}"),
            )
        };
        let mut options = Self::default();
        let mut since_time = false;
        for (key, value) in pairs(query) {
            let number = || {
                value
                    .parse::<i64>()
                    .map_err(|error| bad(format!("{key}: {error}")))
            };
            match &*key {
                "follow" => options.follow = flag(&value).map_err(bad)?,
                "previous" => options.previous = flag(&value).map_err(bad)?,
                "timestamps" => options.timestamps = flag(&value).map_err(bad)?,
                "tailLines" => {
                    let lines =
                        usize::try_from(number()?).map_err(|_| nonsense("tailLines must not be negative"))?;
                    options.tail_lines = Some(lines);
                }
                "limitBytes" => match number()? {
                    bytes if bytes > 0 => options.limit_bytes = usize::try_from(bytes).ok(),
                    _ => return Err(nonsense("limitBytes must be greater than 0")),
                },
                "sinceSeconds" => match number()? {
                    seconds if seconds > 0 => {
                        let ago = jiff::SignedDuration::from_secs(seconds);
                        options.since = Timestamp::now().checked_sub(ago).ok();
                        if since_time {
                            return Err(nonsense(
                                "at most one of sinceTime or sinceSeconds may be specified",
                            ));
                        }
                    }
                    _ => return Err(nonsense("sinceSeconds must be greater than 0")),
                },
                "sinceTime" => {
                    if options.since.is_some() {
                        return Err(nonsense(
                            "at most one of sinceTime or sinceSeconds may be specified",
                        ));
                    }
                    since_time = true;
                    options.since = Some(
                        value
                            .parse()
                            .map_err(|error| bad(format!("sinceTime: {error}")))?,
                    );
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n09_parameters_are_read_and_checked() {
        let options = Options::parse("follow=true&tailLines=5&limitBytes=10&timestamps=1").unwrap();
        assert!(options.follow && options.timestamps && !options.previous);
        assert_eq!((options.tail_lines, options.limit_bytes), (Some(5), Some(10)));
        let since = Options::parse("sinceTime=2026-01-02T03%3A04%3A05Z")
            .unwrap()
            .since
            .unwrap();
        assert_eq!(since.to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(
            Options::parse("tailLines=x").unwrap_err().0,
            StatusCode::BAD_REQUEST
        );
        for query in [
            "tailLines=-1",
            "limitBytes=0",
            "sinceSeconds=0",
            "sinceTime=2026-01-02T03:04:05Z&sinceSeconds=1",
        ] {
            assert_eq!(
                Options::parse(query).unwrap_err().0,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{query}"
            );
        }
    }
}
