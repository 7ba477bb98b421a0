//! What the agent keeps of ended containers. No configuration has fields for it: upstream only has these flags.
use super::parts::go_duration;
use clap::Args;
use orlop_kubelet::config::DeadContainers;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct DeadContainerArgs {
    /// Records of ended containers that stay on the node; below 0 for no limit.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = -1,
        allow_negative_numbers = true,
        hide = true
    )]
    maximum_dead_containers: i32,
    /// Records that stay of each container that has ended; below 0 for all.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        allow_negative_numbers = true,
        hide = true
    )]
    maximum_dead_containers_per_container: i32,
    /// Age below which records of ended containers stay in any case.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = go_duration, hide = true)]
    minimum_container_ttl_duration: Duration,
}

impl DeadContainerArgs {
    /// What they say together.
    pub fn kept(&self) -> DeadContainers {
        DeadContainers::of_flags(
            self.maximum_dead_containers_per_container,
            self.maximum_dead_containers,
            self.minimum_container_ttl_duration,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DeadContainerArgs,
    }

    #[test]
    fn ended_containers_are_kept_as_upstreams_flags_say() {
        let kept = |words: &str| {
            let words = std::iter::once("kubelet").chain(words.split_whitespace());
            Line::try_parse_from(words).unwrap().args.kept()
        };
        assert_eq!(kept(""), DeadContainers::default());
        let given = kept(
            "--maximum-dead-containers=240 --maximum-dead-containers-per-container 2 \
             --minimum-container-ttl-duration=1m30s",
        );
        let expected = DeadContainers {
            of_each: Some(2),
            in_all: Some(240),
            age_min: Duration::from_secs(90),
        };
        assert_eq!(given, expected);
        let unlimited = kept("--maximum-dead-containers -1 --maximum-dead-containers-per-container=-1");
        assert_eq!((unlimited.of_each, unlimited.in_all), (None, None));
    }
}
