//! Transactions within transactions, which etcdctl doesn't make: message by message as etcd answers them.
#![allow(clippy::unwrap_used)]
mod servers;

use etcd_client::{Client, Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};
use servers::{Etcd, Face, Server};

fn put(key: &str, value: &str) -> TxnOp {
    TxnOp::put(key, value, Some(PutOptions::new().with_prev_key()))
}

fn all() -> TxnOp {
    TxnOp::get("", Some(GetOptions::new().with_all_keys()))
}

fn delete(key: &str) -> TxnOp {
    TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key()))
}

fn there(key: &str) -> Compare {
    Compare::version(key, CompareOp::Greater, 0)
}

fn cases() -> Vec<Txn> {
    let plain = || Txn::new();
    vec![
        plain().and_then([put("a", "1"), put("b", "1")]),
        // What is written beside it makes no difference to a compare.
        plain().and_then([
            put("c", "1"),
            TxnOp::txn(
                plain()
                    .when([there("c")])
                    .and_then([put("d", "1")])
                    .or_else([all()]),
            ),
        ]),
        plain().when([there("a")]).and_then([
            TxnOp::txn(
                plain()
                    .when([there("x")])
                    .and_then([put("x", "2")])
                    .or_else([delete("b"), TxnOp::txn(plain().and_then([put("e", "1"), all()]))]),
            ),
            all(),
        ]),
        plain().and_then([TxnOp::txn(plain().and_then([TxnOp::txn(plain())]))]),
        // Reads only.
        plain()
            .and_then([TxnOp::txn(plain().and_then([all()]))])
            .or_else([all()]),
        // A range tells the revision that it sees.
        plain().and_then([all(), put("f", "1"), TxnOp::txn(plain().and_then([all()]))]),
        // The same key twice.
        plain().and_then([put("a", "2"), TxnOp::txn(plain().or_else([put("a", "3")]))]),
        plain().and_then([delete("a"), TxnOp::txn(plain().or_else([put("a", "3")]))]),
        plain().and_then([
            TxnOp::txn(plain().and_then([delete("a")])),
            TxnOp::txn(plain().and_then([put("a", "3")])),
        ]),
        plain().and_then([TxnOp::txn(
            plain().and_then([put("a", "4")]).or_else([put("a", "5")]),
        )]),
        // Refused with the whole.
        plain().and_then([put("a", "9"), TxnOp::txn(plain().and_then([put("", "")]))]),
        plain().and_then([
            put("a", "9"),
            TxnOp::txn(plain().and_then([TxnOp::put("b", "1", Some(PutOptions::new().with_lease(77)))])),
        ]),
        plain().and_then([TxnOp::txn(
            plain().and_then((0..129).map(|n| put(&n.to_string(), "")).collect::<Vec<_>>()),
        )]),
        plain().and_then([all()]),
    ]
}

/// The answer as text, without what differs between servers.
async fn told(client: &mut Client, txn: Txn) -> String {
    let text = match client.txn(txn).await {
        Ok(answer) => format!("{answer:#?}"),
        Err(etcd_client::Error::GRpcStatus(status)) => format!("{:?} {}", status.code(), status.message()),
        Err(error) => panic!("{error}"),
    };
    let own = ["cluster_id", "member_id", "raft_term"];
    let of_a_server = |line: &&str| own.iter().any(|name| line.trim_start().starts_with(name));
    text.lines()
        .filter(|line| !of_a_server(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn transactions_within_are_answered_as_with_etcd() {
    let (etcd, face) = (Etcd::start(), Face::start());
    face.block_on(async {
        let mut theirs = Client::connect([etcd.url()], None).await.unwrap();
        let mut ours = Client::connect([face.url()], None).await.unwrap();
        for txn in cases() {
            let asked = format!("{txn:?}");
            let expected = told(&mut theirs, txn.clone()).await;
            assert_eq!(told(&mut ours, txn).await, expected, "{asked}");
        }
    });
}
