//! `/logs/`: the machine's own log files, as a directory that can be walked, and logs of its services (`?query=`).
pub mod ask;
mod journal;

pub use journal::Journal;

use super::body::{Body, text, text_as};
use http::{HeaderValue, Response, StatusCode, header};
use std::fmt::Write;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Of a longer file the end is shown: that is what somebody looks for, and an answer is made in memory.
const SHOWN_MAX: u64 = 8 << 20;

/// What lies at `path` below `root`, a request's path without `/logs`.
pub async fn answer(root: &Path, path: &str) -> Response<Body> {
    let Some(file) = below(root, path) else {
        return text(StatusCode::BAD_REQUEST, "invalid URL path\n");
    };
    let read = tokio::task::spawn_blocking(move || show(&file)).await;
    match read {
        Ok(Ok(Shown::Directory(_))) if !path.ends_with('/') => moved(path),
        Ok(Ok(Shown::Directory(listing))) => text_as("text/html; charset=utf-8", listing),
        Ok(Ok(Shown::File(content))) => text(StatusCode::OK, content),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            text(StatusCode::NOT_FOUND, "404 page not found\n")
        }
        Ok(Err(error)) => text(StatusCode::FORBIDDEN, format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The names in a directory lead on from a path that ends with a slash.
fn moved(path: &str) -> Response<Body> {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty());
    let mut answer = text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(place) = HeaderValue::from_str(&format!("{}/", name.unwrap_or("logs"))) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

enum Shown {
    Directory(String),
    File(String),
}

/// The path that a request means; `None` if it leads out of the root.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| root.join(path))
}

fn show(path: &Path) -> std::io::Result<Shown> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return listing(path).map(Shown::Directory);
    }
    if !metadata.is_file() {
        // A pipe would be waited for.
        return Err(std::io::Error::other("not a file"));
    }
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(SHOWN_MAX)))?;
    let mut content = Vec::new();
    file.take(SHOWN_MAX).read_to_end(&mut content)?;
    Ok(Shown::File(String::from_utf8_lossy(&content).into_owned()))
}

fn listing(directory: &Path) -> std::io::Result<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)?
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_directory = entry.path().is_dir();
            if is_directory { format!("{name}/") } else { name }
        })
        .collect();
    names.sort();
    let mut page =
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        let name = escaped(&name);
        // Writing to a string does not fail.
        let _ = writeln!(page, "<a href=\"{name}\">{name}</a>");
    }
    page.push_str("</pre>\n");
    Ok(page)
}

fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::body::read;

    async fn get(root: &Path, path: &str) -> (u16, String) {
        read(answer(root, path).await).await
    }

    #[tokio::test]
    async fn logs_of_the_machine_are_listed_and_read_and_nothing_beside_them() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path().join("log");
        std::fs::create_dir_all(root.join("pods")).unwrap();
        std::fs::write(root.join("sys<log"), "line\n").unwrap();
        std::fs::write(machine.path().join("shadow"), "secret").unwrap();
        let (status, page) = get(&root, "/").await;
        assert_eq!(status, 200);
        assert!(
            page.contains("<a href=\"pods/\">pods/</a>") && page.contains("sys&lt;log"),
            "{page}"
        );
        assert_eq!(get(&root, "/sys<log").await, (200, "line\n".to_owned()));
        assert_eq!(get(&root, "/none").await.0, 404);
        for (path, place) in [("", "logs/"), ("/pods", "pods/")] {
            let answer = answer(&root, path).await;
            assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY, "{path}");
            assert_eq!(answer.headers()[header::LOCATION], place);
        }
        for path in ["/../shadow", "/pods/../../shadow"] {
            assert_eq!(get(&root, path).await.0, 400, "{path}");
        }
    }
}
