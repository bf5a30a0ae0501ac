//! `hull top`: the processes of the container, as `ps -ef` shows them.

use std::fs;
use std::io::Write;

use crate::{Result, output};

/// Ticks of the kernel's clock in a second, as it tells processes (`USER_HZ`).
const TICKS: u64 = 100;

/// A process, as `/proc/PID/stat` (proc(5)) and its neighbours have it.
struct Process {
    pid: u32,
    parent: u32,
    uid: u32,
    name: String,
    arguments: String,
    terminal: u32,
    ticks: u64,
    start: u64,
    state: char,
    threads: u32,
    nice: i32,
    virtual_bytes: u64,
    resident_kib: u64,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let file = |name| fs::read(format!("/proc/{pid}/{name}")).ok();
        let stat = String::from_utf8_lossy(&file("stat")?).into_owned();
        // The name may have anything in it, also brackets.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let status = String::from_utf8_lossy(&file("status")?).into_owned();
        let uid =
            status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?;
        let arguments = file("cmdline").unwrap_or_default();
        let arguments: Vec<_> = arguments.split(|byte| *byte == 0).filter(|it| !it.is_empty()).collect();
        let shown = String::from_utf8_lossy(&arguments.join(&b' ')).replace(|it: char| it.is_control(), "?");
        Some(Self {
            pid,
            parent: number(1)? as u32,
            uid: uid.parse().ok()?,
            arguments: if shown.is_empty() { format!("[{name}]") } else { shown },
            name: name.to_owned(),
            terminal: number(4)? as u32,
            ticks: number(11)? + number(12)?,
            start: number(19)?,
            state: fields.first()?.chars().next()?,
            threads: number(17)? as u32,
            nice: fields.get(16)?.parse().ok()?,
            virtual_bytes: number(20)?,
            resident_kib: number(21)? * 4,
        })
    }

    fn terminal(&self) -> String {
        match (self.terminal >> 8 & 0xfff, self.terminal & 0xff) {
            (0, 0) => "?".to_owned(),
            (136, minor) => format!("pts/{minor}"),
            (major, minor) => format!("{major}:{minor}"),
        }
    }

    fn seconds(&self) -> u64 {
        self.ticks / TICKS
    }

    /// What a column shows of it.
    fn column(&self, column: &str, uptime: u64, user: &str) -> Option<String> {
        let clock =
            |seconds: u64| format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let age = uptime.saturating_sub(self.start / TICKS);
        Some(match column {
            "pid" | "tgid" => self.pid.to_string(),
            "ppid" => self.parent.to_string(),
            "uid" | "euid" => self.uid.to_string(),
            "user" | "euser" | "uname" => user.to_owned(),
            "comm" | "ucmd" | "ucomm" => self.name.clone(),
            "cmd" | "args" | "command" => self.arguments.clone(),
            "tty" | "tt" | "tname" => self.terminal(),
            "time" | "cputime" => clock(self.seconds()),
            "etime" => clock(age),
            "etimes" => age.to_string(),
            "stime" | "start" => clock(self.start / TICKS),
            "c" | "pcpu" | "%cpu" => (self.seconds() * 100 / age.max(1)).to_string(),
            "s" | "stat" | "state" => self.state.to_string(),
            "nlwp" | "thcount" => self.threads.to_string(),
            "ni" | "nice" => self.nice.to_string(),
            "vsz" | "vsize" => (self.virtual_bytes >> 10).to_string(),
            "rss" | "rssize" | "rsz" => self.resident_kib.to_string(),
            _ => return None,
        })
    }
}

/// Columns for these options of `ps`: name of what is shown, and its title.
fn columns(options: &[&str]) -> Result<Vec<(String, String)>> {
    let list = |text: &str| -> Vec<(String, String)> {
        let columns = text.split([',', ' ']).filter(|column| !column.is_empty());
        columns
            .map(|column| match column.split_once('=') {
                Some((column, title)) => (column.to_owned(), title.to_owned()),
                None => (column.to_owned(), column.to_uppercase()),
            })
            .collect()
    };
    match options {
        [] | ["-ef"] => {
            let mut columns = list("user=UID,pid,ppid,c,stime,tty,time,cmd");
            columns[0].1 = "UID".to_owned();
            Ok(columns)
        }
        ["aux"] => Ok(list("user,pid,%cpu,vsz,rss,tty,stat,start,time,command")),
        ["-o" | "-eo" | "o", columns] => Ok(list(columns)),
        [one] if one.starts_with("-o") && one.len() > 2 => Ok(list(&one[2..])),
        _ => Err(format!("ps: {options:?}: hull knows -ef, aux and -o COLUMN,…")),
    }
}

/// Writes a table of the processes, its columns apart by tabulators: nobody here knows how wide they are shown.
pub fn top(options: &[&str]) -> Result<()> {
    let columns = columns(options)?;
    let error = |error: std::io::Error| error.to_string();
    let uptime = fs::read_to_string("/proc/uptime").map_err(error)?;
    let uptime = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name_of = |uid: u32| {
        let uid = uid.to_string();
        let line = users.lines().find(|line| line.split(':').nth(2) == Some(&uid));
        line.and_then(|line| line.split(':').next()).map_or(uid.clone(), str::to_owned)
    };
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .map_err(error)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .collect();
    pids.sort_unstable();
    let mut output = output()?;
    let titles: Vec<&str> = columns.iter().map(|(_, title)| &**title).collect();
    writeln!(output, "{}", titles.join("\t")).map_err(error)?;
    for process in pids.into_iter().filter_map(Process::read) {
        let user = name_of(process.uid);
        let mut cells = Vec::new();
        for (column, _) in &columns {
            let cell = process.column(column, uptime, &user);
            cells.push(
                cell.ok_or_else(|| format!("ps: error: unknown user-defined format specifier \"{column}\""))?,
            );
        }
        writeln!(output, "{}", cells.join("\t").replace('\n', "?")).map_err(error)?;
    }
    output.flush().map_err(error)
}
