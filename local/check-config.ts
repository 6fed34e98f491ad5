import { configProblems, readOperatorEnv } from "./operator-env.ts";

const usage = "Usage: npm run check-config -- [--variables FILE]";

/** Says before a deploy what the Workers would say after it. Returns the exit code. */
export function checkConfigCommand(args: string[], environment: NodeJS.ProcessEnv): number {
  try {
    const problems = configProblems(readOperatorEnv(args, environment));
    if (problems.length === 0) {
      console.log("The configuration is whole.");
      return 0;
    }
    console.error(
      `The configuration is not whole:\n${problems.map((one) => `- ${one}`).join("\n")}`,
    );
    return 1;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    return 2;
  }
}

if (import.meta.main) {
  process.exitCode = checkConfigCommand(process.argv.slice(2), process.env);
}
