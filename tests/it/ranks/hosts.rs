//! Two hosts: network namespaces with a cable of real TCP between them, which a test can cut.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{COMMAND, sharded};
use crate::command::Place;
use crate::require::{Need, skip};
use crate::running::Running;
use crate::train::kills;

/// The longest that a job may live after its cable is cut.
const END: Duration = Duration::from_secs(45);
const ADDRESSES: [&str; 2] = ["10.77.15.1", "10.77.15.2"];

/// Two hosts with a cable.
struct Hosts {
    names: [String; 2],
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

impl Hosts {
    /// None where the machine allows none, or has another MPI than Open MPI 4.
    fn new(test: &str) -> Option<Self> {
        let version = Command::new("mpirun").arg("--version").output().ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("Open MPI) 4.") {
            return None;
        }
        let names = ["a", "b"].map(|host| format!("mvpbench-{test}-{host}"));
        names.iter().for_each(|name| _ = ip(&format!("netns delete {name}")));
        let hosts = Self { names };
        let made = hosts.names.iter().all(|name| ip(&format!("netns add {name}")));
        let [a, b] = &hosts.names;
        let cable = [
            format!("-n {a} link add cable type veth peer name cable netns {b}"),
            format!("-n {a} addr add {}/24 dev cable", ADDRESSES[0]),
            format!("-n {b} addr add {}/24 dev cable", ADDRESSES[1]),
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
            format!("-n {a} link set cable up"),
            format!("-n {b} link set cable up"),
        ];
        (made && cable.iter().all(|arguments| ip(arguments))).then_some(hosts)
    }

    /// The command of `place` on both hosts, one rank each.
    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let [a, b] = &self.names;
        // What `mpirun` calls in place of ssh: the name of a host, then a command.
        let agent = place.write(
            "agent",
            format!("#!/bin/sh\nshift\nexec ip netns exec {b} unshare --uts sh -c \"hostname {b}; $*\"\n"),
        );
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&agent, mode).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", a, "unshare", "--uts", "sh", "-c"]);
        command.args(["hostname \"$0\"; exec mpirun \"$@\"", a, "-n", "2", "--host"]);
        command.arg(ADDRESSES.map(|address| format!("{address}:1")).join(","));
        for (name, value) in [
            ("plm_rsh_agent", agent.to_str().unwrap()),
            ("btl", "self,tcp"),
            ("btl_tcp_if_include", "10.77.15.0/24"),
            ("oob_tcp_if_include", "10.77.15.0/24"),
            ("oob_tcp_keepalive_time", "5"),
            ("oob_tcp_keepalive_intvl", "5"),
            ("oob_tcp_keepalive_probes", "3"),
        ] {
            command.args(["--mca", name, value]);
        }
        command
            .arg(env!("CARGO_BIN_EXE_train"))
            .args(arguments)
            .current_dir(place.folder.path())
            .env("MVPBENCH_CACHE", place.path("cache"))
            .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| _ = ip(&format!("netns delete {name}")));
    }
}

#[test]
fn two_hosts_give_the_bytes_of_one_process() {
    let Some(hosts) = Hosts::new("two") else { return skip(Need::Hosts, "") };
    let one = sharded();
    one.succeed(&COMMAND);
    let place = sharded();
    let output = hosts.command(&place, &COMMAND).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    kills::assert_same(&place, &kills::outcome(&one), "two hosts");
}

#[test]
fn a_cut_cable_ends_the_job_and_one_host_resumes_it() {
    let Some(hosts) = Hosts::new("cut") else { return skip(Need::Hosts, "") };
    let one = sharded();
    one.succeed(&COMMAND);
    let place = sharded();
    let mut job =
        Running::start(hosts.command(&place, &COMMAND).stdout(Stdio::null()).stderr(Stdio::null()));
    job.wait_for("training", || kills::phase(&place.path("run")) == "training");
    assert!(ip(&format!("-n {} link set cable down", hosts.names[0])));
    let begun = Instant::now();
    let (_, code) = job.end();
    assert_ne!(code, Some(0));
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    // The rank of the other host is ended by its own side of the keepalive, and writes nothing.
    place.succeed(&COMMAND);
    kills::assert_same(&place, &kills::outcome(&one), "after a cut cable");
}
