//! Fields of newer runtimes' messages that the generated ones lack. On the wire a message that comes in two parts is one:
//! what is known is followed by what is not.

use crate::{Beyond, v1};
use prost::DecodeError;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType};

/// `ContainerConfig` in `CreateContainerRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, optional, tag = "2")]
    config: Option<Config>,
}

/// Of `ContainerConfig`.
#[derive(Clone, PartialEq, Message)]
struct Config {
    /// Whole mounts, encoded.
    #[prost(bytes = "vec", repeated, tag = "7")]
    mounts: Vec<Vec<u8>>,
    #[prost(int32, tag = "18")]
    stop_signal: i32,
}

/// Of `Mount`.
#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "10")]
    image_sub_path: String,
}

/// A message and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Followed<M> {
    message: M,
    more: Vec<u8>,
}

impl Followed<v1::CreateContainerRequest> {
    pub(super) fn new(mut message: v1::CreateContainerRequest, beyond: &Beyond) -> Self {
        let config = message.config.get_or_insert_default();
        let sub_path = |mount: &v1::Mount| beyond.image_sub_paths.get(&mount.container_path);
        let (more, known) = std::mem::take(&mut config.mounts)
            .into_iter()
            .partition::<Vec<_>, _>(|mount| sub_path(mount).is_some());
        config.mounts = known;
        let mounts = more.iter().map(|mount| {
            let mut bytes = mount.encode_to_vec();
            let image_sub_path = sub_path(mount).cloned().unwrap_or_default();
            bytes.extend(Mount { image_sub_path }.encode_to_vec());
            bytes
        });
        let config = Config {
            mounts: mounts.collect(),
            stop_signal: beyond.stop_signal,
        };
        let more = Request { config: Some(config) };
        Self {
            message,
            more: more.encode_to_vec(),
        }
    }
}

impl<M: Message> Message for Followed<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.message.encode_raw(buf);
        buf.put_slice(&self.more);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.message.merge_field(tag, wire_type, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.message.encoded_len() + self.more.len()
    }

    fn clear(&mut self) {
        self.message.clear();
        self.more.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn newer_runtimes_read_one_message_and_older_ones_what_they_know() {
        let mount = |path: &str| v1::Mount {
            container_path: path.to_owned(),
            readonly: true,
            ..v1::Mount::default()
        };
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: "s".to_owned(),
            config: Some(v1::ContainerConfig {
                log_path: "c/0.log".to_owned(),
                mounts: vec![mount("/image"), mount("/other")],
                ..v1::ContainerConfig::default()
            }),
            sandbox_config: Some(v1::PodSandboxConfig::default()),
        };
        let beyond = Beyond {
            stop_signal: 29,
            image_sub_paths: HashMap::from([("/image".to_owned(), "etc".to_owned())]),
        };
        let bytes = Followed::new(request, &beyond).encode_to_vec();

        let known = v1::CreateContainerRequest::decode(&*bytes).unwrap();
        let config = known.config.unwrap();
        let paths: Vec<&str> = config.mounts.iter().map(|mount| &*mount.container_path).collect();
        assert_eq!((&*known.pod_sandbox_id, &*config.log_path), ("s", "c/0.log"));
        assert_eq!(paths, ["/other", "/image"]);

        let newer = Request::decode(&*bytes).unwrap().config.unwrap();
        assert_eq!(newer.stop_signal, 29);
        let sub_paths = newer.mounts.iter().map(|mount| Mount::decode(&**mount).unwrap());
        let sub_paths: Vec<String> = sub_paths.map(|mount| mount.image_sub_path).collect();
        assert_eq!(sub_paths, ["", "etc"]);
    }
}
