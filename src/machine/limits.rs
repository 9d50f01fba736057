//! Limits below the machine's own memory: of the control groups that a container sets, and of the address space (`ulimit -v`).

use std::fs;
use std::path::{Path, PathBuf};

use super::proc::kibibytes;

/// Bytes that the limits of this process leave for new allocations; none where there is no limit.
pub(super) fn room_bytes() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok();
    let groups = groups.and_then(|groups| of_groups(Path::new("/sys/fs/cgroup"), &groups));
    [groups, of_address_space()].into_iter().flatten().reduce(f64::min)
}

/// The files of a control group's memory, in both versions of the interface.
struct Interface {
    folder: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Prefix of the counters of `memory.stat` that include the groups below.
    prefix: &'static str,
}

const V1: Interface = Interface {
    folder: "memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    prefix: "total_",
};
const V2: Interface =
    Interface { folder: "", limit: "memory.max", usage: "memory.current", prefix: "" };

/// Bytes that the control groups leave. `root`: where they are mounted; `groups`: the text of `/proc/self/cgroup`.
///
/// The limit of every group above counts too. In a container the path may be the machine's, of which only the end is mounted.
fn of_groups(root: &Path, groups: &str) -> Option<f64> {
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            "" => Some((&V2, path)),
            _ if controllers.split(',').any(|name| name == "memory") => Some((&V1, path)),
            _ => None,
        }
    });
    let room = |(interface, path): (&Interface, &str)| {
        let top = root.join(interface.folder);
        let own = top.join(path.trim_start_matches('/'));
        let above: Vec<PathBuf> =
            own.ancestors().take_while(|folder| folder.starts_with(&top)).map(Into::into).collect();
        above.iter().filter_map(|folder| of_group(folder, interface)).reduce(f64::min)
    };
    lines.filter_map(room).reduce(f64::min)
}

/// Bytes that one group leaves, with the mapped and cached files of it that the system can drop.
fn of_group(folder: &Path, interface: &Interface) -> Option<f64> {
    let number = |file: &str| -> Option<f64> {
        fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    // `max`, or in the first version a number beyond any machine.
    let limit = number(interface.limit).filter(|limit| *limit < (1u64 << 60) as f64)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let counter = |name: &str| -> f64 {
        let name = format!("{}{name} ", interface.prefix);
        let value = stat.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
        value.unwrap_or(0.0)
    };
    let files = counter("inactive_file") + counter("active_file");
    Some((limit - number(interface.usage)? + files).clamp(0.0, limit))
}

/// Bytes of address space that `ulimit -v` leaves; none without that limit.
pub(super) fn of_address_space() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: f64 = line.split_whitespace().next()?.parse().ok()?;
    let used = kibibytes("/proc/self/status", "VmSize:")? * 1024.0;
    Some((limit - used).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control groups made of files.
    fn groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn room(files: &[(&str, &str)], groups_of_self: &str) -> Option<usize> {
        of_groups(groups(files).path(), groups_of_self).map(|bytes| bytes as usize)
    }

    #[test]
    fn the_tightest_group_above_counts_and_cached_files_do_not() {
        let files = [
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "700\n"),
            ("a/memory.stat", "anon 500\ninactive_file 150\nactive_file 50\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "600\n"),
        ];
        assert_eq!(room(&files, "0::/a/b\n"), Some(500));
        assert_eq!(room(&files, "0::/\n"), None, "no limit above");
        assert_eq!(room(&files, "0::/elsewhere/a\n"), None);
    }

    #[test]
    fn the_first_version_is_read_too() {
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "5\n"),
            ("memory/box/memory.limit_in_bytes", "1000\n"),
            ("memory/box/memory.usage_in_bytes", "900\n"),
            (
                "memory/box/memory.stat",
                "inactive_file 7\ntotal_inactive_file 100\ntotal_active_file 30\n",
            ),
        ];
        assert_eq!(room(&files, "9:cpu:/x\n5:memory,pids:/box\n"), Some(230));
        assert_eq!(room(&files, "5:memory:/\n"), None, "no limit");
        let container = [
            ("memory/memory.limit_in_bytes", "1000\n"),
            ("memory/memory.usage_in_bytes", "2000\n"),
        ];
        assert_eq!(
            room(&container, "5:memory:/docker/0123\n"),
            Some(0),
            "mounted at the container"
        );
    }

    #[test]
    fn a_process_without_a_limit_of_its_own_has_none() {
        let files: [(&str, &str); 0] = [];
        assert_eq!(room(&files, "0::/\n"), None);
        assert_eq!(room(&files, "nonsense"), None);
    }
}
