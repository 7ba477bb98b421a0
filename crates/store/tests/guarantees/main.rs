//! What every store promises. Each case takes any store; a second implementation only has to be
//! named in `on_every_store!`.
#![allow(clippy::unwrap_used)]
#[path = "../common/mod.rs"]
mod common;

mod compaction;
mod concurrency;
mod etcd;
mod face;
mod leases;
mod outage;
mod ranges;
mod transactions;
mod watches;

use orlop_store::embedded::{EmbeddedStore, Options};

macro_rules! on_every_store {
    ($($topic:ident: $($case:ident),* $(,)?;)*) => {
        mod embedded {$(
            mod $topic {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let directory = tempfile::tempdir().unwrap();
                    let store = super::super::embedded_store(directory.path());
                    crate::$topic::$case(store).await;
                }
            )*}
        )*}

        // What etcd's clients see of the embedded store.
        mod embedded_as_etcd {$(
            mod $topic {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let face = crate::face::Face::start().await;
                    crate::$topic::$case(face.store().await).await;
                }
            )*}
        )*}

        mod on_etcd {$(
            mod $topic {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let etcd = crate::etcd::Etcd::start();
                    crate::$topic::$case(etcd.store().await).await;
                }
            )*}
        )*}
    };
}

fn embedded_store(directory: &std::path::Path) -> std::sync::Arc<dyn orlop_store::Store> {
    let options = Options {
        progress_interval: std::time::Duration::from_millis(50),
        ..Options::default()
    };
    EmbeddedStore::open(directory, options).unwrap()
}

on_every_store! {
    transactions:
        every_writing_transaction_gets_the_next_revision,
        create_writes_only_what_is_not_there,
        update_and_delete_need_the_expected_revision,
        a_transaction_is_all_or_nothing,
        a_failed_compare_applies_the_other_branch,
        a_range_in_a_transaction_sees_its_earlier_writes,
        writes_without_one_meaning_are_refused,
        a_compare_may_look_at_leases_and_at_ranges,
        a_put_may_keep_what_is_there,
        values_up_to_the_limit_are_kept_whole,
        transactions_within_compare_what_was_before_and_change_one_revision,
        a_transaction_within_is_refused_with_the_whole;
    ranges:
        a_prefix_holds_its_keys_and_no_others,
        a_limit_says_that_there_is_more,
        the_revision_has_every_write_that_was_answered,
        a_page_continues_behind_the_last_key,
        keys_may_be_any_bytes,
        the_past_can_be_read_as_it_was,
        the_future_cannot_be_read,
        versions_count_from_creation;
    watches:
        changes_come_in_order_from_a_revision_on,
        changes_of_one_revision_come_together,
        a_watch_without_a_revision_begins_now,
        a_watch_may_begin_in_the_future,
        an_event_carries_what_was_before,
        changes_of_others_move_the_progress_mark,
        a_slow_watcher_misses_nothing_and_stops_nobody,
        no_gaps_with_concurrent_writers;
    leases:
        keys_of_a_revoked_lease_go_in_one_revision,
        a_lease_ends_by_itself,
        a_key_put_without_its_lease_stays,
        unknown_leases_are_refused;
    compaction:
        what_is_compacted_cannot_be_read_or_watched,
        what_exists_survives_compaction,
        a_watch_may_begin_exactly_at_the_compacted_revision,
        compaction_refuses_the_future;
    concurrency:
        one_of_many_creators_wins,
        increments_are_never_lost,
        reads_never_go_back;
}
