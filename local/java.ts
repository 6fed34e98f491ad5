import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

export type Java = { home: string; /** As in 21.0.4. */ version: string; major: number };

const FOLDERS: { in: string; below?: string }[] = [
  { in: "/usr/lib/jvm" },
  { in: "/opt/java" },
  { in: "/Library/Java/JavaVirtualMachines", below: "Contents/Home" },
  { in: join(homedir(), "Library/Java/JavaVirtualMachines"), below: "Contents/Home" },
  { in: "/opt/homebrew/opt", below: "libexec/openjdk.jdk/Contents/Home" },
  { in: join(homedir(), ".sdkman/candidates/java") },
];

/** The version in what `java -version` or a JDK's `release` file says; before Java 9 it was 1.x. */
export function parseJavaVersion(text: string): { version: string; major: number } | undefined {
  const match =
    /^JAVA_VERSION="([\d._]+)"/m.exec(text) ?? /\bversion "(\d[\d._]*)[^"]*"/.exec(text);
  const version = match?.[1];
  if (!version) return;
  const [first, second] = version.split(/[._]/).map(Number);
  const major = first === 1 ? second : first;
  return major === undefined || Number.isNaN(major) ? undefined : { version, major };
}

function inspect(home: string): Java | undefined {
  try {
    const java = realpathSync(join(home, "bin", "java"));
    const real = dirname(dirname(java));
    let found: ReturnType<typeof parseJavaVersion>;
    try {
      found = parseJavaVersion(readFileSync(join(real, "release"), "utf8"));
    } catch {
      found = undefined;
    }
    found ??= parseJavaVersion(spawnSync(java, ["-version"], { encoding: "utf8" }).stderr);
    return found && { home: real, ...found };
  } catch {
    return undefined;
  }
}

function candidates(environment: NodeJS.ProcessEnv): string[] {
  const homes: string[] = [];
  if (environment["JAVA_HOME"]) homes.push(environment["JAVA_HOME"]);
  for (const folder of (environment["PATH"] ?? "").split(":")) {
    // macOS has a java in /usr/bin that only says that there is no Java.
    if (folder && !(process.platform === "darwin" && folder === "/usr/bin")) {
      homes.push(dirname(folder));
    }
  }
  for (const place of FOLDERS) {
    try {
      for (const name of readdirSync(place.in)) homes.push(join(place.in, name, place.below ?? ""));
    } catch {
      // Not on this system.
    }
  }
  return homes;
}

/** The newest Java on this machine: JAVA_HOME, PATH, and where JDKs are usually installed. */
export function findJava(environment: NodeJS.ProcessEnv = process.env): Java | undefined {
  const found = new Map<string, Java>();
  for (const home of candidates(environment)) {
    const java = inspect(home);
    if (java) found.set(java.home, java);
  }
  return [...found.values()].toSorted(
    (a, b) => b.major - a.major || b.version.localeCompare(a.version, "en", { numeric: true }),
  )[0];
}
