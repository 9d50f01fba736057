//! Downloads one file of a commit into the cache, whole or not at all, and resumes an interrupted download.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ureq::http::{Response, StatusCode};

use crate::console::interrupt;
use crate::console::progress::Progress;
use crate::disk::read;
use crate::error::InputError;
use crate::hub::client::{Client, HUB, Remote};
use crate::hub::tag::{self, Mismatch};
use crate::hub::{Snapshot, cache};
use crate::net::retry::{Fault, Patience, pause_for};

/// Bytes read at once.
const BLOCK: usize = 1 << 18;
/// Bytes received after which earlier failures no longer count.
const FORGIVEN_AFTER: u64 = 1 << 20;

/// Downloads the file, unless the cache has its content under another name, and links it into the commit's folder.
pub(super) fn file(client: &Client, snapshot: &Snapshot, name: &str) -> Result<()> {
    let (cache, repository) = (&client.settings.cache, &snapshot.repository);
    let remote = client.look(repository, &snapshot.commit, name)?;
    let blob = cache::blob(cache, repository, &remote.etag);
    let at = || format!("cannot write `{}`", blob.display());
    let whole = || fs::metadata(&blob).is_ok_and(|there| there.len() == remote.size);
    if !whole() {
        let _lock = lock(client, &cache::lock(cache, repository, &remote.etag), name)?;
        // Another program may have downloaded it meanwhile.
        if !whole() {
            let partial = blob.with_file_name(format!("{}.incomplete", remote.etag));
            fs::create_dir_all(partial.parent().unwrap_or(cache)).with_context(at)?;
            content(client, snapshot, name, &remote, &partial)?;
            fs::rename(&partial, &blob).with_context(at)?;
        }
    }
    cache::link(cache, repository, &snapshot.commit, name, &remote.etag).with_context(at)
}

/// Waits until no other program downloads that content.
fn lock(client: &Client, path: &Path, name: &str) -> Result<File> {
    let at = || format!("cannot lock `{}`", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(at)?;
    let file =
        read::unblocked().create(true).truncate(false).write(true).open(path).with_context(at)?;
    let mut waiting = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if !waiting => {
                client
                    .verbosity
                    .note(format!("another program downloads `{name}`; waiting for it"));
                waiting = true;
            }
            Err(TryLockError::WouldBlock) => pause_for(Duration::from_millis(500))?,
            Err(TryLockError::Error(error)) => return Err(error).with_context(at),
        }
    }
}

/// Downloads the rest of `partial` and verifies it.
fn content(
    client: &Client,
    snapshot: &Snapshot,
    name: &str,
    remote: &Remote,
    partial: &Path,
) -> Result<()> {
    let what = format!("`{name}` of {}", snapshot.repository);
    let at = || format!("cannot write `{}`", partial.display());
    let mut file = open_partial(partial)?;
    let mut done = file.metadata().with_context(at)?.len();
    if done > remote.size {
        file.set_len(0).with_context(at)?;
        done = 0;
    }
    let mut progress = client.verbosity.download(name, done, remote.size);
    let mut patience = Patience::new(HUB, &what, client.verbosity);
    let mut forgiven = done;
    while done < remote.size {
        let response =
            client.open(&snapshot.repository, &what, &mut patience, &remote.address, done)?;
        if done > 0 && !resumes(&response, done) {
            file.set_len(0).with_context(at)?;
            done = 0;
            forgiven = 0;
            progress = client.verbosity.download(name, 0, remote.size);
        }
        let why = match copy(response, &mut file, &mut done, &mut progress).with_context(at)? {
            Ok(()) => String::new(),
            Err(error) => format!(": {error}"),
        };
        if done >= forgiven + FORGIVEN_AFTER {
            patience.renew();
            forgiven = done;
        }
        if done < remote.size {
            patience.wait(&Fault::cut(done, remote.size, &why))?;
        }
    }
    file.sync_all().with_context(at)?;
    drop(file);
    verify(&what, remote, partial, done)
}

/// Opens the beginning of an earlier download, or a new file. Refuses a link, through which a file elsewhere would be written.
fn open_partial(partial: &Path) -> Result<File> {
    let kind = fs::symlink_metadata(partial).map(|there| there.file_type());
    if kind.is_ok_and(|kind| !kind.is_file()) {
        let message = format!(
            "`{}` is a link or no file, expected the beginning of a download",
            partial.display()
        );
        return Err(InputError::new(message)
            .hint("remove it and run the same command again")
            .into());
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    options.open(partial).with_context(|| format!("cannot write `{}`", partial.display()))
}

/// Whether the response begins at byte `done`; otherwise it begins at the first byte.
fn resumes<B>(response: &Response<B>, done: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {done}-")))
}

/// Appends the response to the file. The outer error is of the disk or Ctrl-C, the inner one of the connection.
fn copy(
    response: Response<ureq::Body>,
    file: &mut File,
    done: &mut u64,
    progress: &mut Progress,
) -> Result<Result<(), std::io::Error>> {
    let mut body = response.into_body().into_reader();
    let mut block = vec![0; BLOCK];
    loop {
        interrupt::check()?;
        match body.read(&mut block) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => {
                file.write_all(&block[..count])?;
                *done += count as u64;
                progress.advance(count as u64, &[]);
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Deletes a file with another size or digest than the hub's.
fn verify(what: &str, remote: &Remote, partial: &Path, done: u64) -> Result<()> {
    let (expected, got) = if done == remote.size {
        match tag::mismatch(&remote.etag, partial)? {
            None => return Ok(()),
            Some(Mismatch { digest, got }) => (format!("{digest} {}", remote.etag), got),
        }
    } else {
        (format!("{} bytes", remote.size), done.to_string())
    };
    fs::remove_file(partial).with_context(|| format!("cannot delete `{}`", partial.display()))?;
    Err(anyhow!(
        "{what}: expected {expected}, got {got}; the download is deleted\n\nhint: run the same command again; \
         if it fails again, something between here and the hub alters files"
    ))
}
