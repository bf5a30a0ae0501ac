//! A VMM that shares a folder, taken over by its guest: what could it do then?
//!
//! Its threads are made to call the kernel by whoever traces them, which is what code in them could do.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Home, eventually, skip};

/// A thread of another process that does as it is told.
struct Puppet {
    thread: libc::pid_t,
    registers: libc::user_regs_struct,
}

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Result(i64),
    /// The process was killed for it.
    Killed,
}

fn ptrace(request: u32, thread: libc::pid_t, address: usize, data: usize) -> libc::c_long {
    // SAFETY: requests that read write into what `data` points at, which the callers keep alive; the others touch the tracee only.
    unsafe { libc::ptrace(request, thread, address, data) }
}

/// Waits for a stop of the thread; `None` when it is gone.
fn stopped(thread: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a good pointer.
    let waited = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    (waited == thread && libc::WIFSTOPPED(status)).then_some(status)
}

impl Puppet {
    /// Takes hold of a thread that waits in the kernel. `None` where tracing is not allowed.
    fn seize(thread: libc::pid_t) -> Option<Self> {
        if ptrace(libc::PTRACE_SEIZE, thread, 0, libc::PTRACE_O_TRACESYSGOOD as usize) != 0 {
            return None;
        }
        assert_eq!(ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0), 0);
        stopped(thread)?;
        // SAFETY: plain data.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        assert_eq!(ptrace(libc::PTRACE_GETREGS, thread, 0, (&raw mut registers) as usize), 0);
        // It was in a call: the instruction before is `syscall`.
        registers.rip -= 2;
        let instruction = ptrace(libc::PTRACE_PEEKTEXT, thread, registers.rip as usize, 0);
        assert_eq!(instruction & 0xffff, 0x050f);
        Some(Self { thread, registers })
    }

    /// Where it keeps the text of call after call: below its stack.
    fn scratch(&self) -> usize {
        (self.registers.rsp as usize - 8192) & !7
    }

    fn put(&self, at: usize, text: &[u8]) {
        for (index, word) in [text, b"\0"].concat().chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            let word = usize::from_ne_bytes(bytes);
            assert_eq!(ptrace(libc::PTRACE_POKEDATA, self.thread, at + index * 8, word), 0);
        }
    }

    fn call(&self, number: i64, arguments: [i64; 5]) -> Came {
        let [rdi, rsi, rdx, r10, r8] = arguments.map(i64::cast_unsigned);
        let number = number.cast_unsigned();
        let mut registers = self.registers;
        (registers.rax, registers.orig_rax) = (number, u64::MAX);
        (registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8) = (rdi, rsi, rdx, r10, r8);
        assert_eq!(ptrace(libc::PTRACE_SETREGS, self.thread, 0, (&raw const registers) as usize), 0);
        // Into the call, and out of it.
        for _ in 0..2 {
            loop {
                assert_eq!(ptrace(libc::PTRACE_SYSCALL, self.thread, 0, 0), 0);
                let Some(status) = stopped(self.thread) else { return Came::Killed };
                if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
                    break;
                }
            }
        }
        assert_eq!(ptrace(libc::PTRACE_GETREGS, self.thread, 0, (&raw mut registers) as usize), 0);
        // A call that is not allowed is taken back, and the process killed when it goes on.
        if registers.rax == number {
            assert_eq!(ptrace(libc::PTRACE_CONT, self.thread, 0, 0), 0);
            if stopped(self.thread).is_none() {
                return Came::Killed;
            }
        }
        Came::Result(registers.rax.cast_signed())
    }

    fn open(&self, directory: i64, path: &[u8]) -> Came {
        self.put(self.scratch(), path);
        let flags = i64::from(libc::O_RDONLY | libc::O_NONBLOCK);
        self.call(libc::SYS_openat, [directory, self.scratch() as i64, flags, 0, 0])
    }
}

/// The VMM of the home's container, and its threads of this name.
fn threads(home: &Home, name: &str) -> Vec<libc::pid_t> {
    let vmm = home.find("vmm").expect("a VMM").as_raw_nonzero();
    let tasks = fs::read_dir(format!("/proc/{vmm}/task")).expect("threads").flatten();
    let tasks = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    let is = |thread: &libc::pid_t| {
        let comm = fs::read_to_string(format!("/proc/{vmm}/task/{thread}/comm")).unwrap_or_default();
        comm.trim().starts_with(name)
    };
    tasks.filter(is).collect()
}

/// A home with a secret beside a folder that a container has, and that container.
fn share_with_container(test: &str) -> Option<Home> {
    let home = Home::with_busybox(test)?;
    let shared = home.folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "for everybody").unwrap();
    fs::write(home.folder.path().join("secret"), "secret").unwrap();
    symlink(home.folder.path().join("secret"), shared.join("link")).unwrap();
    let volume = format!("{}:/x:ro", shared.display());
    home.ok(&[
        "run",
        "-d",
        "--name",
        "taken",
        "-v",
        &volume,
        "busybox",
        "sh",
        "-c",
        "cat /x/file; exec sleep 1000",
    ]);
    eventually("the share to be used", || home.ok(&["logs", "taken"]) == "for everybody");
    Some(home)
}

