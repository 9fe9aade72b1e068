//! The table of changes to a config.json, with programs that show their effect in the container.

use super::Deviation;
use super::deviations::*;

/// The change, the program in the container (words in capitals stand for `PROBES`), and the intended differences.
type Row = (&'static str, &'static str, &'static [Deviation]);

/// Programs that several rows use, by the word that stands for them.
pub(crate) const PROBES: [(&str, &str); 3] = [
    ("STATUS", "grep -E '^(Uid|Gid|Groups|Umask|Cap...|NoNewPrivs|Seccomp):' /proc/self/status"),
    // Mount points, options, propagation, types and sources, without the numbers of mounts, devices and peer groups.
    (
        "MOUNTS",
        "cut -d' ' -f4- /proc/self/mountinfo | sed -E 's/(shared|master|propagate_from):[0-9]+/\\1/g; s/inode64.*//'",
    ),
    ("LIMITS", "cat /proc/self/limits"),
];

#[rustfmt::skip]
pub(crate) const ROWS: [Row; 245] = [
    (r"{}", "STATUS", NONE),
    (r"{}", "MOUNTS", MOUNTS),
    (r"{}", "LIMITS", NONE),
    (r"{}", "ls -l /dev | tr -s ' ' | cut -d' ' -f1-6,10-", NONE),
    (r"{}", "env; pwd; hostname; umask; id", NONE),
    (r"{}", "cat /proc/sys/kernel/hostname; ls /proc/self/fd; cat /proc/self/oom_score_adj", NONE),
    (r"{}", "cat /proc/self/cgroup | sed 's/[a-z]*$//'; ls /sys/fs/cgroup", NONE),
    (r"{}", "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"process":{"user":{"uid":1000,"gid":1000}}}"#, "STATUS", NONE),
    (r#"{"process":{"user":{"uid":1000,"gid":1000,"additionalGids":[5,6]}}}"#, "id", NONE),
    (r#"{"process":{"user":{"umask":63}}}"#, "umask; touch /dev/x; stat -c %a /dev/x", NONE),
    (r#"{"process":{"user":{"umask":0}}}"#, "umask", NONE),
    (r#"{"process":{"user":{"uid":-1}}}"#, "id", &[
        but("json: cannot unmarshal number -1 into Go struct field User.process.user.uid of type uint32", "invalid value: integer `-1`, expected u32", WORDS_OF_JSON),
    ]),
    (r#"{"process":{"user":{"uid":4294967295}}}"#, "id", &[
        but("unable to setup user: uids and gids must be in range 0-2147483647", "error during container init: unable to setup user: cannot setuid to unmapped uid 4294967295 in user namespace", NEWER),
    ]),
    (r#"{"process":{"user":{"uid":"x"}}}"#, "id", &[
        but("json: cannot unmarshal string into Go struct field User.process.user.uid of type uint32", r#"invalid type: string \"x\", expected u32"#, WORDS_OF_JSON),
    ]),
    (r#"{"process":{"user":{"username":"user"}}}"#, "id", NONE),
    (r#"{"process":{"user":"REMOVE"}}"#, "id", NONE),
    (r#"{"process":{"cwd":"/tmp"}}"#, "pwd", NONE),
    (r#"{"process":{"cwd":"tmp"}}"#, "pwd", NONE),
    (r#"{"process":{"cwd":""}}"#, "pwd", NONE),
    (r#"{"process":{"cwd":"REMOVE"}}"#, "pwd", NONE),
    (r#"{"process":{"cwd":"/new/folder"},"root":{"readonly":false}}"#, "pwd; stat -c '%a %u' /new /new/folder", NONE),
    (r#"{"process":{"cwd":"/new/folder"}}"#, "pwd", NONE),
    (r#"{"process":{"cwd":"/etc/passwd"}}"#, "pwd", &[
        but("mkdir /etc/passwd: not a directory", r#"chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory"#, WORDS),
    ]),
    (r#"{"process":{"cwd":"/proc/self/fd/77"}}"#, "pwd", NONE),
    (r#"{"process":{"args":[]}}"#, "", NONE),
    (r#"{"process":{"args":"REMOVE"}}"#, "", NONE),
    (r#"{"process":{"args":null}}"#, "", NONE),
    (r#"{"process":{"args":"sh"}}"#, "", &[
        but("json: cannot unmarshal string into Go struct field Process.process.args of type []string", r#"invalid type: string \"sh\", expected a sequence"#, WORDS_OF_JSON),
    ]),
    (r#"{"process":{"args":[""]}}"#, "", &[
        but(r#"exec: \"\": executable file not found in $PATH"#, r#"error during container init: exec: \"\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"process":{"args":["sh","-c","echo $0 $1","a","b"]}}"#, "", NONE),
    (r#"{"process":{"args":["bin/echo","x"]}}"#, "", NONE),
    (r#"{"process":{"args":["./bin/echo","x"]}}"#, "", NONE),
    (r#"{"process":{"args":["nosuch"]}}"#, "", &[
        but(r#"exec: \"nosuch\": executable file not found in $PATH"#, r#"error during container init: exec: \"nosuch\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"process":{"args":["/nosuch"]}}"#, "", &[
        but(r#"exec: \"/nosuch\": stat /nosuch: no such file or directory"#, r#"error during container init: exec: \"/nosuch\": stat /nosuch: no such file or directory"#, NEWER),
    ]),
    (r#"{"process":{"args":["/bin"]}}"#, "", &[
        but(r#"exec: \"/bin\": permission denied"#, r#"error during container init: exec: \"/bin\": is a directory"#, NEWER),
    ]),
    (r#"{"process":{"args":["/etc/passwd"]}}"#, "", &[
        but(r#"exec: \"/etc/passwd\": permission denied"#, r#"error during container init: exec: \"/etc/passwd\": permission denied"#, NEWER),
    ]),
    (r#"{"process":{"env":[]}}"#, "env", &[
        but(r#"exec: \"sh\": executable file not found in $PATH"#, r#"error during container init: exec: \"sh\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"process":{"env":"REMOVE"}}"#, "env", &[
        but(r#"exec: \"sh\": executable file not found in $PATH"#, r#"error during container init: exec: \"sh\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"process":{"env":["PATH=/nosuch"]}}"#, "env", &[
        but(r#"exec: \"sh\": executable file not found in $PATH"#, r#"error during container init: exec: \"sh\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"process":{"env":["PATH=/nosuch"],"args":["echo","x"]}}"#, "", &[
        but(r#"exec: \"echo\": executable file not found in $PATH"#, r#"error during container init: exec: \"echo\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"process":{"env":["PATH="],"args":["echo","x"]}}"#, "", &[
        but(r#"exec: \"echo\": executable file not found in $PATH"#, r#"error during container init: exec: \"echo\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"process":{"env":["A=1","PATH=/bin","A=2","B="]}}"#, "env", NONE),
    (r#"{"process":{"env":["NOEQUALS","PATH=/bin"]}}"#, "env", &[
        but(r#"variable: \"NOEQUALS\""#, "variable: missing '='", NEWER),
    ]),
    (r#"{"process":{"env":["=x","PATH=/bin"]}}"#, "env", &[
        but(r#"environment variable name can't be empty: \"=x\""#, "invalid environment variable: name cannot be empty", NEWER),
    ]),
    (r#"{"process":{"env":["HOME=/x","PATH=/bin"]}}"#, "env", NONE),
    (r#"{"process":{"env":["HOME=","PATH=/bin"]}}"#, "env", NONE),
    (r#"{"process":{"env":"x"}}"#, "env", &[
        but("json: cannot unmarshal string into Go struct field Process.process.env of type []string", r#"invalid type: string \"x\", expected a sequence"#, WORDS_OF_JSON),
    ]),
    (r#"{"process":{"terminal":true}}"#, "tty", NONE),
    (r#"{"process":{"terminal":"x"}}"#, "tty", &[
        but("json: cannot unmarshal string into Go struct field Process.process.terminal of type bool", r#"invalid type: string \"x\", expected a boolean"#, WORDS_OF_JSON),
    ]),
    (r#"{"process":{"consoleSize":{"height":10,"width":20}}}"#, "echo x", NONE),
    (r#"{"process":{"noNewPrivileges":true}}"#, "STATUS", NONE),
    (r#"{"process":{"noNewPrivileges":false}}"#, "STATUS", NONE),
    (r#"{"process":{"noNewPrivileges":"REMOVE"}}"#, "STATUS", NONE),
    (r#"{"process":{"oomScoreAdj":500}}"#, "cat /proc/self/oom_score_adj", NONE),
    (r#"{"process":{"oomScoreAdj":0}}"#, "cat /proc/self/oom_score_adj", NONE),
    (r#"{"process":{"oomScoreAdj":"x"}}"#, "cat /proc/self/oom_score_adj", &[
        but("json: cannot unmarshal string into Go struct field Process.process.oomScoreAdj of type int", r#"invalid type: string \"x\", expected i32"#, WORDS_OF_JSON),
    ]),
    (r#"{"process":{"rlimits":[{"type":"RLIMIT_NOFILE","soft":100,"hard":200},{"type":"RLIMIT_CORE","soft":0,"hard":0}]}}"#, "LIMITS", NONE),
    (r#"{"process":{"rlimits":[{"type":"RLIMIT_STACK","soft":4194304,"hard":8388608},{"type":"RLIMIT_AS","soft":1073741824,"hard":2147483648},{"type":"RLIMIT_CPU","soft":100,"hard":200}]}}"#, "LIMITS", NONE),
    (r#"{"process":{"rlimits":[{"type":"RLIMIT_NOSUCH","soft":1,"hard":1}]}}"#, "LIMITS", NONE),
    (r#"{"process":{"rlimits":[{"type":"RLIMIT_NOFILE","soft":200,"hard":100}]}}"#, "LIMITS", NONE),
    (r#"{"process":{"rlimits":[{"type":"RLIMIT_NOFILE","soft":64,"hard":64},{"type":"RLIMIT_NOFILE","soft":32,"hard":32}]}}"#, "LIMITS", NONE),
    (r#"{"process":{"rlimits":[]}}"#, "LIMITS", NONE),
    (r#"{"process":{"rlimits":"REMOVE"}}"#, "LIMITS", NONE),
    (r#"{"process":{"capabilities":"REMOVE"}}"#, "STATUS", NONE),
    (r#"{"process":{"capabilities":{}}}"#, "STATUS", NONE),
    (r#"{"process":{"capabilities":{"bounding":[],"effective":[],"permitted":[],"inheritable":[],"ambient":[]}}}"#, "STATUS", NONE),
    (r#"{"process":{"capabilities":{"bounding":["CAP_CHOWN"],"effective":["CAP_CHOWN"],"permitted":["CAP_CHOWN"],"inheritable":["CAP_CHOWN"],"ambient":["CAP_CHOWN"]},"user":{"uid":1000,"gid":1000}}}"#, "STATUS", NONE),
    (r#"{"process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_NOSUCH"]}}}"#, "STATUS", NONE),
    (r#"{"process":{"capabilities":{"bounding":["chown"]}}}"#, "STATUS", NONE),
    (r#"{"process":{"capabilities":{"bounding":[7]}}}"#, "STATUS", &[
        but("json: cannot unmarshal number into Go struct field LinuxCapabilities.process.capabilities.bounding of type string", "invalid type: integer `7`, expected a string", WORDS_OF_JSON),
    ]),
    (r#"{"process":{"capabilities":{"ambient":["CAP_SYS_ADMIN"]}}}"#, "STATUS", NONE),
    (r#"{"process":{"capabilities":{"inheritable":["CAP_KILL"],"ambient":["CAP_KILL","CAP_SYS_ADMIN"]}}}"#, "STATUS", &[
        but("--- stderr\n", "--- stderr\ntime=\"TIME\" level=warning msg=\"can't raise ambient capability CAP_SYS_ADMIN: operation not permitted\"\n", NEWER),
    ]),
    (r#"{"process":"REMOVE"}"#, "", NONE),
    (r#"{"process":null}"#, "", NONE),
    (r#"{"process":[]}"#, "", &[
        but("json: cannot unmarshal array into Go struct field Spec.process of type specs.Process", "process must be an object", WORDS_OF_JSON),
    ]),
    (r#"{"root":"REMOVE"}"#, "", NONE),
    (r#"{"root":{"path":"nosuch"}}"#, "echo x", NONE),
    (r#"{"root":{"path":""}}"#, "echo x", &[
        but(r#"exec: \"sh\": executable file not found in $PATH"#, r#"error during container init: exec: \"sh\": executable file not found in $PATH"#, NEWER),
    ]),
    (r#"{"root":{"path":"./rootfs/"}}"#, "echo x", NONE),
    (r#"{"root":{"path":"/"}}"#, "echo x", &[
        but_on_1("stat /sys/fs/cgroup/cpu/ID: no such file or directory", "open_tree /sys/fs/cgroup/cpu/ID: no such file or directory", WORDS),
    ]),
    (r#"{"root":{"path":"config.json"}}"#, "echo x", &[
        but("unable to start init: fork/exec /proc/self/exe: not a directory", "error during container init: open rootfs handle: open BUNDLE/config.json: not a directory", WORDS),
    ]),
    (r#"{"root":{"readonly":false}}"#, "touch /x; echo $?; MOUNTS", MOUNTS),
    (r#"{"root":{"readonly":true}}"#, "touch /x; echo $?", NONE),
    (r#"{"hostname":"box"}"#, "hostname", NONE),
    (r#"{"hostname":""}"#, "hostname | wc -l", NONE),
    (r#"{"hostname":"REMOVE"}"#, "cat /proc/sys/kernel/hostname | wc -l", NONE),
    (r#"{"hostname":"box","linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"network"}]}}"#, "hostname", NONE),
    (r#"{"ociVersion":"1.0.0"}"#, "echo x", NONE),
    (r#"{"ociVersion":"1.1.0"}"#, "echo x", NONE),
    (r#"{"ociVersion":"1.0"}"#, "echo x", NONE),
    (r#"{"ociVersion":"REMOVE"}"#, "echo x", NONE),
    (r#"{"ociVersion":"3.0.0"}"#, "echo x", NONE),
    (r#"{"ociVersion":1}"#, "echo x", &[
        but("json: cannot unmarshal number into Go struct field Spec.ociVersion of type string", "invalid type: integer `1`, expected a string", WORDS_OF_JSON),
    ]),
    (r#"{"nosuch":1,"process":{"nosuch":[1]},"linux":{"nosuch":{}}}"#, "echo x", NONE),
    (r#"{"annotations":{"a.b":"c"}}"#, "echo x", NONE),
    (r#"{"annotations":{"a.b":1}}"#, "echo x", &[
        but("json: cannot unmarshal number into Go struct field Spec.annotations of type string", "invalid type: integer `1`, expected a string", WORDS_OF_JSON),
    ]),
    (r#"{"annotations":null,"hooks":null,"mounts":null}"#, "ls /proc", &[
        but("exit status: 1", "exit status: 0", NO_PROC),
        but("time=\"TIME\" level=error msg=\"runc run failed: unable to start container process: error closing exec fds: open /proc/self/fd: no such file or directory\"\n", "", NO_PROC),
    ]),
    (r#"{"mounts":[]}"#, "ls /proc; ls /dev | grep -v core | sort", &[
        but("exit status: 1", "exit status: 0", NO_PROC),
        but("--- stdout\n", "--- stdout\nfd\nfull\nnull\nptmx\nrandom\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n", NO_PROC),
        but("time=\"TIME\" level=error msg=\"runc run failed: unable to start container process: error closing exec fds: open /proc/self/fd: no such file or directory\"\n", "", NO_PROC),
    ]),
    (r#"{"mounts":"x"}"#, "echo x", &[
        but("json: cannot unmarshal string into Go struct field Spec.mounts of type []specs.Mount", r#"invalid type: string \"x\", expected a sequence"#, WORDS_OF_JSON),
    ]),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs"}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["size=1m","mode=0700","nosuid","nodev","noexec"]}]}"#, "MOUNTS; stat -c %a /mnt", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["ro","relatime"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["noatime","uid=5","gid=6"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/etc","type":"tmpfs","source":"tmpfs","options":["tmpcopyup"]}]}"#, "ls -l /etc | cut -c1-10; cat /etc/passwd; MOUNTS", &[
        CGROUP,
        but("/ /etc rw,relatime - tmpfs tmpfs rw", "/ /etc rw,relatime - tmpfs tmpfs rw,mode=755", NEWER),
        ACPI,
        FIRMWARE,
    ]),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["nosuch=1"]}]}"#, "MOUNTS", &[
        but("tmpfs:/mnt (via /proc/self/fd/FD), data: nosuch=1: invalid argument", "src=tmpfs, dst=/mnt, dstFd=/proc/self/fd/FD, flags=0x0, data=nosuch=1: invalid argument", WORDS),
    ]),
    (r#"{"+mounts":[{"destination":"/mnt","type":"nosuch","source":"x"}]}"#, "MOUNTS", &[
        but("x:/mnt (via /proc/self/fd/FD): no such device", "src=x, dst=/mnt, dstFd=/proc/self/fd/FD, flags=0x0, data=: no such device", WORDS),
    ]),
    (r#"{"+mounts":[{"destination":"mnt","type":"tmpfs","source":"tmpfs"}]}"#, "MOUNTS", &[
        CGROUP,
        ACPI,
        FIRMWARE,
        but("time=\"TIME\" level=warning msg=\"invalid configuration\" error=\"invalid mount &{Source:tmpfs Destination:mnt Device:tmpfs Flags:0 PropagationFlags:[] Data: Relabel: RecAttr:<nil> Extensions:0 PremountCmds:[] PostmountCmds:[]}: mount destination not absolute\"\n", "", WORDS),
    ]),
    (r#"{"+mounts":[{"type":"tmpfs","source":"tmpfs"}]}"#, "MOUNTS", &[
        but("time=\"TIME\" level=warning msg=\"mount destination  is not absolute. Support for non-absolute mount destinations will be removed in a future release.\"\ntime=\"TIME\" level=warning msg=\"invalid configuration\" error=\"invalid mount &{Source:tmpfs Destination: Device:tmpfs Flags:0 PropagationFlags:[] Data: Relabel: RecAttr:<nil> Extensions:0 PremountCmds:[] PostmountCmds:[]}: mount destination not absolute\"\ntime=\"TIME\" level=error msg=\"runc run failed: unable to start container process: error closing exec fds: open /proc/self/fd: no such file or directory\"\n", "time=\"TIME\" level=error msg=\"runc run failed: missing field `destination`\"\n", WORDS_OF_JSON),
    ]),
    (r#"{"+mounts":[{"destination":"/mnt","source":"/usr/share/doc","options":["bind"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["shared"]},{"destination":"/mnt/x","type":"tmpfs","source":"tmpfs","options":["private"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["shared"]},{"destination":"/mnt/x","source":"/usr/share/doc","options":["bind","private"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["shared"]},{"destination":"/mnt/x","type":"tmpfs","source":"tmpfs"}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["shared","slave","noatime","nodiratime","noexec","nosuid","nodev","sync","size=64k","mode=1700"]}]}"#, "MOUNTS; stat -c %a /mnt", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["rslave","ro","strictatime","lazytime","nr_inodes=10"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"tmpfs","source":"tmpfs","options":["rslave","nosuch=1"]}]}"#, "MOUNTS", &[
        but("tmpfs:/mnt (via /proc/self/fd/FD), data: nosuch=1: invalid argument", "src=tmpfs, dst=/mnt, dstFd=/proc/self/fd/FD, flags=0x0, data=nosuch=1: invalid argument", WORDS),
    ]),
    (r#"{"+mounts":[{"destination":"/etc","type":"tmpfs","source":"tmpfs","options":["tmpcopyup","noexec","mode=750","private"]}]}"#, "MOUNTS; ls -l /etc | tr -s ' ' | cut -d' ' -f1-5,9; stat -c %a /etc", &[
        CGROUP,
        ACPI,
        FIRMWARE,
        but("755\n--- stderr", "750\n--- stderr", NEWER),
    ]),
    (r#"{"+mounts":[{"destination":"/mnt","type":"mqueue","source":"mqueue","options":["unbindable","noexec"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","source":"/usr/share/doc","options":["rbind","ro"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","source":"/usr/share/doc","options":["bind","ro","nosuid","nodev","noexec","noatime"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","source":"/usr/share/doc","options":["bind","rshared"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","source":"/usr/share/doc","options":["bind","rslave"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","source":"/usr/share/doc","options":["rbind","rprivate","unbindable"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/mnt","type":"bind","source":"/usr/share/doc","options":["rw"]}]}"#, "echo x", &[
        but("exit status: 1", "exit status: 0", BIND_BY_TYPE),
        but("--- stdout\n", "--- stdout\nx\n", BIND_BY_TYPE),
        but("time=\"TIME\" level=error msg=\"runc run failed: unable to start container process: error during container init: error mounting \\\"/usr/share/doc\\\" to rootfs at \\\"/mnt\\\": mount /usr/share/doc:/mnt (via /proc/self/fd/FD): no such device\"\n", "", BIND_BY_TYPE),
    ]),
    (r#"{"+mounts":[{"destination":"/mnt","type":"bind","source":"rootfs/etc","options":["bind"]}]}"#, "ls /mnt", NONE),
    (r#"{"+mounts":[{"destination":"/mnt/file","source":"/etc/hostname","options":["bind"]}]}"#, "stat -c %F /mnt/file", NONE),
    (r#"{"+mounts":[{"destination":"/etc/passwd","source":"/etc/group","options":["bind","ro"]}]}"#, "head -n1 /etc/passwd", NONE),
    (r#"{"+mounts":[{"destination":"/etc/passwd","source":"/etc","options":["bind","ro"]}]}"#, "head -n1 /etc/passwd", &[
        but("/etc:/etc/passwd (via /proc/self/fd/FD), flags: 0x1001: not a directory", "src=/etc, dst=/etc/passwd, flags=MS_BIND: not a directory", WORDS),
    ]),
    (r#"{"+mounts":[{"destination":"/mnt","source":"/nosuch","options":["bind"]}]}"#, "echo x", &[
        but("stat /nosuch: no such file or directory", "open_tree /nosuch: no such file or directory", WORDS),
    ]),
    (r#"{"+mounts":[{"destination":"/proc/x","source":"/etc","options":["bind"]}]}"#, "echo x", &[
        but(r#"\"BUNDLE/rootfs/proc/x\" cannot be mounted because it is inside /proc"#, "create mountpoint for /proc/x mount: no such file or directory", WORDS),
    ]),
    (r#"{"+mounts":[{"destination":"/proc/sys/x","source":"/etc/hostname","options":["bind"]}]}"#, "echo x", &[
        but(r#"\"BUNDLE/rootfs/proc/sys/x\" cannot be mounted because it is inside /proc"#, "create mountpoint for /proc/sys/x mount: no such file or directory", WORDS),
    ]),
    (r#"{"+mounts":[{"destination":"/sys/kernel","source":"/etc","options":["bind"]}]}"#, "MOUNTS", MOUNTS),
    (r#"{"+mounts":[{"destination":"/../../mnt","type":"tmpfs","source":"tmpfs"}]}"#, "MOUNTS", MOUNTS),
    (r#"{"linux":{"namespaces":[]}}"#, "echo x", NONE),
    (r#"{"linux":{"namespaces":"REMOVE"}}"#, "echo x", NONE),
    (r#"{"linux":{"namespaces":[{"type":"mount"}]}}"#, "echo x", NONE),
    (r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}]}}"#, "ls /proc/sys/net/ipv4 | wc -l >/dev/null; echo $$", NONE),
    (r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/nosuch"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}]}}"#, "echo x", &[
        but("unable to create new parent process: namespace path: lstat /nosuch: no such file or directory", "failed to open namespace net: open /nosuch: no such file or directory", WORDS),
    ]),
    (r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"pid"},{"type":"mount"}]}}"#, "echo x", NONE),
    (r#"{"linux":{"namespaces":[{"type":"nosuch"},{"type":"mount"}]}}"#, "echo x", NONE),
    (r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}]}}"#, "cat /proc/self/cgroup; MOUNTS", &[
        CGROUP,
        but_on_1("/ /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime - cgroup systemd rw,name=systemd", "/ /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,name=systemd", ONE_SOURCE),
        ACPI,
        FIRMWARE,
    ]),
    (r#"{"linux":{"+namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],"gidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}}"#, "cat /proc/self/uid_map /proc/self/gid_map; STATUS", NONE),
    (r#"{"linux":{"+namespaces":[{"type":"user"}]}}"#, "echo x", &[
        but("User namespaces enabled, but no uid mappings found.", "user namespaces enabled, but no namespace path to join nor mappings to apply specified", UNUSED_MAPPINGS),
    ]),
    (r#"{"linux":{"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}}"#, "echo x", &[
        but("exit status: 0\n--- stdout\nx\n--- stderr\n", "exit status: 1\n--- stdout\n--- stderr\ntime=\"TIME\" level=error msg=\"runc run failed: user namespace mappings specified, but user namespace isn't enabled in the config\"\n", UNUSED_MAPPINGS),
    ]),
    (r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1","kernel.msgmax":"65536"}}}"#, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", NONE),
    (r#"{"linux":{"sysctl":{"kernel.nosuch":"1"}}}"#, "echo x", NONE),
    (r#"{"linux":{"sysctl":{"net.nosuch":"1"}}}"#, "echo x", NONE),
    (r#"{"linux":{"sysctl":{"vm.swappiness":"1"}}}"#, "echo x", NONE),
    (r#"{"linux":{"sysctl":{"net/ipv4/ip_forward":"1"}}}"#, "cat /proc/sys/net/ipv4/ip_forward", NONE),
    (r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":1}}}"#, "echo x", &[
        but("json: cannot unmarshal number into Go struct field Linux.linux.sysctl of type string", "invalid type: integer `1`, expected a string", WORDS_OF_JSON),
    ]),
    (r#"{"linux":{"sysctl":{"kernel.hostname":"x"}}}"#, "hostname", NONE),
    (r#"{"linux":{"sysctl":{"kernel.domainname":"x"}}}"#, "cat /proc/sys/kernel/domainname", NONE),
    (r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"},"namespaces":[{"type":"pid"},{"type":"mount"}]}}"#, "echo x", NONE),
    (r#"{"linux":{"maskedPaths":["/etc/passwd","/bin/../etc","/nosuch"],"readonlyPaths":[]}}"#, "MOUNTS", &[
        CGROUP,
        but("/ /etc ro,relatime - tmpfs tmpfs ro", "/ /etc ro,relatime - tmpfs tmpfs ro,size=4k,nr_inodes=1", EMPTY_MASK),
    ]),
    (r#"{"linux":{"maskedPaths":[],"readonlyPaths":["/tmp","/nosuch"]},"root":{"readonly":false}}"#, "MOUNTS", CGROUPS),
    (r#"{"linux":{"maskedPaths":["etc"]}}"#, "MOUNTS", &[
        CGROUP,
        but("/ /etc ro,relatime - tmpfs tmpfs ro", "/ /etc ro,relatime - tmpfs tmpfs ro,size=4k,nr_inodes=1", EMPTY_MASK),
    ]),
    (r#"{"linux":{"maskedPaths":"REMOVE","readonlyPaths":"REMOVE"}}"#, "MOUNTS", CGROUPS),
    (r#"{"linux":{"maskedPaths":[""]}}"#, "MOUNTS", CGROUPS),
    (r#"{"linux":{"readonlyPaths":[""]}}"#, "MOUNTS", MOUNTS),
    (r#"{"linux":{"maskedPaths":null,"readonlyPaths":null}}"#, "MOUNTS", CGROUPS),
    (r#"{"linux":{"rootfsPropagation":"private"}}"#, "MOUNTS", MOUNTS),
    (r#"{"linux":{"rootfsPropagation":"slave"}}"#, "MOUNTS", &[
        CGROUP, ACPI, FIRMWARE,
        but("/rootfs / ro,relatime -", "/rootfs / ro,relatime master -", NEWER),
    ]),
    (r#"{"linux":{"rootfsPropagation":"rslave"}}"#, "MOUNTS", MOUNTS),
    (r#"{"linux":{"rootfsPropagation":"nosuch"}}"#, "echo x", NONE),
    (r#"{"linux":{"devices":[{"path":"/dev/x","type":"c","major":1,"minor":3,"fileMode":432,"uid":5,"gid":6}]}}"#, "ls -l /dev/x | tr -s ' ' | cut -d' ' -f1-6; echo x >/dev/x; echo $?", NONE),
    (r#"{"linux":{"devices":[{"path":"/dev/x","type":"c","major":1,"minor":3}]}}"#, "ls -l /dev/x | tr -s ' ' | cut -d' ' -f1-6", NONE),
    (r#"{"linux":{"devices":[{"path":"/dev/b","type":"b","major":7,"minor":0,"fileMode":432},{"path":"/dev/p","type":"p","fileMode":384},{"path":"/dev/u","type":"u","major":1,"minor":5}]}}"#, "ls -l /dev/b /dev/p /dev/u | tr -s ' ' | cut -d' ' -f1-5", NONE),
    (r#"{"linux":{"devices":[{"path":"/dev/x","type":"a","major":1,"minor":3}]}}"#, "echo x", NONE),
    (r#"{"linux":{"devices":[{"path":"/dev/x","type":"q","major":1,"minor":3}]}}"#, "echo x", NONE),
    (r#"{"linux":{"devices":[{"path":"x","type":"c","major":1,"minor":3}]}}"#, "ls -l /x /dev/x", NONE),
    (r#"{"linux":{"devices":[{"path":"/dev/null","type":"c","major":1,"minor":5}]}}"#, "ls -l /dev/null | tr -s ' ' | cut -d' ' -f1-6", &[
        but("exit status: 0", "exit status: 1", NEWER),
        but("crw-rw-rw- 1 root 0 1, 5\n", "", NEWER),
        but("--- stderr\n", "--- stderr\ntime=\"TIME\" level=error msg=\"runc run failed: unable to start container process: error during container init: error reopening /dev/null inside container: can't reopen /dev/null: container's /dev/null is invalid\"\n", NEWER),
    ]),
    (r#"{"linux":{"devices":[{"path":"/dev/sub/x","type":"c","major":1,"minor":3}]}}"#, "ls -l /dev/sub/x | tr -s ' ' | cut -d' ' -f1-6", NONE),
    (r#"{"linux":{"resources":{"devices":[{"allow":true,"access":"rwm"}]}}}"#, "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},{"allow":true,"type":"b","major":7,"access":"r"}]}}}"#, "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"access":"x"}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"access":"rx"}]}}}"#, "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"access":"x"},{"allow":true,"type":"c","major":10,"access":"r"}]}}}"#, "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"linux":{"resources":{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":10,"access":"x"}]}}}"#, "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"linux":{"resources":{"devices":[{"allow":true,"type":"q","major":10,"access":"r"}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"devices":[]}}}"#, "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"linux":{"resources":{"memory":{"limit":67108864}}}}"#, "cd /sys/fs/cgroup/memory; cat memory.limit_in_bytes memory.memsw.limit_in_bytes", NONE),
    (r#"{"linux":{"resources":{"memory":{"limit":-1}}}}"#, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes", NONE),
    (r#"{"linux":{"resources":{"memory":{"limit":67108864,"swap":-1}}}}"#, "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", NONE),
    (r#"{"linux":{"resources":{"memory":{"swappiness":101}}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"memory":{"kernel":67108864,"kernelTCP":67108864}}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"memory":{"useHierarchy":true}}}}"#, "cat /sys/fs/cgroup/memory/memory.use_hierarchy", NONE),
    (r#"{"linux":{"resources":{"memory":{"limit":"x"}}}}"#, "echo x", &[
        but("json: cannot unmarshal string into Go struct field LinuxMemory.linux.resources.memory.limit of type int64", r#"invalid type: string \"x\", expected i64"#, WORDS_OF_JSON),
    ]),
    (r#"{"linux":{"resources":{"cpu":{"shares":512,"quota":50000,"period":100000}}}}"#, "cd /sys/fs/cgroup/cpu; cat cpu.shares cpu.cfs_quota_us cpu.cfs_period_us", NONE),
    (r#"{"linux":{"resources":{"cpu":{"quota":-1}}}}"#, "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", NONE),
    (r#"{"linux":{"resources":{"cpu":{"quota":10}}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"cpu":{"shares":1}}}}"#, "echo x", &[
        but_on_2("exit status: 1\n--- stdout\n", "exit status: 0\n--- stdout\nx\n", NEWER),
        but_on_2("time=\"TIME\" level=error msg=\"runc run failed: unable to start container process: error during container init: error setting cgroup config for procHooks process: failed to write \\\"70369281052672\\\": write /sys/fs/cgroup/ID/cpu.weight: numerical result out of range\"\n", "", NEWER),
    ]),
    (r#"{"linux":{"resources":{"cpu":{"shares":0}}}}"#, "cat /sys/fs/cgroup/cpu/cpu.shares", NONE),
    (r#"{"linux":{"resources":{"cpu":{"shares":1000000}}}}"#, "echo x", &[
        but_on_2("exit status: 1\n--- stdout\n", "exit status: 0\n--- stdout\nx\n", NEWER),
        but_on_2("time=\"TIME\" level=error msg=\"runc run failed: unable to start container process: error during container init: error setting cgroup config for procHooks process: failed to write \\\"38144\\\": write /sys/fs/cgroup/ID/cpu.weight: numerical result out of range\"\n", "", NEWER),
    ]),
    (r#"{"linux":{"resources":{"cpu":{"cpus":"0","mems":"0"}}}}"#, "cat /sys/fs/cgroup/cpuset/cpuset.cpus /sys/fs/cgroup/cpuset/cpuset.mems", NONE),
    (r#"{"linux":{"resources":{"pids":{"limit":20}}}}"#, "cat /sys/fs/cgroup/pids/pids.max", NONE),
    (r#"{"linux":{"resources":{"pids":{"limit":-1}}}}"#, "cat /sys/fs/cgroup/pids/pids.max", NONE),
    (r#"{"linux":{"resources":{"pids":{"limit":0}}}}"#, "cat /sys/fs/cgroup/pids/pids.max", &[
        but_on_1("--- stdout\nmax\n--- stderr", "--- stdout\n1\n--- stderr", NEWER),
    ]),
    (r#"{"linux":{"resources":{"blockIO":{"weight":500}}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"blockIO":{"weight":5}}}}"#, "echo x", &[
        but_on_2("failed to write \\\"18633074821928790\\\": write /sys/fs/cgroup/ID/io.weight: invalid argument", "blockIO weight 5 is not between 10 and 1000", WORDS),
    ]),
    (r#"{"linux":{"resources":{"blockIO":{"throttleReadBpsDevice":[{"major":7,"minor":0,"rate":1048576}],"throttleWriteIOPSDevice":[{"major":7,"minor":0,"rate":100}]}}}}"#, "cd /sys/fs/cgroup/blkio; cat blkio.throttle.read_bps_device blkio.throttle.write_iops_device", NONE),
    (r#"{"linux":{"resources":{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"network":{"classID":1048577}}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":{"network":{"priorities":[{"name":"lo","priority":5}]}}}}"#, "echo x", NONE),
    (r#"{"linux":{"resources":"REMOVE"}}"#, "sort /sys/fs/cgroup/devices/devices.list", NONE),
    (r#"{"linux":{"resources":{"unified":{"memory.max":"1"}}}}"#, "echo x", NONE),
    (r#"{"linux":{"cgroupsPath":"relative"}}"#, "cat /proc/self/cgroup", NONE),
    (r#"{"linux":{"cgroupsPath":"/compatible-inner/group"}}"#, "cat /proc/self/cgroup", NONE),
    (r#"{"linux":{"cgroupsPath":"/../compatible-outer"}}"#, "cat /proc/self/cgroup", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}}}"#, "mkdir /tmp/x; STATUS", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}}}"#, "mkdir /tmp/x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_KILL"}]}}}"#, "sh -c 'mkdir /tmp/x'; echo $?", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["nosuch"],"action":"SCMP_ACT_ERRNO"}]}}}"#, "STATUS", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOSUCH"}}}"#, "echo x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_NOSUCH"]}}}"#, "echo x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_ERRNO"}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ERRNO"}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"op":"SCMP_CMP_EQ"}]}]}}}"#, "kill -0 1; echo $?", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOSUCH"}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}]}}}"#, "kill -10 1; kill -0 1; echo $?", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":10,"op":"SCMP_CMP_NOSUCH"}]}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}}}"#, "STATUS", &[
        but("exit status: 1", "exit status: 0", NEWER),
        but("--- stdout\n", "--- stdout\nUmask:\t0022\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t \nCapInh:\t0000000000000000\nCapPrm:\t0000000020000420\nCapEff:\t0000000020000420\nCapBnd:\t0000000020000420\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n", SECCOMP_FLAGS),
        but("time=\"TIME\" level=error msg=\"runc run failed: seccomp flags are not yet supported by runc\"\n", "", SECCOMP_FLAGS),
    ]),
    (r#"{"linux":{"seccomp":{}}}"#, "STATUS", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"","syscalls":[]}}}"#, "STATUS", NONE),
    (r#"{"linux":{"seccomp":{"syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}}}"#, "echo x", NONE),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","flags":["NOSUCH"]}}}"#, "echo x", &[
        but("seccomp flags are not yet supported by runc", "seccomp flag NOSUCH is not known to runc", NEWER),
    ]),
    (r#"{"linux":{"personality":{"domain":"LINUX32"}}}"#, "echo x", NONE),
    (r#"{"linux":"REMOVE"}"#, "echo x", NONE),
    (r#"{"linux":null}"#, "echo x", NONE),
    (r#"{"process":{"oomscoreadj":100},"linux":{"Sysctl":{"kernel.domainname":"x"}}}"#, "cat /proc/self/oom_score_adj /proc/sys/kernel/domainname", NONE),
    (r#"{"hooks":{"prestart":[{"path":"/bin/sh","args":["sh","-c","echo hook"]}]}}"#, "echo x", NONE),
    (r#"{"hooks":{"prestart":[{"path":"/bin/false"}]}}"#, "echo x", &[
        but("hook #0: error running hook: exit status 1, stdout: , stderr: ", "prestart hook #0: exit status 1, stdout: , stderr: ", NEWER),
    ]),
    (r#"{"hooks":{"prestart":[{"path":"/bin/sh","args":["sh","-c","echo no >&2; exit 3"]}]}}"#, "echo x", &[
        but(r"hook #0: error running hook: exit status 3, stdout: , stderr: no\n", r"prestart hook #0: exit status 3, stdout: , stderr: no\n", NEWER),
    ]),
    (r#"{"hooks":{"prestart":[{"path":"/nosuch"}]}}"#, "echo x", &[
        but("hook #0: fork/exec /nosuch: no such file or directory", "prestart hook #0: fork/exec /nosuch: no such file or directory", NEWER),
    ]),
    (r#"{"hooks":{"prestart":[{"path":"false"}]}}"#, "echo x", &[
        but("hook #0: fork/exec false: no such file or directory", "prestart hook #0: fork/exec false: no such file or directory", NEWER),
    ]),
    (r#"{"hooks":{"prestart":[{"path":"/bin/sleep","args":["sleep","10"],"timeout":0}]}}"#, "echo x", &[
        but("hook #0: hook ran past specified timeout of 0.0s", "prestart hook #0: hook ran past specified timeout of 0.0s", NEWER),
    ]),
    (r#"{"hooks":{"prestart":[{"path":"/bin/sleep","args":["sleep","10"],"timeout":1}]}}"#, "echo x", &[
        but("hook #0: hook ran past specified timeout of 1.0s", "prestart hook #0: hook ran past specified timeout of 1.0s", NEWER),
    ]),
    (r#"{"hooks":{"createRuntime":[{"path":"/bin/false"}]}}"#, "echo x", &[
        but("hook #0: error running hook: exit status 1, stdout: , stderr: ", "createRuntime hook #0: exit status 1, stdout: , stderr: ", NEWER),
    ]),
    (r#"{"hooks":{"createContainer":[{"path":"/bin/false"}]}}"#, "echo x", &[
        but("hook #0: error running hook: exit status 1, stdout: , stderr: ", "createContainer hook #0: exit status 1, stdout: , stderr: ", NEWER),
    ]),
    (r#"{"hooks":{"startContainer":[{"path":"/bin/false"}]}}"#, "echo x", &[
        but("error running hook #0: error running hook: exit status 1, stdout: , stderr: ", r#"time="TIME" level=error msg="runc run failed: unable to start container process: error during container init: error running startContainer hook #0: exit status 1, stdout: , stderr: ""#, WORDS),
    ]),
    (r#"{"hooks":{"startContainer":[{"path":"/nosuch"}]}}"#, "echo x", &[
        but("error running hook #0: fork/exec /nosuch: no such file or directory", r#"time="TIME" level=error msg="runc run failed: unable to start container process: error during container init: error running startContainer hook #0: fork/exec /nosuch: no such file or directory""#, WORDS),
    ]),
    (r#"{"hooks":{"poststart":[{"path":"/bin/false"}]}}"#, "sleep 5; echo x", &[
        but("hook #0: error running hook: exit status 1, stdout: , stderr: ", "poststart hook #0: exit status 1, stdout: , stderr: ", NEWER),
    ]),
    (r#"{"hooks":{"poststop":[{"path":"/bin/false"}]}}"#, "echo x", &[
        but(r#"time="TIME" level=error msg="error running hook #0: error running hook: exit status 1, stdout: , stderr: ""#, r#"time="TIME" level=warning msg="error running poststop hook #0: exit status 1, stdout: , stderr: ""#, NEWER),
    ]),
    (r#"{"hooks":{"nosuch":[{"path":"/bin/false"}]}}"#, "echo x", NONE),
    (r#"{"hooks":{"prestart":"x"}}"#, "echo x", &[
        but("json: cannot unmarshal string into Go struct field Hooks.hooks.prestart of type []specs.Hook", r#"invalid type: string \"x\", expected a sequence"#, WORDS_OF_JSON),
    ]),
    (r#"{"hooks":{"createRuntime":[{"path":"/bin/sh","args":["sh","-c","env >&2; read -r state; echo $state | grep -c '.status.:.creating.' >&2; echo $state | grep -c '.pid.:[1-9]' >&2; exit 1"],"env":["A=b"]}]}}"#, "echo x", &[
        but(r"hook #0: error running hook: exit status 1, stdout: , stderr: A=b\nPWD=BUNDLE\n1\n1\n", r"createRuntime hook #0: exit status 1, stdout: , stderr: A=b\nPWD=BUNDLE\n1\n1\n", NEWER),
    ]),
];
