//! Downgrades: refused as etcd refuses them, and with the reason where it would not. Pure.
use crate::CLUSTER_VERSION;
use tonic::Status;

/// What may be asked (`DowngradeRequest.DowngradeAction`, for which the client crate has no public name).
const VALIDATE: i32 = 0;
const ENABLE: i32 = 1;
const CANCEL: i32 = 2;

/// Why nothing becomes of what is asked.
pub fn refusal(action: i32, target: &str) -> Status {
    match action {
        VALIDATE | ENABLE => {}
        CANCEL => return Status::failed_precondition("etcdserver: no inflight downgrade job"),
        _ => return Status::unknown("etcdserver: unknown method"),
    }
    let Some(target) = minor(target) else {
        return Status::invalid_argument("etcdserver: wrong downgrade target version format");
    };
    let below = minor(CLUSTER_VERSION).map(|(major, minor)| (major, minor.saturating_sub(1)));
    match Some(target) == below {
        true => Status::unimplemented("the store has no other version to go to"),
        false => Status::invalid_argument("etcdserver: invalid downgrade target version"),
    }
}

/// The first two numbers of a version, behind which there may be a third.
fn minor(version: &str) -> Option<(u64, u64)> {
    let numbers = version.split(['-', '+']).next()?;
    let mut numbers = numbers.split('.').map(str::parse::<u64>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    match (numbers.next(), numbers.next()) {
        (None | Some(Ok(_)), None) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn a_downgrade_is_refused_in_etcds_words() {
        let wrong = "etcdserver: wrong downgrade target version format";
        let invalid = "etcdserver: invalid downgrade target version";
        for (action, target, code, text) in [
            (VALIDATE, ".4", Code::InvalidArgument, wrong),
            (VALIDATE, "", Code::InvalidArgument, wrong),
            (ENABLE, "3.4.0.0", Code::InvalidArgument, wrong),
            (VALIDATE, "3.0", Code::InvalidArgument, invalid),
            (VALIDATE, "3.5.30", Code::InvalidArgument, invalid),
            (ENABLE, "3.6.0-rc.0", Code::InvalidArgument, invalid),
            (
                CANCEL,
                "",
                Code::FailedPrecondition,
                "etcdserver: no inflight downgrade job",
            ),
            (7, "3.4", Code::Unknown, "etcdserver: unknown method"),
        ] {
            let status = refusal(action, target);
            assert_eq!(
                (status.code(), status.message()),
                (code, text),
                "{action} {target}"
            );
        }
        for target in ["3.4", "3.4.37"] {
            assert_eq!(refusal(VALIDATE, target).code(), Code::Unimplemented, "{target}");
        }
    }
}
