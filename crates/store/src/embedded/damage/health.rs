//! Whether a file may be given to the engine.
use super::pages::{Item, Pages, Table, UNPROVEN};
use crate::embedded::StorageBackend;
use std::io;

#[derive(Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Health {
    /// Nothing, or a file whose making was cut short.
    Empty,
    /// It was not closed; the engine verifies it when it opens it.
    Unclean,
    /// Every page that is in use matches its checksum.
    Sound,
    /// What is wrong.
    Damaged(Vec<String>),
}

/// Whether the process that had the file last did not close it.
pub(in crate::embedded) fn was_left_open(file: &dyn StorageBackend) -> bool {
    matches!(Pages::open(file), Ok(Some(pages)) if pages.unclean)
}

/// Looks at every page in use.
pub(in crate::embedded) fn examine(file: &dyn StorageBackend) -> io::Result<Health> {
    let Some(pages) = Pages::open(file)? else {
        return Ok(Health::Empty);
    };
    if let Some(complaint) = pages.complaint {
        if is_unborn(file)? {
            return Ok(Health::Empty);
        }
        return Ok(Health::Damaged(vec![complaint.to_owned()]));
    }
    if pages.unclean {
        return Ok(Health::Unclean);
    }
    let mut found = Vec::new();
    for commit in pages.commits.iter().take(1) {
        for (what, root) in [("", commit.user), ("the engine's own ", commit.system)] {
            let (tables, whole) = pages.tables(root);
            if !whole {
                found.push(format!("pages of {what}list of tables are rotten"));
            }
            for table in tables {
                found.extend(complaint(&pages, what, &table));
            }
        }
    }
    Ok(if found.is_empty() {
        Health::Sound
    } else {
        Health::Damaged(found)
    })
}

fn complaint(pages: &Pages<'_>, what: &str, table: &Table) -> Option<String> {
    let (mut rows, mut lost) = (0, 0);
    pages.walk(table.root, table.shape, UNPROVEN, &mut |item| match item {
        Item::Row { .. } => rows += 1,
        Item::Lost { .. } => lost += 1,
    });
    let name = table.name.escape_ascii();
    match lost {
        0 if rows == table.rows => None,
        0 => Some(format!(
            "{what}table {name} has {rows} rows instead of {}",
            table.rows
        )),
        lost => Some(format!("{lost} pages of {what}table {name} are rotten")),
    }
}

/// The engine's header is written last.
fn is_unborn(file: &dyn StorageBackend) -> io::Result<bool> {
    let mut mark = [0; 9];
    file.read(0, &mut mark)?;
    Ok(mark == [0; 9])
}
