//! A VMM, an agent and a front end that a test plays, around a keeper.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use hull_protocol::{
    AGENT_PORT, AgentMessage, Container, ExitStatus, HostMessage, Process, VERSION,
    frame::{self, Decoder},
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::{
    network::{client::Membership, control::Lease, wire::Mac},
    vm::{
        control::{ClientMessage, KeeperMessage, Stream},
        keeper::{
            Doors, Keeper, Limits, Origin, Outcome, PROCESS, Record, Task,
            attach::{Wanted, What},
        },
        launch::{self, Exit, Process as VmmProcess, Vmm},
        log,
    },
    vmm::{
        channel::{Channel, Received},
        control::{ExitReason, KeeperMessage as ToVmm, VmmMessage},
    },
};

/// Long enough for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The process of a VMM that the test plays: it lives until somebody drops `alive`.
struct Played {
    exit: OwnedFd,
    pub alive: Arc<Mutex<Option<OwnedFd>>>,
    killed: bool,
}

impl VmmProcess for Played {
    fn exit(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    fn reap(&mut self) -> Exit {
        if self.killed { Exit::Killed } else { Exit::Code(0) }
    }

    fn kill(&mut self) {
        self.killed = true;
        self.alive.lock().unwrap().take();
    }
}

/// What the keeper wrote down.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<Membership>>>);

impl Record for Notes {
    fn joined(&mut self, leases: &[(String, Lease)], _task: &mut Task) {
        self.networks(leases);
    }

    fn ask_network(&mut self, wanted: &Wanted, _mac: Option<Mac>) -> Result<Membership, String> {
        let known = self.1.lock().unwrap().pop().filter(|one| one.network() == wanted.network);
        known.ok_or_else(|| format!("nobody knows network {}", wanted.network))
    }

    fn describe(&mut self, what: &What) -> Result<(), String> {
        let what = match what {
            What::Connected(wanted) => format!("in {}", wanted.network),
            What::Disconnected(network) => format!("not in {network}"),
            What::Published(ports) => format!("published {} {}", ports.remove.len(), ports.add.len()),
        };
        self.0.lock().unwrap().push(what);
        Ok(())
    }

    fn networks(&mut self, leases: &[(String, Lease)]) {
        let addresses: Vec<_> = leases.iter().map(|(_, lease)| lease.address.to_string()).collect();
        self.0.lock().unwrap().push(format!("joined {}", addresses.join(" ")));
    }

    fn started(&mut self) {
        self.0.lock().unwrap().push("started".to_owned());
    }

    fn signalled(&mut self, signal: u8) {
        self.0.lock().unwrap().push(format!("signal {signal}"));
    }

    fn stopping(&mut self) {
        self.0.lock().unwrap().push("stopping".to_owned());
    }

    fn paused(&mut self, paused: bool) {
        self.0.lock().unwrap().push(if paused { "paused" } else { "goes on" }.to_owned());
    }

    fn ended(&mut self, outcome: &Outcome) {
        self.0.lock().unwrap().push(format!("ended {}", outcome.ending.code()));
    }
}

impl Notes {
    /// The network that is asked for next.
    pub fn expect(&self, membership: Membership) {
        self.1.lock().unwrap().push(membership);
    }

    pub fn have(&self, note: &str) -> bool {
        self.0.lock().unwrap().iter().any(|one| one == note)
    }
}

/// Everything around the keeper.
pub struct World {
    pub vmm: Option<Channel>,
    pub console: Option<File>,
    pub alive: Arc<Mutex<Option<OwnedFd>>>,
    pub agent: Option<UnixStream>,
    pub decoder: Decoder,
    pub front_end: Option<Channel>,
    pub notes: Notes,
    pub log: tempfile::NamedTempFile,
    pub keeper: JoinHandle<Outcome>,
}

/// Which world.
pub struct Plan {
    pub task: Task,
    pub limits: Limits,
    pub log: Option<File>,
    pub network: Option<Membership>,
}

impl Plan {
    pub fn new() -> Self {
        let short = Duration::from_millis(300);
        Self {
            task: Task {
                container: Container::default(),
                process: Process::default(),
                memory: 512 << 20,
                most_memory: 1 << 30,
                stdin: true,
                stdin_once: true,
                stop_signal: 15,
                stop_timeout: 10,
                keep_disk: false,
                origin: Origin::Boot,
                data_disk: None,
                rootfs: Some(File::open("/dev/null").unwrap().into()),
                tied: false,
                check: None,
            },
            limits: Limits {
                boot: PATIENCE,
                start: PATIENCE,
                drain: PATIENCE,
                shutdown: PATIENCE,
                exit: short,
                kill: short,
                reader: short,
                change: PATIENCE,
            },
            log: None,
            network: None,
        }
    }

