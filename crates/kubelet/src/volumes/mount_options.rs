//! `mountOptions` of a PersistentVolume, as flags of a bind mount.
use super::Fault;
use k8s_openapi::api::core::v1::PersistentVolume;
use nix::mount::MsFlags;
use nix::sys::statvfs::FsFlags;

/// What preceded the field, and goes before it.
const ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";

/// What options change about a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    set: MsFlags,
    clear: MsFlags,
}

impl Change {
    /// Changes nothing.
    pub const NONE: Self = Self {
        set: MsFlags::empty(),
        clear: MsFlags::empty(),
    };

    /// Of options, in their order: the last one of two that exclude each other counts.
    pub fn of<'a>(options: impl IntoIterator<Item = &'a str>) -> Result<Self, Fault> {
        let none = MsFlags::empty();
        let mut change = Self::NONE;
        for option in options {
            let (set, clear) = match option {
                "bind" | "rbind" => continue,
                "ro" => (MsFlags::MS_RDONLY, none),
                "rw" => (none, MsFlags::MS_RDONLY),
                "nosuid" => (MsFlags::MS_NOSUID, none),
                "suid" => (none, MsFlags::MS_NOSUID),
                "nodev" => (MsFlags::MS_NODEV, none),
                "dev" => (none, MsFlags::MS_NODEV),
                "noexec" => (MsFlags::MS_NOEXEC, none),
                "exec" => (none, MsFlags::MS_NOEXEC),
                "noatime" => (MsFlags::MS_NOATIME, MsFlags::MS_RELATIME),
                "relatime" => (MsFlags::MS_RELATIME, MsFlags::MS_NOATIME),
                "nodiratime" => (MsFlags::MS_NODIRATIME, none),
                other => {
                    return Err(Fault::Invalid(format!(
                        "mount option {other:?} is not supported for local volumes"
                    )));
                }
            };
            change = change.and(set, clear);
        }
        Ok(change)
    }

    fn and(self, set: MsFlags, clear: MsFlags) -> Self {
        Self {
            set: (self.set - clear) | set,
            clear: (self.clear - set) | clear,
        }
    }

    pub fn read_only(self) -> Self {
        self.and(MsFlags::MS_RDONLY, MsFlags::empty())
    }

    pub fn is_read_only(self) -> bool {
        self.set.contains(MsFlags::MS_RDONLY)
    }

    /// The flags that a mount which has others is to have; a remount takes away what it does not name.
    pub fn on(self, found: FsFlags) -> MsFlags {
        let flags = [
            (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
            (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
            (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
            (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
            (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
            (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
            (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        ];
        let had = flags.into_iter().filter(|(flag, _)| found.contains(*flag));
        let had = had.fold(MsFlags::empty(), |all, (_, flag)| all | flag);
        (had - self.clear) | self.set
    }
}

/// The options of a volume, one by one.
pub fn given(volume: &PersistentVolume) -> Vec<&str> {
    let old = volume.metadata.annotations.as_ref();
    let listed = match old.and_then(|annotations| annotations.get(ANNOTATION)) {
        Some(old) => vec![old],
        None => {
            let spec = volume.spec.as_ref();
            spec.and_then(|spec| spec.mount_options.as_ref())
                .into_iter()
                .flatten()
                .collect()
        }
    };
    let parts = listed.into_iter().flat_map(|text| text.split(','));
    parts.map(str::trim).filter(|option| !option.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_flags() {
        let (none, rel) = (FsFlags::empty(), FsFlags::ST_RELATIME);
        let had = FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC | FsFlags::ST_RDONLY;
        let time = FsFlags::ST_NOATIME;
        for (options, found, want) in [
            ("", none, MsFlags::empty()),
            ("bind rbind", none, MsFlags::empty()),
            ("ro", none, MsFlags::MS_RDONLY),
            ("ro rw", none, MsFlags::empty()),
            ("rw ro", none, MsFlags::MS_RDONLY),
            (
                "nosuid nodev noexec",
                none,
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            ),
            ("suid dev exec rw", had, MsFlags::empty()),
            (
                "exec",
                had,
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY,
            ),
            ("noatime", rel, MsFlags::MS_NOATIME),
            ("nodiratime", rel, MsFlags::MS_RELATIME | MsFlags::MS_NODIRATIME),
            ("relatime", time, MsFlags::MS_RELATIME),
        ] {
            let change = Change::of(options.split_whitespace()).unwrap();
            assert_eq!(change.on(found), want, "{options} on {found:?}");
        }
        assert!(Change::of(["rw"]).unwrap().read_only().is_read_only());
        let refused = Change::of(["ro", "vers=4"]).unwrap_err().to_string();
        assert_eq!(
            refused,
            "mount option \"vers=4\" is not supported for local volumes"
        );
    }

    #[test]
    fn options_are_in_the_field_or_in_what_preceded_it() {
        let volume = |value| serde_json::from_value::<PersistentVolume>(value).unwrap();
        let field = json!({"spec": {"mountOptions": ["ro, noexec", "nosuid"]}});
        assert_eq!(given(&volume(field.clone())), ["ro", "noexec", "nosuid"]);
        let mut both = field;
        both["metadata"] = json!({"annotations": {ANNOTATION: "rw,nodev"}});
        assert_eq!(given(&volume(both)), ["rw", "nodev"]);
        assert!(given(&PersistentVolume::default()).is_empty());
    }
}
