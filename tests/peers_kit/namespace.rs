//! Two network namespaces with a cable between them. Nothing that is done there touches the network of the machine.

use std::process::{Command, Stdio};

/// Two namespaces, gone when this is dropped.
pub struct Cable {
    pub here: String,
    pub there: String,
}

impl Cable {
    /// The address of the one end.
    pub const HERE: &str = "10.77.0.1";
    /// The address of the other.
    pub const THERE: &str = "10.77.0.2";

    /// Lays a cable; the reason why not, where the right or the means are missing.
    pub fn lay(name: &str) -> Result<Self, String> {
        let unique = format!("xf{}{name}", std::process::id());
        let cable = Self { here: format!("{unique}a"), there: format!("{unique}b") };
        // From here on it is removed, however far it was laid.
        for namespace in [&cable.here, &cable.there] {
            ip(&["netns", "add", namespace])?;
        }
        let (here, there) = (cable.here.as_str(), cable.there.as_str());
        ip(&["-n", here, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", there])?;
        for (namespace, address) in [(here, Self::HERE), (there, Self::THERE)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", "cable"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", "cable", "up"])?;
        }
        Ok(cable)
    }

    /// Has what is meant for everybody on the local network go through the cable.
    pub fn allow_multicast(&self) -> Result<(), String> {
        [&self.here, &self.there]
            .iter()
            .try_for_each(|namespace| ip(&["-n", namespace, "route", "add", "224.0.0.0/4", "dev", "cable"]))
    }

    /// Pulls the plug.
    pub fn pull(&self) {
        ip(&["-n", &self.here, "link", "set", "cable", "down"]).unwrap();
    }

    /// Puts it back.
    pub fn plug_in(&self) {
        ip(&["-n", &self.here, "link", "set", "cable", "up"]).unwrap();
    }

    /// Delays every packet in either direction by so many milliseconds, and loses so many of a hundred; the reason why not.
    pub fn worsen(&self, delay_ms: u64, lost: u64) -> Result<(), String> {
        for namespace in [&self.here, &self.there] {
            let (delay, loss) = (format!("{delay_ms}ms"), format!("{lost}%"));
            let netem =
                ["qdisc", "add", "dev", "cable", "root", "netem", "limit", "100000", "delay", &delay, "loss", &loss];
            run("tc", &[&["-n", namespace], &netem[..]].concat())?;
        }
        Ok(())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.here, &self.there] {
            // It may never have been made.
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    run("ip", args)
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let said = |why: &str| format!("{program} {}: {why}", args.join(" "));
    let done =
        Command::new(program).args(args).stdin(Stdio::null()).output().map_err(|error| said(&error.to_string()))?;
    if done.status.success() { Ok(()) } else { Err(said(String::from_utf8_lossy(&done.stderr).trim())) }
}
