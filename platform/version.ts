/** The running version, as package.json names it. */
export { version } from "../package.json";