#[test]
fn a_vmm_that_was_taken_over_finds_what_is_shared_and_nothing_else() {
    let test = "a_vmm_that_was_taken_over_finds_what_is_shared_and_nothing_else";
    let Some(home) = share_with_container(test) else { return };
    let mut seized = threads(&home, "share").into_iter().map(Puppet::seize);
    let Some(puppet) = seized.next().flatten() else {
        home.ok(&["rm", "-f", "taken"]);
        return skip(test, "this user may trace no process of its own (kernel.yama.ptrace_scope)");
    };
    let secret = home.folder.path().join("secret");
    let secret = secret.as_os_str().as_encoded_bytes();
    let mut paths: Vec<Vec<u8>> =
        vec![secret.to_vec(), secret[1..].to_vec(), b"link".to_vec(), b"../secret".to_vec()];
    for up in
        ["..", "../..", "../../../../../../../..", "self/root", "1/root", "../root", "../cwd", "../../1/root"]
    {
        paths.push([up.as_bytes(), secret].concat());
    }
    paths.extend(["/etc/passwd", "/proc/self", "/home"].map(|path| path.as_bytes().to_vec()));
    let mut readable = 0;
    for directory in (0..150).chain([i64::from(libc::AT_FDCWD)]) {
        for path in &paths {
            let came = puppet.open(directory, path);
            let Came::Result(number) = came else { panic!("killed by openat, which its share needs") };
            assert!(number < 0, "{} from {directory}", String::from_utf8_lossy(path));
        }
        // So is this: what it may open, it can.
        if let Came::Result(0..) = puppet.open(directory, b"file") {
            readable += 1;
        }
        // The folder is read-only, whatever its server thinks.
        puppet.put(puppet.scratch(), b"new");
        let arguments = [directory, puppet.scratch() as i64, 0o755, 0, 0];
        assert!(matches!(puppet.call(libc::SYS_mkdirat, arguments), Came::Result(..0)), "{directory}");
        puppet.put(puppet.scratch() + 512, secret);
        let from =
            [i64::from(libc::AT_FDCWD), puppet.scratch() as i64 + 512, directory, puppet.scratch() as i64, 0];
        assert!(matches!(puppet.call(libc::SYS_linkat, from), Came::Result(..0)), "{directory}");
    }
    assert!(readable > 0, "the puppet can do nothing at all");
    // Nor does it become another process.
    puppet.put(puppet.scratch(), b"/bin/sh");
    assert_eq!(puppet.call(libc::SYS_execve, [puppet.scratch() as i64, 0, 0, 0, 0]), Came::Killed);
    home.ok(&["wait", "taken"]);
    home.ok(&["rm", "taken"]);
    assert_eq!(fs::read_dir(home.folder.path().join("shared")).unwrap().count(), 2);
    home.nothing_is_left("a VMM that was taken over");
}

#[test]
fn no_other_thread_of_a_vmm_opens_anything() {
    let test = "no_other_thread_of_a_vmm_opens_anything";
    // The first is the event loop's, which is named as the program was executed.
    for name in ["exe", "vcpu", "disk"] {
        let Some(home) = share_with_container(test) else { return };
        let thread = *threads(&home, name).first().expect(name);
        let Some(puppet) = Puppet::seize(thread) else {
            home.ok(&["rm", "-f", "taken"]);
            return skip(test, "this user may trace no process of its own (kernel.yama.ptrace_scope)");
        };
        assert_eq!(puppet.open(i64::from(libc::AT_FDCWD), b"/etc/passwd"), Came::Killed, "{name}");
        home.ok(&["wait", "taken"]);
        home.ok(&["rm", "taken"]);
        home.nothing_is_left("a VMM that was killed");
    }
}

/// Has a program and its children be refused copies of mounts, as where AppArmor lets namespaces be made and nothing be done in them.
fn without_mounts(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    const OPEN_TREE: u32 = libc::SYS_open_tree as u32;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EACCES as u32;
    let instruction = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, OPEN_TREE),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        instruction(libc::BPF_RET | libc::BPF_K, 0, refuse),
    ];
    // SAFETY: two calls that change the child only, with a program that lives as long.
    unsafe {
        command.pre_exec(move || {
            let filter =
                libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut().cast() };
            let set = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0;
            if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

#[test]
fn where_namespaces_are_of_no_use_landlock_stands_alone() {
    let test = "where_namespaces_are_of_no_use_landlock_stands_alone";
    let Some(home) = Home::with_busybox(test) else { return };
    let mut doctor = home.hull(&["doctor"]);
    without_mounts(&mut doctor);
    let found = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    let found = found.lines().find(|line| line.contains("shared folders")).expect("a finding").to_owned();
    if !found.contains("landlock alone") {
        return skip(test, &format!("without namespaces: {found}"));
    }
    assert!(found.contains("Permission denied"), "{found}");
    let shared = home.folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "for everybody").unwrap();
    let volume = format!("{}:/x", shared.display());
    let script = "cat /x/file; echo mine > /x/new; chmod 0 /x/new; cat /x/new";
    let mut run = home.hull(&["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script]);
    without_mounts(&mut run);
    let output = run.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "for everybodymine\n", "{errors}");
    home.nothing_is_left("a share without namespaces");
}
