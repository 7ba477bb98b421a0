//! The ids that etcd gives a member and its cluster, from what they are told at their start: those who know etcd
//! recognize them, and they stay the same over restarts and releases.
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The id of the member that has these URLs for its peers, in the cluster of this token.
pub fn member(peer_urls: &[String], cluster_token: &str) -> u64 {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    first_bytes(&[&sorted.concat(), cluster_token].concat().into_bytes())
}

/// The id of the cluster that begins with this one member.
pub fn cluster(member: u64) -> u64 {
    first_bytes(&member.to_be_bytes())
}

fn first_bytes(text: &[u8]) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    hash.as_ref()
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_told_nothing_has_the_ids_that_every_such_etcd_has() {
        let member = member(&["http://localhost:2380".to_owned()], "etcd-cluster");
        assert_eq!(member, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster(member), 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn the_order_of_urls_does_not_matter() {
        let urls = |urls: [&str; 2]| urls.map(str::to_owned);
        assert_eq!(
            member(&urls(["http://a:1", "http://b:1"]), "t"),
            member(&urls(["http://b:1", "http://a:1"]), "t")
        );
    }
}
