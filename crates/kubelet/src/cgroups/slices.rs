//! Slices of systemd, where it makes the cgroups (contract, node agent §17.1). It is asked for them, and for their limits,
//! over the message bus, one thing after the other and without anybody waiting: where the runtime is quicker, systemd has
//! made the slice for it, and gives it its limits a moment later.
use super::limits::Limits;
use crate::bus::{self, Arg, Bus, BusError, Value};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Where systemd itself listens, for machines without a bus.
const PRIVATE: &str = "/run/systemd/private";

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// CPU time per second is told in steps of this, microseconds.
const QUOTA_STEP: i64 = 10_000;

type Property = (&'static str, Value);

#[derive(Debug)]
enum Order {
    Have { unit: String, limits: Vec<Property> },
    Drop(String),
}

/// What asks systemd.
#[derive(Debug)]
pub struct Slices {
    orders: mpsc::UnboundedSender<Order>,
}

impl Slices {
    /// Begins to ask the systemd of this machine.
    pub fn start() -> Self {
        Self::ask(bus::system_bus(), PathBuf::from(PRIVATE))
    }

    fn ask(bus: PathBuf, private: PathBuf) -> Self {
        let (orders, mut asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut systemd = Systemd {
                bus,
                private,
                connection: None,
                told: false,
            };
            while let Some(order) = asked.recv().await {
                systemd.carry_out(&order).await;
            }
        });
        Self { orders }
    }

    /// The slice that a cgroup is, with its limits.
    pub(super) fn have(&self, path: &str, limits: &Limits, unified: bool) {
        let (unit, limits) = (unit(path), properties(limits, unified));
        // It ends with the agent only.
        let _ = self.orders.send(Order::Have { unit, limits });
    }

    /// Without the slice that a cgroup is.
    pub(super) fn drop(&self, path: &str) {
        let _ = self.orders.send(Order::Drop(unit(path)));
    }
}

/// A slice's name says where it lies.
fn unit(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// systemd's words for limits.
fn properties(limits: &Limits, unified: bool) -> Vec<Property> {
    let (weight, memory) = if unified {
        ("CPUWeight", "MemoryMax")
    } else {
        ("CPUShares", "MemoryLimit")
    };
    let shares = limits.shares.map(|shares| {
        let own = if unified {
            super::limits::weight(shares)
        } else {
            shares
        };
        (weight, own)
    });
    let quota = limits.quota.map(|(quota, period)| {
        let second = quota.saturating_mul(1_000_000) / period.max(1);
        let steps = second.saturating_add(QUOTA_STEP - 1) / QUOTA_STEP;
        ("CPUQuotaPerSecUSec", steps * QUOTA_STEP)
    });
    let period = limits.quota.map(|(_, period)| ("CPUQuotaPeriodUSec", period));
    let memory = limits.memory.map(|bytes| (memory, bytes));
    let pids = limits.pids.map(|pids| ("TasksMax", pids));
    let given = [shares, period, quota, memory, pids];
    let numbers = given.into_iter().flatten();
    numbers
        .filter_map(|(name, number)| Some((name, Value::Number(u64::try_from(number).ok()?))))
        .collect()
}

struct Systemd {
    bus: PathBuf,
    private: PathBuf,
    connection: Option<Bus>,
    /// Its absence is one line in the log.
    told: bool,
}

impl Systemd {
    async fn carry_out(&mut self, order: &Order) {
        let mut outcome = self.try_to(order).await;
        if outcome.is_err() && self.connection.take().is_some() {
            // It may have been restarted since.
            outcome = self.try_to(order).await;
        }
        match outcome {
            Ok(()) => self.told = false,
            Err(error) if !std::mem::replace(&mut self.told, true) => {
                tracing::warn!(%error, ?order, "systemd does not limit the pods together");
            }
            Err(_) => {}
        }
    }

    async fn try_to(&mut self, order: &Order) -> Result<(), BusError> {
        let bus = match &mut self.connection {
            Some(bus) => bus,
            none => none.insert(connect(&self.bus, &self.private).await?),
        };
        match order {
            Order::Have { unit, limits } => have(bus, unit, limits).await,
            Order::Drop(unit) => {
                let arguments = [Arg::Text(unit), Arg::Text("replace")];
                manager(bus, "StopUnit", &arguments).await
            }
        }
    }
}

async fn connect(bus: &Path, private: &Path) -> Result<Bus, BusError> {
    match Bus::connect(bus).await {
        Ok(bus) => Ok(bus),
        Err(error) => Bus::connect_directly(private).await.map_err(|_| error),
    }
}

async fn have(bus: &mut Bus, unit: &str, limits: &[Property]) -> Result<(), BusError> {
    let mut all: Vec<Property> = vec![("DefaultDependencies", Value::Truth(false))];
    let counted = ["CPUAccounting", "MemoryAccounting", "TasksAccounting"];
    all.extend(counted.map(|what| (what, Value::Truth(true))));
    all.extend_from_slice(limits);
    let arguments = [
        Arg::Text(unit),
        Arg::Text("replace"),
        Arg::Properties(&all),
        Arg::NoUnits,
    ];
    match manager(bus, "StartTransientUnit", &arguments).await {
        // There is one already.
        Err(BusError::Call { .. }) => {
            let arguments = [Arg::Text(unit), Arg::Truth(true), Arg::Properties(limits)];
            manager(bus, "SetUnitProperties", &arguments).await
        }
        outcome => outcome,
    }
}

async fn manager(bus: &mut Bus, member: &str, arguments: &[Arg<'_>]) -> Result<(), BusError> {
    bus.call(SYSTEMD, SYSTEMD_PATH, MANAGER, member, arguments)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::testing::FakeSystemd;

    const LIMITS: Limits = Limits {
        shares: Some(1024),
        quota: Some((50_500, 100_000)),
        memory: Some(64 << 20),
        pids: Some(100),
    };

    #[test]
    fn limits_in_the_words_of_systemd() {
        let said = |unified| {
            let properties = properties(&LIMITS, unified);
            properties
                .into_iter()
                .map(|(name, value)| format!("{name} {value:?}"))
        };
        assert_eq!(
            said(false).collect::<Vec<_>>(),
            [
                "CPUShares Number(1024)",
                "CPUQuotaPeriodUSec Number(100000)",
                "CPUQuotaPerSecUSec Number(510000)",
                "MemoryLimit Number(67108864)",
                "TasksMax Number(100)",
            ]
        );
        assert!(said(true).eq([
            "CPUWeight Number(39)",
            "CPUQuotaPeriodUSec Number(100000)",
            "CPUQuotaPerSecUSec Number(510000)",
            "MemoryMax Number(67108864)",
            "TasksMax Number(100)",
        ]));
        assert!(properties(&Limits::default(), true).is_empty());
    }

    #[tokio::test]
    async fn slices_that_exist_get_their_limits_and_those_of_gone_pods_are_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut systemd = FakeSystemd::start(&dir.path().join("private"));
        let slices = Slices::ask(dir.path().join("no-bus"), dir.path().join("private"));
        let pod = "/kubepods.slice/kubepods-poda_b.slice";
        slices.have(pod, &LIMITS, true);
        slices.have(pod, &LIMITS, true);
        slices.drop(pod);
        let unit = "kubepods-poda_b.slice";
        for member in [
            "StartTransientUnit",
            "StartTransientUnit",
            "SetUnitProperties",
            "StopUnit",
        ] {
            let asked = systemd.asked.recv().await.unwrap();
            assert_eq!(asked, (member.to_owned(), unit.to_owned()));
        }
    }
}
