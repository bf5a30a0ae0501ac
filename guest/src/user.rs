//! Who a process runs as: Docker's `-u`, resolved with the container's own `/etc/passwd` and `/etc/group`.

use hull_protocol::FailureKind;

use crate::failure::Failure;

/// Larger files than this are cut off: a user behind that is not found.
pub const LONGEST_FILE: usize = 1 << 20;

/// Highest number of a user or group, as Docker has it.
const HIGHEST_ID: u32 = i32::MAX as u32;

/// A user as the kernel wants it; root by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All groups, the main one first.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Resolves `name`, `uid`, `name:group`, `uid:gid` or nothing, which is root. A number is always a number, even if a user is
/// called so; one without an entry is taken as it is, a name without is an error.
///
/// # Errors
/// With Docker's words.
pub fn resolve(wanted: &str, passwd: &[u8], group: &[u8]) -> Result<User, Failure> {
    let (user, wanted_group) = wanted.split_once(':').unwrap_or((wanted, ""));
    let number = if user.is_empty() { Some(0) } else { number(user)? };
    let entry = lines(passwd).filter_map(PasswdEntry::parse).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user.as_bytes(),
    });
    let (uid, mut gid, home, name) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, lossy(entry.home), Some(entry.name)),
        (None, Some(uid)) => (uid, 0, "/".to_owned(), None),
        (None, None) => return Err(unknown("user", user, "passwd")),
    };

    let mut further = Vec::new();
    if wanted_group.is_empty() {
        let member_of = |name| lines(group).filter_map(GroupEntry::parse).filter(move |g| g.has_member(name));
        further.extend(name.into_iter().flat_map(member_of).map(|group| group.gid));
    } else {
        gid = group_id(wanted_group, group)?;
    }
    let mut groups = vec![gid];
    for gid in further {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    Ok(User { uid, gid, groups, home: if home.is_empty() { "/".to_owned() } else { home } })
}

impl User {
    /// Puts the user into further groups, by name or number.
    ///
    /// # Errors
    /// With Docker's words.
    pub fn join(&mut self, wanted: &[String], group: &[u8]) -> Result<(), Failure> {
        for name in wanted {
            let gid = group_id(name, group)?;
            if !self.groups.contains(&gid) {
                self.groups.push(gid);
            }
        }
        Ok(())
    }
}

/// The number of a group.
fn group_id(name: &str, group: &[u8]) -> Result<u32, Failure> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    let found = lines(group).filter_map(GroupEntry::parse).find(|entry| entry.name == name.as_bytes());
    Ok(found.ok_or_else(|| unknown("group", name, "group"))?.gid)
}

/// The text as a number, if it is one.
fn number(text: &str) -> Result<Option<u32>, Failure> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number <= HIGHEST_ID => Ok(Some(number)),
        _ => Err(Failure::invalid(format!("uids and gids must be in range 0-{HIGHEST_ID}"))),
    }
}

fn unknown(what: &str, name: &str, file: &str) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        message: format!("unable to find {what} {name}: no matching entries in {file} file"),
    }
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl<'a> PasswdEntry<'a> {
    /// `name:password:uid:gid:comment:home:shell`, see passwd(5); fields that lack at the end are empty.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

struct GroupEntry<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl<'a> GroupEntry<'a> {
    /// `name:password:gid:members`, see group(5).
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }

    fn has_member(&self, name: &[u8]) -> bool {
        self.members.split(|byte| *byte == b',').any(|member| member.trim_ascii() == name)
    }
}

/// The lines of such a file, without blank ones and comments.
fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

fn id(field: &[u8]) -> Option<u32> {
    str::from_utf8(field).ok()?.parse().ok().filter(|id| *id <= HIGHEST_ID)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "user_test.rs"]
mod tests;
