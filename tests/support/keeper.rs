//! Child processes that cannot be left behind.
//!
//! Each child leads its own process group. Beside the test binary runs one small shell, the
//! keeper, which is told every group and folder; when the test binary goes away, in whatever
//! manner, the keeper's standard input ends and it kills and removes what is still on its list.
//! That also spares the parts shared by a whole binary any shutdown of their own.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::wait::poll;

/// Reads `group N`, `ended N` and `folder PATH` until its input ends.
const SCRIPT: &str = r#"
groups=' ' folders=
while read -r what which; do
    case $what in
        group) groups="$groups$which " ;;
        ended) groups="${groups%% $which *} ${groups#* $which }" ;;
        folder) folders="$folders$which
" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done 2>/dev/null
printf %s "$folders" | while read -r folder; do rm -rf -- "$folder"; done
"#;

// The keeper outlives this process by design: there is nobody to wait for it.
#[allow(clippy::zombie_processes)]
fn tell(what: &str, which: impl std::fmt::Display) {
    static KEEPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the terminal's Ctrl-C.
            .process_group(0)
            .spawn()
            .expect("/bin/sh starts");
        Mutex::new(keeper.stdin.take().expect("stdin was piped"))
    });
    writeln!(lock(keeper), "{what} {which}").expect("the keeper lives as long as the tests");
}

/// Has `folder` removed when the tests end.
pub fn keep_folder(folder: &Path) {
    tell("folder", folder.display());
}

/// A test that panicked while it held a lock has failed already; the others go on.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child process and all that it starts. Dropping it kills them.
pub struct Group {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    /// Starts `command` as the leader of a process group of its own.
    pub fn spawn(command: &mut Command) -> Group {
        let child = command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        tell("group", child.id());
        Group { child, ended: None }
    }

    /// The leader, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The leader's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to the leader alone.
    pub fn signal(&self, signal: libc::c_int) {
        self.send(self.leader(), signal).expect("the process runs");
    }

    /// Sends `signal` to the leader and everything that it started.
    pub fn signal_all(&self, signal: libc::c_int) {
        self.send(-self.leader(), signal).expect("the group runs");
    }

    /// Kills the whole group at once and waits for its leader.
    pub fn kill(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // What is stopped (SIGSTOP) dies of SIGKILL all the same.
        let _ = self.send(-self.leader(), libc::SIGKILL);
        self.ended = self.child.wait().ok();
        tell("ended", self.child.id());
    }

    /// The exit code, once the leader has ended; a death by signal N reads 128 + N, as in a shell.
    pub fn try_wait(&mut self) -> Option<i32> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child is ours");
            if self.ended.is_some() {
                // Before the number can be used again: take the rest of the group along.
                let _ = self.send(-self.leader(), libc::SIGKILL);
                tell("ended", self.child.id());
            }
        }
        self.ended.map(exit_code)
    }

    /// Waits for the leader's end; `None` if it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        poll(limit, || self.try_wait())
    }

    fn leader(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.child.id()).expect("process ids fit")
    }

    fn send(&self, whom: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
        // SAFETY: kill(2) takes two numbers and touches no memory of ours.
        match unsafe { libc::kill(whom, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