    pub fn begin(self) -> World {
        let (near, far) = Channel::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        set_socket_timeout(&far, Timeout::Recv, Some(PATIENCE)).unwrap();
        let (front_end, first) = Channel::pair().unwrap();
        set_socket_timeout(&front_end, Timeout::Recv, Some(PATIENCE)).unwrap();
        let (console_read, console_write) = launch::console().unwrap();
        let (exit, alive) = rustix::pipe::pipe().unwrap();
        let alive = Arc::new(Mutex::new(Some(alive)));
        let notes = Notes::default();
        let log = tempfile::NamedTempFile::new().unwrap();
        let log_file = self.log.unwrap_or_else(|| File::options().append(true).open(log.path()).unwrap());
        let (record, process) = (notes.clone(), Played { exit, alive: alive.clone(), killed: false });
        let keeper = std::thread::spawn(move || {
            let vmm = Vmm { control: near, console: console_read, process: Box::new(process) };
            let doors = Doors {
                listener: None,
                first: Some(first.into()),
                others: Vec::new(),
                signals: None,
                agent: None,
                network: self.network,
            };
            let log = log::Writer::new(log_file);
            Keeper::new(self.task, self.limits, vmm, doors, log, Box::new(record), 1).run()
        });
        World {
            vmm: Some(far),
            console: Some(console_write.into()),
            alive,
            agent: None,
            decoder: Decoder::default(),
            front_end: Some(front_end),
            notes,
            log,
            keeper,
        }
    }
}

impl World {
    /// The guest connects to a port of the host.
    pub fn connect(&self, port: u32) -> UnixStream {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        let far = OwnedFd::from(far);
        let message = VmmMessage::Connection { port };
        self.vmm.as_ref().unwrap().send(&message, Some(far.as_fd())).unwrap();
        near
    }

    pub fn say(&mut self, message: &AgentMessage) {
        self.agent.as_mut().unwrap().write_all(&frame::encode(message).unwrap()).unwrap();
    }

    /// What the agent is told next.
    pub fn told(&mut self) -> HostMessage {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return message;
            }
            let mut bytes = [0; 4096];
            let count = self.agent.as_mut().unwrap().read(&mut bytes).unwrap();
            assert_ne!(count, 0, "the keeper closed the agent's connection");
            self.decoder.push(&bytes[..count]);
        }
    }

    pub fn hello(&mut self) {
        self.agent = Some(self.connect(AGENT_PORT));
        self.say(&AgentMessage::Hello {
            version: VERSION,
            max_frame: 1 << 20,
            features: Vec::new(),
            kernel: "6.12".to_owned(),
            first_instruction_ns: 5,
            ready_ns: 6,
        });
    }

    /// Up to the request, which is returned.
    pub fn boot(&mut self) -> HostMessage {
        self.hello();
        assert!(matches!(self.told(), HostMessage::Hello { version: VERSION, .. }));
        self.told()
    }

    /// Up to a running process with its streams: input, output, errors.
    pub fn started(&mut self) -> [UnixStream; 3] {
        let HostMessage::Run { stdio, process_id, .. } = self.boot() else { panic!("not asked to run") };
        assert_eq!(process_id, PROCESS);
        let streams =
            [stdio.stdin, stdio.stdout, stdio.stderr].map(|port| self.connect(port.expect("a port")));
        self.say(&AgentMessage::Started { process_id, pid: 100 });
        assert_eq!(self.hear(), Some(KeeperMessage::Started));
        streams
    }

    pub fn exit(&mut self, status: ExitStatus) {
        self.say(&AgentMessage::Exited { process_id: PROCESS, status, oom_killed: false });
    }

    /// What the front end hears next; `None` is the end.
    pub fn hear(&self) -> Option<KeeperMessage> {
        match self.front_end.as_ref().unwrap().receive().unwrap() {
            Received::Message(message, _) => Some(message),
            Received::Closed => None,
            Received::Nothing => panic!("the keeper says nothing"),
        }
    }

    pub fn ask(&self, message: &ClientMessage) {
        self.front_end.as_ref().unwrap().send(message, None).unwrap();
    }

    /// Attaches a stream; gives the front end's end of the pipe.
    pub fn attach(&self, stream: Stream) -> File {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (ours, theirs) = if stream == Stream::Stdin { (write, read) } else { (read, write) };
        let message = ClientMessage::Attach { stream };
        let descriptor = theirs.as_fd();
        self.front_end.as_ref().unwrap().send(&message, Some(descriptor)).unwrap();
        ours.into()
    }

    pub fn asked_to_stop(&self) {
        match self.vmm.as_ref().unwrap().receive().unwrap() {
            Received::Message(ToVmm::Stop, _) => {}
            other => panic!("{other:?} instead of a stop"),
        }
    }

    /// The VMM says why, if it does, and ends.
    pub fn vmm_ends(&mut self, reason: Option<ExitReason>) {
        if let Some(reason) = reason {
            self.vmm.as_ref().unwrap().send(&VmmMessage::Exit(reason), None).unwrap();
        }
        (self.vmm, self.console, self.agent) = (None, None, None);
        self.alive.lock().unwrap().take();
    }

    pub fn outcome(self) -> (Outcome, Vec<String>) {
        let outcome = self.keeper.join().unwrap();
        (outcome, self.notes.0.lock().unwrap().clone())
    }

    /// The VMM is stopped as asked; gives the outcome.
    pub fn stops(mut self) -> (Outcome, Vec<String>) {
        self.asked_to_stop();
        self.vmm_ends(Some(ExitReason::Stopped));
        self.outcome()
    }
}
