//! A guest without a VM: the agent as PID 1 of namespaces of its own, on a guest rootfs and disks that are loop devices, with this
//! process as its host. Needs root.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Write},
    os::unix::{
        fs::symlink,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio as Streams},
    time::Duration,
};

use hull_protocol::{
    AGENT_PORT, AgentMessage, Container, Extent, HostMessage, MAX_FRAME, Process, ProcessId, Stdio, VERSION,
    defaults,
    frame::{Decoder, encode},
};
use tempfile::TempDir;

/// Whether these tests can run here; says so if not.
pub fn possible() -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    let tools = ["mkfs.erofs", "mke2fs", "losetup", "unshare", "pivot_root"];
    let present = |tool: &&str| ["/sbin", "/usr/bin"].iter().any(|path| Path::new(path).join(tool).exists());
    let missing: Vec<_> = tools.iter().filter(|tool| !present(tool)).collect();
    if !root || !missing.is_empty() {
        eprintln!("skipped: needs root and {missing:?}");
    }
    root && missing.is_empty()
}

/// The agent and its host.
pub struct Guest {
    control: UnixStream,
    decoder: Decoder,
    sockets: PathBuf,
    next_port: u32,
    /// What was received while something else was awaited.
    early: Vec<AgentMessage>,
    agent: Child,
    loops: Vec<String>,
    pub layers: Vec<Extent>,
    _folder: TempDir,
}

/// The host's ends of a process's streams.
#[derive(Default)]
pub struct Ends {
    pub stdin: Option<UnixStream>,
    pub stdout: Option<UnixStream>,
    pub stderr: Option<UnixStream>,
}

impl Ends {
    /// All of standard output.
    pub fn output(&mut self) -> String {
        read_all(self.stdout.take())
    }

    /// All of standard error.
    pub fn errors(&mut self) -> String {
        read_all(self.stderr.take())
    }
}

