//! systemd's login manager: it waits for those that delay a shutdown, for so long, and tells them of it.
use crate::bus::{Arg, Body, Bus, BusError};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

const LOGIND: &str = "org.freedesktop.login1";
const LOGIND_PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const GOING_DOWN: &str = "PrepareForShutdown";
/// Where more time is asked for: the file that upstream's agent writes.
const DROP_IN: &str = "/etc/systemd/logind.conf.d/99-kubelet.conf";
/// logind reads its configuration again when it is told to, and says nothing when it has.
const RELOAD_LOOKS: u32 = 10;
const RELOAD_LOOK_AFTER: Duration = Duration::from_millis(100);

/// A connection to it.
pub struct Logind {
    bus: Bus,
}

impl Logind {
    pub async fn connect(bus: &Path) -> Result<Self, BusError> {
        let bus = Bus::connect(bus).await?;
        Ok(Self { bus })
    }

    /// Delays shutdowns until the descriptor is closed.
    pub async fn delay(&mut self) -> Result<OwnedFd, BusError> {
        let asked = [
            "shutdown",
            "kubelet",
            "Kubelet needs time to handle node shutdown",
            "delay",
        ];
        let arguments = asked.map(Arg::Text);
        let mut answer = self
            .bus
            .call(LOGIND, LOGIND_PATH, MANAGER, "Inhibit", &arguments)
            .await?;
        answer
            .fds
            .pop()
            .ok_or(BusError::Malformed("Inhibit gave no descriptor"))
    }

    async fn property(&mut self, name: &str) -> Result<Body, BusError> {
        let arguments = [Arg::Text(MANAGER), Arg::Text(name)];
        let properties = "org.freedesktop.DBus.Properties";
        let call = self.bus.call(LOGIND, LOGIND_PATH, properties, "Get", &arguments);
        Ok(call.await?.body)
    }

    async fn delay_max(&mut self) -> Result<Duration, BusError> {
        let answer = self.property("InhibitDelayMaxUSec").await?;
        Ok(Duration::from_micros(answer.variant_u64()?))
    }

    /// Whether the machine is going down already.
    pub async fn is_going_down(&mut self) -> Result<bool, BusError> {
        Ok(self.property("PreparingForShutdown").await?.variant_boolean()?)
    }

    /// How long logind waits; it is asked to wait as long as `wanted`, if that is more.
    pub async fn allow_delay(&mut self, wanted: Duration) -> Result<Duration, BusError> {
        let allowed = self.delay_max().await?;
        if allowed >= wanted {
            return Ok(allowed);
        }
        let text = format!(
            "# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={}\n",
            // What is less than a second counts as one.
            wanted.as_secs() + u64::from(wanted.subsec_nanos() > 0)
        );
        let directory = Path::new(DROP_IN).parent().unwrap_or(Path::new("/"));
        let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(DROP_IN, text));
        if let Err(error) = written {
            tracing::warn!(%error, file = DROP_IN, "cannot ask logind for more time");
            return Ok(allowed);
        }
        const HANGUP: i32 = 1;
        let arguments = [
            Arg::Text("systemd-logind.service"),
            Arg::Text("all"),
            Arg::Number(HANGUP),
        ];
        let systemd = "org.freedesktop.systemd1";
        let manager = "org.freedesktop.systemd1.Manager";
        let told = self
            .bus
            .call(
                systemd,
                "/org/freedesktop/systemd1",
                manager,
                "KillUnit",
                &arguments,
            )
            .await;
        if let Err(error) = told {
            tracing::warn!(%error, "cannot have logind read its configuration again");
            return Ok(allowed);
        }
        let mut allowed = allowed;
        for _ in 0..RELOAD_LOOKS {
            allowed = self.delay_max().await?;
            if allowed >= wanted {
                break;
            }
            tokio::time::sleep(RELOAD_LOOK_AFTER).await;
        }
        Ok(allowed)
    }

    /// Has logind's word passed on to this connection.
    pub async fn listen(&mut self) -> Result<(), BusError> {
        let rule = format!("type='signal',interface='{MANAGER}',path='{LOGIND_PATH}',member='{GOING_DOWN}'");
        self.bus.listen(&rule).await
    }

    /// The next word: the machine is going down, or not any more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<bool, BusError> {
        loop {
            let signal = self.bus.next_signal().await?;
            if signal.member == GOING_DOWN && signal.interface == MANAGER {
                return Ok(signal.body.boolean()?);
            }
        }
    }
}
