//! Folders that keep recomputable results between runs.

use std::path::PathBuf;

/// Folder of one kind of cache, within `$MVPBENCH_CACHE` or else `mvpbench` in the user's cache folder.
pub fn folder(kind: &str) -> Option<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let all = set("MVPBENCH_CACHE").or_else(|| Some(user()?.join("mvpbench")))?;
    Some(all.join(kind))
}