fn read_all(stream: Option<UnixStream>) -> String {
    let mut bytes = Vec::new();
    stream.unwrap().read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Guest {
    /// Boots one whose layer disk has the busybox layer twice, with something before and between.
    pub fn boot() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let sockets = path.join("sockets");
        fs::create_dir(&sockets).unwrap();
        let listener = UnixListener::bind(sockets.join(format!("host.{AGENT_PORT}"))).unwrap();

        guest_rootfs(&path.join("root"));
        let rootfs = erofs(path, "root");
        busybox_layer(&path.join("busybox"));
        let top = path.join("top");
        fs::create_dir(&top).unwrap();
        fs::write(top.join("marker"), "top\n").unwrap();
        let (disk, layers) = layer_disk(path, &[erofs(path, "busybox"), erofs(path, "top")]);
        let data = path.join("data.ext4");
        File::create(&data).unwrap().set_len(256 << 20).unwrap();
        run("mke2fs", &["-q", "-t", "ext4", "-F", data.to_str().unwrap()]);

        let attach = |image: &Path, options: &[&str]| {
            let mut arguments = options.to_vec();
            arguments.extend(["-f", "--show", image.to_str().unwrap()]);
            run("losetup", &arguments)
        };
        let loops = vec![attach(&rootfs, &["-r"]), attach(&disk, &["-r", "-P"]), attach(&data, &[])];
        let script = format!(
            "set -e; mkdir {mount}; mount -t erofs -o ro {root} {mount}; mount -t devtmpfs dev {mount}/dev
             mount --bind {sockets} {mount}/test; cd {mount}; pivot_root . c
             exec /c/bin/busybox env -i HULL_AGENT_SOCKET=/test/host HULL_LAYER_DISK={layers} HULL_DATA_DISK={data} \
               /c/bin/busybox sh -c '/c/bin/busybox umount -l /c; exec /init'",
            mount = path.join("mount").display(),
            sockets = sockets.display(),
            root = loops[0],
            layers = loops[1],
            data = loops[2],
        );
        let agent = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", &script])
            .stdin(Streams::null())
            .spawn()
            .unwrap();
        let (control, _) = listener.accept().unwrap();
        control.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut guest = Self {
            control,
            decoder: Decoder::default(),
            sockets,
            next_port: 70_000,
            early: Vec::new(),
            agent,
            loops,
            layers,
            _folder: folder,
        };
        assert!(matches!(guest.receive(), AgentMessage::Hello { version: VERSION, .. }));
        guest.send(&HostMessage::Hello { version: VERSION, max_frame: MAX_FRAME });
        guest
    }

    pub fn send(&mut self, message: &HostMessage) {
        self.control.write_all(&encode(message).unwrap()).unwrap();
    }

    /// Sends bytes that are no message.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.control.write_all(bytes).unwrap();
    }

    /// The next message.
    pub fn receive(&mut self) -> AgentMessage {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return message;
            }
            let mut bytes = [0; 4096];
            let count = self.control.read(&mut bytes).expect("the agent says something");
            assert!(count > 0, "the agent closed the connection");
            self.decoder.push(&bytes[..count]);
        }
    }

    /// The next message that satisfies this; others are kept for later.
    pub fn await_message(&mut self, wanted: impl Fn(&AgentMessage) -> bool) -> AgentMessage {
        if let Some(place) = self.early.iter().position(&wanted) {
            return self.early.remove(place);
        }
        loop {
            let message = self.receive();
            if wanted(&message) {
                return message;
            }
            self.early.push(message);
        }
    }

    /// Ports for all three streams, and a way to accept their connections.
    fn listen(&mut self, names: &[&'static str]) -> (Stdio, HashMap<&'static str, UnixListener>) {
        let mut stdio = Stdio::default();
        let mut listeners = HashMap::new();
        for name in names {
            self.next_port += 1;
            let listener = UnixListener::bind(self.sockets.join(format!("host.{}", self.next_port))).unwrap();
            let port = Some(self.next_port);
            match *name {
                "stdin" => stdio.stdin = port,
                "stdout" => stdio.stdout = port,
                _ => stdio.stderr = port,
            }
            listeners.insert(*name, listener);
        }
        (stdio, listeners)
    }

    /// Runs a container with these streams and waits until its process runs or has failed to.
    pub fn run(
        &mut self,
        process_id: ProcessId,
        container: Container,
        process: Process,
        streams: &[&'static str],
    ) -> Result<Ends, AgentMessage> {
        let (stdio, listeners) = self.listen(streams);
        self.send(&HostMessage::Run {
            process_id,
            container: Box::new(container),
            process: Box::new(process),
            stdio,
        });
        self.await_start(process_id, &listeners)
    }

    /// Runs a further process and waits until it runs or has failed to.
    pub fn exec(
        &mut self,
        process_id: ProcessId,
        first: ProcessId,
        process: Process,
        streams: &[&'static str],
    ) -> Result<Ends, AgentMessage> {
        let (stdio, listeners) = self.listen(streams);
        let process = Box::new(process);
        self.send(&HostMessage::Exec { process_id, first, process, stdio });
        self.await_start(process_id, &listeners)
    }

    fn await_start(
        &mut self,
        id: ProcessId,
        listeners: &HashMap<&str, UnixListener>,
    ) -> Result<Ends, AgentMessage> {
        let message = self.await_message(|message| {
            matches!(message, AgentMessage::Started { process_id, .. } | AgentMessage::Failed { process_id, .. }
                if *process_id == id)
        });
        if matches!(message, AgentMessage::Failed { .. }) {
            return Err(message);
        }
        let accept = |name| listeners.get(name).map(|listener| listener.accept().unwrap().0);
        Ok(Ends { stdin: accept("stdin"), stdout: accept("stdout"), stderr: accept("stderr") })
    }

    /// How a process ended.
    pub fn await_exit(&mut self, id: ProcessId) -> AgentMessage {
        self.await_message(
            |message| matches!(message, AgentMessage::Exited { process_id, .. } if *process_id == id),
        )
    }

    /// A container of the busybox layer.
    pub fn container(&self, id: &str) -> Container {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Container {
            id: id.to_owned(),
            hostname: "box".to_owned(),
            layers: self.layers.clone(),
            masked_paths: owned(defaults::MASKED_PATHS),
            read_only_paths: owned(defaults::READ_ONLY_PATHS),
            sysctls: defaults::SYSCTLS.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            ..Container::default()
        }
    }

    /// Whether the agent ends within a few seconds.
    pub fn has_ended(&mut self) -> bool {
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            self.agent.try_wait().unwrap().is_some()
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        remove_cgroups();
        for device in &self.loops {
            // The namespaces may take a moment to let go of it.
            for _ in 0..50 {
                let detached = Command::new("losetup").args(["-d", device]).output().unwrap();
                if detached.status.success() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Removes the cgroups of an agent that was killed: it gives them numbers for names. Those in use stay.
fn remove_cgroups() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let Some(tree) = mounts.lines().find_map(|line| line.strip_prefix("cgroup2 ")) else { return };
    for entry in fs::read_dir(tree.split(' ').next().unwrap()).unwrap().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// A process that runs a shell script.
pub fn shell(script: &str) -> Process {
    Process {
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".to_owned(),
        capabilities: defaults::CAPABILITIES,
        ..Process::default()
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The guest rootfs as `tools/make-guest` makes it, and a place for the sockets.
fn guest_rootfs(root: &Path) {
    for directory in ["dev", "proc", "sys", "cgroup", "data", "c", "test", "skeleton/etc"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for directory in ["dev", "proc", "sys"] {
        fs::create_dir(root.join("skeleton").join(directory)).unwrap();
    }
    for file in ["hosts", "hostname", "resolv.conf"] {
        fs::write(root.join("skeleton/etc").join(file), "").unwrap();
    }
    for number in 1..=255 {
        fs::create_dir_all(root.join(format!("layers/{number}"))).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_hull-agent"), root.join("init")).unwrap();
}

/// Busybox, two users, and things that a hostile image would have.
fn busybox_layer(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in run("/bin/busybox", &["--list"]).lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nwww:x:34:\naudio:x:29:web\n").unwrap();
    fs::write(root.join("script"), "#!/no/such/interpreter\n").unwrap();
    fs::write(root.join("rubbish"), "\x7fELF and nothing else").unwrap();
    run("chmod", &["755", root.join("script").to_str().unwrap(), root.join("rubbish").to_str().unwrap()]);
    symlink("/somewhere/else/file", root.join("dangling")).unwrap();
    symlink("../../../../../../..", root.join("up")).unwrap();
    symlink("/proc/self/fd", root.join("descriptors")).unwrap();
}

fn erofs(folder: &Path, name: &str) -> PathBuf {
    let image = folder.join(format!("{name}.erofs"));
    run("mkfs.erofs", &["--all-root", image.to_str().unwrap(), folder.join(name).to_str().unwrap()]);
    image
}

/// The images one behind the other, each after a block of rubbish.
fn layer_disk(folder: &Path, images: &[PathBuf]) -> (PathBuf, Vec<Extent>) {
    let path = folder.join("layers");
    let (mut bytes, mut extents) = (Vec::new(), Vec::new());
    for image in images {
        bytes.resize(bytes.len() + 4096, 0xaa);
        let offset = bytes.len() as u64;
        bytes.extend(fs::read(image).unwrap());
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        extents.push(Extent { offset, length: bytes.len() as u64 - offset });
    }
    fs::write(&path, bytes).unwrap();
    (path, extents)
}
