import { spawn, type ChildProcess } from "node:child_process";

// Reads "+ PID SIGNAL" and "- PID". Its input ends when the process that wrote to it is gone, killed
// with SIGKILL too; what is then still on the list is ended, as a process group.
const SCRIPT = `
live=""
while read -r op pid signal; do
  rest=""
  for entry in $live; do
    [ "\${entry#*:}" = "$pid" ] || rest="$rest $entry"
  done
  live="$rest"
  [ "$op" = "+" ] && live="$live $signal:$pid"
done
[ -n "$live" ] || exit 0
for entry in $live; do kill -s "\${entry%%:*}" -- "-\${entry#*:}" 2>/dev/null; done
waited=0
while [ $waited -lt 8 ]; do
  left=""
  for entry in $live; do kill -0 -- "-\${entry#*:}" 2>/dev/null && left="$left $entry"; done
  [ -n "$left" ] || exit 0
  sleep 1
  waited=$((waited + 1))
done
for entry in $left; do kill -s KILL -- "-\${entry#*:}" 2>/dev/null; done
`;

let watchdog: ChildProcess | undefined;

function tell(line: string): void {
  if (process.platform === "win32") return;
  if (!watchdog) {
    watchdog = spawn("/bin/sh", ["-c", SCRIPT], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      cwd: "/",
    });
    watchdog.unref();
    watchdog.on("error", () => {});
    const { stdin } = watchdog;
    stdin?.on("error", () => {});
    if (stdin && "unref" in stdin && typeof stdin.unref === "function") stdin.unref();
  }
  watchdog.stdin?.write(`${line}\n`);
}

/** Ends the process group `pid` when this process is gone, however it went. */
export function guard(pid: number, signal: NodeJS.Signals): void {
  tell(`+ ${pid} ${signal.slice(3)}`);
}

export function unguard(pid: number): void {
  tell(`- ${pid}`);
}
