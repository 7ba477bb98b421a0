//! Whether a file may be given to the engine.
use super::pages::{Item, Pages, Root, Shape, Table, UNPROVEN};
use crate::embedded::{Spawner, StorageBackend};
use std::io;

#[derive(Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Health {
    /// Nothing, or a file whose making was cut short.
    Empty,
    /// Its latest commit may be torn; the engine verifies it when it opens it.
    Unclean,
    /// Every page that is in use matches its checksum.
    Sound,
    /// What is wrong.
    Damaged(Vec<String>),
}

/// How the process that had the file last has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Left {
    Closed,
    /// Open, between two commits that were on the disk in full. [`examine`] looks at it then.
    Open,
    /// Open, with a latest commit that may be torn.
    Torn,
}

pub(in crate::embedded) fn how_it_was_left(file: &dyn StorageBackend) -> Left {
    match Pages::open(file) {
        Ok(Some(pages)) if pages.unclean && pages.proven => Left::Open,
        Ok(Some(pages)) if pages.unclean => Left::Torn,
        _ => Left::Closed,
    }
}

/// Looks at every page in use, in two halves at the same time where there are threads: opening waits for it, and small
/// machines have no more.
pub(in crate::embedded) fn examine(file: &dyn StorageBackend, spawner: &dyn Spawner) -> io::Result<Health> {
    let Some(pages) = Pages::open(file)? else {
        return Ok(Health::Empty);
    };
    if let Some(complaint) = pages.complaint {
        if is_unborn(file)? {
            return Ok(Health::Empty);
        }
        return Ok(Health::Damaged(vec![complaint.to_owned()]));
    }
    if pages.unclean && !pages.proven {
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
                found.extend(complaint(&pages, what, &table, spawner));
            }
        }
    }
    Ok(if found.is_empty() {
        Health::Sound
    } else {
        Health::Damaged(found)
    })
}

fn complaint(pages: &Pages<'_>, what: &str, table: &Table, spawner: &dyn Spawner) -> Option<String> {
    let counted = table.root.map(|root| count(pages, root, table.shape, spawner));
    let (rows, lost) = counted.unwrap_or((0, 0));
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

/// Rows of a tree, and its lost parts.
fn count(pages: &Pages<'_>, root: Root, shape: Shape, spawner: &dyn Spawner) -> (u64, u64) {
    let subtrees = pages.subtrees(root, shape);
    let walk = |subtrees: &[Root]| {
        let (mut rows, mut lost) = (0, 0);
        for subtree in subtrees {
            pages.walk(Some(*subtree), shape, UNPROVEN, &mut |item| match item {
                Item::Row { .. } => rows += 1,
                Item::Lost { .. } => lost += 1,
            });
        }
        (rows, lost)
    };
    let (own, other) = subtrees.split_at(subtrees.len().div_ceil(2));
    if other.is_empty() {
        return walk(own);
    }
    // What panics has not been found to be sound.
    let (mut of_own, mut of_other) = ((0, 1), (0, 1));
    spawner.run_both(&mut || of_own = walk(own), &mut || of_other = walk(other));
    (of_own.0 + of_other.0, of_own.1 + of_other.1)
}

/// The engine's header is written last.
fn is_unborn(file: &dyn StorageBackend) -> io::Result<bool> {
    let mut mark = [0; 9];
    file.read(0, &mut mark)?;
    Ok(mark == [0; 9])
}
